# SPDX-License-Identifier: Apache-2.0
"""The agent's parts put together: started, given other parameters, and stopped."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from edge_agent import log, prometheus, settings, transport, unix_socket
from edge_agent.admission import Admission
from edge_agent.agent import Agent
from edge_agent.captures.intake import Captures
from edge_agent.engines import EngineOptions
from edge_agent.heartbeat import Heartbeat
from edge_agent.loader import Loader, LoaderOptions
from edge_agent.metrics import Metrics
from edge_agent.models import ModelRegistry
from edge_agent.service import Service
from edge_agent.shared_memory import Segments

if TYPE_CHECKING:
    from edge_agent.settings import Settings
    from edge_agent.transport import Transport

_LOG = logging.getLogger(__name__)
# Together below the ten seconds that a nucleus or a supervisor may be counting.
_CALLS_SECONDS = 3.0
_FLUSH_SECONDS = 5.0
_HEARTBEAT_SECONDS = 0.5


class Application:
    """The running agent.

    Args:
        parameters: What to run with.
        publish: Takes a topic and a payload for IoT Core; None without a nucleus.

    Raises:
        OccupiedError: A socket or the spool is held by another process.
        OSError: A directory cannot be made.
    """

    def __init__(self, parameters: Settings, *, publish: Callable[[str, bytes], None] | None) -> None:
        self._parameters = parameters
        with contextlib.ExitStack() as held:
            path = parameters.unix_socket_name
            unix_socket.check_length(path)
            spool_root = parameters.local_data_root_path / "spool"
            unix_socket.make_own_directory(spool_root, what="LocalDataRootPath")
            lock = path.with_name(path.name + ".lock")
            held.enter_context(unix_socket.exclusive(lock, what=f"UnixSocketName: {path}"))
            held.enter_context(unix_socket.exclusive(spool_root / "lock", what=f"LocalDataRootPath: {spool_root}"))
            unix_socket.claim(path)
            shutil.rmtree(_native_root(parameters), ignore_errors=True)  # what a killed process left
            self._metrics = Metrics(parameters.local_data_root_path / "counters.json" if parameters.db_enable else None)
            self._captures = Captures(spool_root, parameters, self._metrics)
            self._loader = Loader(_loader_options(parameters))
            self._models = ModelRegistry(
                work=Path.cwd(),
                max_models=parameters.max_models,
                max_bytes=parameters.model_memory_max_bytes,
                loader=self._loader,
            )
            self._heartbeat = Heartbeat(
                parameters,
                metrics=self._metrics,
                models=self._models,
                spool=self._captures.usage,
                publish=publish,
            )
            running, waiting = parameters.max_concurrent_predictions, parameters.max_queued_predictions
            self._admission = Admission(running=running, waiting=waiting)
            agent = Agent(
                models=self._models,
                captures=self._captures,
                admission=self._admission,
                segments=Segments(),
                metrics=self._metrics,
            )
            self._service = Service(agent)
            self._servers = [self._bound_server()]
            self._socket = path.lstat()
            self._socket_lost = False
            if parameters.metrics_socket_name is not None:
                metrics_socket = prometheus.MetricsSocket(
                    parameters.metrics_socket_name,
                    mode=parameters.unix_socket_mode,
                    group=parameters.unix_socket_group,
                    text=lambda: prometheus.render(self._heartbeat.agent_metrics(), self._heartbeat.model_metrics()),
                )
                held.callback(metrics_socket.close)
            self._held = held.pop_all()

    def start(self) -> None:
        """Serve."""
        _set_environment(self._parameters)
        self._captures.start()
        self._heartbeat.worker.start()
        self._servers[0].start()
        fields = {
            "socket": str(self._parameters.unix_socket_name),
            "device": self._parameters.device_name,
            "spool": str(self._parameters.local_data_root_path / "spool"),
        }
        _LOG.info("agent_ready", extra={"fields": fields})

    def apply(self, parameters: Settings) -> list[str]:
        """Go on with other parameters, as far as a running agent can.

        Returns:
            The parameters that only a new process can take; if there are any, nothing was applied.
        """
        changed = settings.changed(self._parameters, parameters)
        fixed = [name for name in changed if name in settings.NEEDS_RESTART]
        if fixed:
            return fixed
        if not changed:
            return []
        log.configure(verbose=parameters.verbose)
        _set_environment(parameters)
        self._loader.options = _loader_options(parameters)
        self._models.max_models, self._models.max_bytes = parameters.max_models, parameters.model_memory_max_bytes
        if any(name.startswith(("capture_", "bucket_", "folder_", "device_", "iot_")) for name in changed):
            self._captures.configure(parameters)
        self._heartbeat.configure(parameters)
        self._parameters = parameters
        _LOG.info("configuration_applied", extra={"fields": {"changed": changed}})
        return []

    def keep_socket(self) -> None:
        """Listen again when somebody removed the socket; clients that are connected notice nothing."""
        path = self._parameters.unix_socket_name
        try:
            if os.path.samestat(path.lstat(), self._socket):
                return
        except OSError:
            pass  # gone, or its directory is
        try:
            unix_socket.claim(path)
            added = self._bound_server()
            self._socket = path.lstat()
        except (unix_socket.OccupiedError, OSError) as error:
            # Once until it works again: who is connected is served, and a line every two seconds helps nobody.
            if not self._socket_lost:
                _LOG.error("socket_lost", extra={"fields": {"socket": str(path), "error": str(error)}})
            self._socket_lost = True
            return
        self._socket_lost = False
        added.start()
        self._servers.append(added)
        _LOG.warning("socket_restored", extra={"fields": {"socket": str(path)}})

    def stop(self) -> None:
        """Finish what runs and flush, within bounds."""
        started = time.monotonic()
        _LOG.info("agent_stopping")
        with self._held:
            for ending in [one.stop(_CALLS_SECONDS) for one in self._servers]:
                ending.wait()
            self._heartbeat.stop(_HEARTBEAT_SECONDS)
            self._captures.stop(_FLUSH_SECONDS)
            self._metrics.save(running=False)
            self._parameters.unix_socket_name.unlink(missing_ok=True)
            for model in self._models.list():  # last: a runtime that cannot be interrupted may have to be waited for
                model.session.close()
        _LOG.info("agent_stopped", extra={"fields": {"seconds": round(time.monotonic() - started, 3)}})

    def _bound_server(self) -> Transport:
        parameters = self._parameters
        made = transport.make(
            parameters.transport,
            self._service,
            max_message_bytes=parameters.max_message_bytes,
            max_predictions=parameters.max_concurrent_predictions + parameters.max_queued_predictions,
        )
        path = parameters.unix_socket_name
        unix_socket.bind(made.listen, path, mode=parameters.unix_socket_mode, group=parameters.unix_socket_group)
        return made


def _native_root(parameters: Settings) -> Path:
    return parameters.local_data_root_path / "native"


def _loader_options(parameters: Settings) -> LoaderOptions:
    return LoaderOptions(
        engine=EngineOptions(
            threads=parameters.inference_threads,
            execution_providers=parameters.execution_providers,
            native_runtimes=parameters.native_runtimes,
            native_root=_native_root(parameters),
        ),
        root_certs=parameters.root_certs_path,
        public_keys=parameters.signing_public_keys,
        require_signature=parameters.require_signature,
        package_max_bytes=parameters.package_max_bytes,
    )


def _set_environment(parameters: Settings) -> None:
    # DLR's libraries read their options from the environment when they load a model.
    os.environ.update(dict(parameters.dlr_backend_options))

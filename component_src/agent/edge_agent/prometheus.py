# SPDX-License-Identifier: Apache-2.0
"""Metrics as Prometheus text, over HTTP on a unix socket: for a scraper on the device, never on a network."""

from __future__ import annotations

import contextlib
import http.server
import logging
import socket
import socketserver
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Callable

from edge_agent import unix_socket
from edge_agent.log import log_defect
from edge_agent.metrics import COUNTERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_agent.metrics import ModelMetrics
    from edge_agent.models import LoadedModel

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_GAUGES = {
    "uptime_seconds": "Seconds since the agent started",
    "cpu_seconds": "CPU seconds used since then",
    "resident_bytes": "Resident memory of the agent",
    "spool_captures": "Captures on their way",
    "spool_bytes": "Bytes of captures on their way",
}
_TIMEOUT_SECONDS = 5.0  # for a whole connection
_MOST_CLIENTS = 4  # each has a thread
_LOG = logging.getLogger(__name__)


def render(agent: Mapping[str, float], models: list[tuple[LoadedModel, ModelMetrics]]) -> str:
    """Write the exposition.

    Args:
        agent: The agent's metrics by name.
        models: The loaded models and what was counted for them.
    """
    lines: list[str] = []
    for name, text in COUNTERS.items():
        _family(lines, f"edge_agent_{name}_total", "counter", text, [("", agent[name])])
    for name, text in _GAUGES.items():
        _family(lines, f"edge_agent_{name}", "gauge", text, [("", agent[name])])
    labels = [(_labels(model), counted) for model, counted in models]
    _family(
        lines,
        "edge_agent_model_info",
        "gauge",
        "Loaded models",
        [
            (f'{label},version="{_escape(model.version)}",digest="{model.digest}"', 1)
            for (label, _), (model, _) in zip(labels, models)
        ],
    )
    for name, attribute, text in (
        ("predictions", "predictions", "Predictions answered"),
        ("predictions_failed", "failures", "Predictions that failed"),
        ("inference_seconds", "seconds", "Seconds spent in predictions"),
    ):
        values = [(label, float(getattr(one, attribute))) for label, one in labels]
        _family(lines, f"edge_agent_model_{name}_total", "counter", text, values)
    return "\n".join(lines) + "\n"


def _family(lines: list[str], name: str, kind: str, text: str, values: list[tuple[str, float]]) -> None:
    lines.extend([f"# HELP {name} {text}", f"# TYPE {name} {kind}"])
    lines.extend(f"{name}{{{labels}}} {value:.17g}" if labels else f"{name} {value:.17g}" for labels, value in values)


def _labels(model: LoadedModel) -> str:
    return f'handle="{_escape(model.handle)}",model="{_escape(model.name)}"'


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    """A few clients at the same time, each for a few seconds, however slowly it asks or reads."""

    daemon_threads = True
    request_queue_size = 8

    def __init__(self, handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> None:
        super().__init__("", handler, bind_and_activate=False)
        self._deadlines: dict[Any, float] = {}

    def listen(self, path: Path) -> None:
        """See ``unix_socket.bind``."""
        self.server_address = str(path)
        self.server_bind()
        self.server_activate()

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._deadlines) >= _MOST_CLIENTS:
            self.shutdown_request(request)
            return
        self._deadlines[request] = time.monotonic() + _TIMEOUT_SECONDS
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End who took too long; called several times a second."""
        now = time.monotonic()
        for request, deadline in list(self._deadlines.items()):
            if deadline <= now:
                with contextlib.suppress(OSError):  # it has ended just now
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 # the library's signature
        if not isinstance(sys.exc_info()[1], OSError):  # a client that has gone is no defect
            log_defect(_LOG, where="metrics")


class MetricsSocket:
    """Answers ``GET /metrics`` at a unix socket.

    Args:
        path: The socket.
        mode: Its permissions.
        group: Who may connect besides the owner, by name or number; blank for this process's group.
        text: Makes the exposition.

    Raises:
        OccupiedError: The socket cannot be taken, or its group cannot be set.
    """

    def __init__(self, path: Path, *, mode: int, group: str, text: Callable[[], str]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = _TIMEOUT_SECONDS

            def do_GET(self) -> None:
                body = text().encode() if self.path == "/metrics" else b"GET /metrics\n"
                self.send_response(200 if self.path == "/metrics" else 404)
                self.send_header("Content-Type", _TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "unix"  # there is no address to look up

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the library's name
                """Scrapes are not worth a line."""

        unix_socket.check_length(path, name="MetricsSocketName")
        unix_socket.claim(path, name="MetricsSocketName")
        self._server = _Server(Handler)
        try:
            unix_socket.bind(self._server.listen, path, mode=mode, group=group, name="MetricsSocketName")
        except unix_socket.OccupiedError:
            self._server.server_close()
            raise
        self._path = path
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering, and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)

# SPDX-License-Identifier: Apache-2.0
"""The loop: passes over the images, one image after the other, each to its end."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_contract.errors import AgentError
from edge_contract.tensors import TensorError
from edge_inference import configuration, log
from edge_inference.control import Changed, Control, Stopping
from edge_inference.errors import ConfigurationError, ImageError, ResultError
from edge_inference.messages import result_message
from edge_inference.nucleus import Nucleus, NucleusError
from edge_inference.session import Inference, ModelSession
from edge_inference.task import best
from edge_inference.updates import Updates

if TYPE_CHECKING:
    from pathlib import Path

    from edge_inference.configuration import Looked, Settings
    from edge_inference.task import Subject, Task

_SUFFIXES = {".png", ".jpg", ".jpeg"}
_EMPTY_SECONDS = 30.0  # a directory without images may be a disk that is not mounted yet
_LEAST_PAUSE_SECONDS = 0.01  # with an interval of 0 the configuration is still looked at


@dataclass
class Counts:
    """What happened to the images of one pass; the fields of its log line."""

    images: int = 0
    skipped: int = 0
    captures_lost: int = 0
    publishes_failed: int = 0


class Component:
    """Predicts, captures and publishes until it is told to stop.

    Args:
        task: how images are read, and what the model says of them.
        nucleus: gives the configuration and takes the results.
        control: stops the loop and tells it of changes.
        sample_images: what a blank ImageDirectory means.

    Raises:
        ConfigurationError: the configuration that it starts with is wrong.
        NucleusError: the configuration cannot be read.
    """

    def __init__(self, task: Task, nucleus: Nucleus, control: Control, *, sample_images: Path) -> None:
        self._task = task
        self._nucleus = nucleus
        self._control = control
        self._sample_images = sample_images
        self._watched: set[str | None] = set()
        self._counts = Counts()
        self._settings = self._read_settings()
        self._session = self._open_session(self._settings)
        self._updates = Updates(
            nucleus.answer_update, patience=lambda: self._settings.update_defer, over=control.change
        )
        self._watch_updates()

    def run(self) -> None:
        """Run passes until stopped, then unload the model. Nothing but a stop ends it."""
        try:
            while not self._control.stopping:
                self._wait_for_update()
                try:
                    whole = self._pass()
                finally:
                    self._updates.end_pass()
                if whole:
                    self._wait_for_next_pass()
        except Stopping:
            pass
        finally:
            self._session.close(unload=True)

    # --- configuration ---------------------------------------------------------------------------------------------

    def _read_settings(self) -> Settings:
        # Watched before it is read: a change in between is then told.
        self._watch(None)
        own = self._nucleus.get_configuration(None)
        agent = configuration.agent_component(own)
        self._watch(agent)
        settings = configuration.parse(
            own, self._nucleus.get_configuration(agent), task=self._task, sample_images=self._sample_images
        )
        unknown = configuration.unknown(own)
        if unknown:
            log.warning("parameters_unknown", names=unknown)
        return settings

    def _watch(self, component: str | None) -> None:
        if component in self._watched:
            return
        try:
            self._nucleus.watch_configuration(component, self._control.change)
        except NucleusError as error:
            log.warning("configuration_not_watched", component=component, error=str(error))
        else:
            self._watched.add(component)

    def _open_session(self, settings: Settings) -> ModelSession:
        try:
            return ModelSession(settings.served, self._control)
        except ValueError as error:
            raise ConfigurationError(f"UnixSocketName: {error}") from error

    def _apply_change(self) -> None:
        """Take a changed configuration over; a wrong one is logged, and the one before stays in use."""
        if not self._control.take_change():
            return
        try:
            settings = self._read_settings()
            if settings.served != self._settings.served:
                session = self._open_session(settings)
                self._session.close(unload=True)
                self._session = session
        except (ConfigurationError, NucleusError) as error:
            log.error("configuration_refused", error=str(error), in_use="the configuration of before")
            return
        if settings != self._settings:
            self._settings = settings
            log.info("configuration_changed")

    # --- updates ---------------------------------------------------------------------------------------------------

    def _watch_updates(self) -> None:
        try:
            self._nucleus.watch_updates(self._updates.ask, self._updates.end)
        except NucleusError as error:  # nucleus lite never asks, and stops components when it likes
            log.info("updates_not_announced", error=str(error))
        else:
            self._updates.start()

    def _wait_for_update(self) -> None:
        """Begin a pass, but not into an update that was let through."""
        while (held := self._updates.begin_pass()) > 0:
            with contextlib.suppress(Changed):
                self._control.wait(held)
            self._apply_change()

    # --- passes ----------------------------------------------------------------------------------------------------

    def _pass(self) -> bool:
        """Go over all images once.

        Returns:
            False when a change of what is looked at asks for a new pass.
        """
        self._apply_change()
        looked = self._settings.looked
        self._counts = Counts()
        started = time.monotonic()
        for path in _images(looked):
            if self._control.stopping:
                raise Stopping
            self._apply_change()
            if self._settings.looked != looked or not self._image(path, looked):
                log.info("pass_begins_anew")
                return False
        log.info("pass_finished", **vars(self._counts), seconds=round(time.monotonic() - started, 3))
        return True

    def _wait_for_next_pass(self) -> None:
        finished = time.monotonic()
        looked = self._settings.looked
        nothing_there = self._counts.images + self._counts.skipped == 0
        while self._settings.looked == looked:
            interval = max(self._settings.interval, _LEAST_PAUSE_SECONDS)
            if nothing_there:
                interval = min(max(interval, 1.0), _EMPTY_SECONDS)
            left = finished + interval - time.monotonic()
            if left <= 0:
                return
            try:
                self._control.wait(left)
            except Changed:
                self._apply_change()

    def _image(self, path: Path, looked: Looked) -> bool:
        """Bring one image to its end.

        Returns:
            False when what is looked at changed before it got there.
        """
        try:
            subject = self._task.read(path, looked.preprocessing)
        except ImageError as error:
            self._skip(path, error)
            return True
        inference = Inference(inputs={looked.preprocessing.input: subject.tensor})
        while True:
            try:
                self._infer(inference)
            except Changed:  # noqa: PERF203 # the image is gone on with, that is what the loop is for
                self._apply_change()
                if self._settings.looked != looked:
                    return False
            except Stopping:
                if inference.outputs is not None:
                    log.error("capture_lost", capture_id=inference.capture_id, image=path.name, error="stopping")
                raise
            except (AgentError, TensorError) as error:
                self._skip(path, error)
                return True
            else:
                self._finish(path, subject, inference)
                return True

    def _infer(self, inference: Inference) -> None:
        self._session.predict(inference)
        if self._settings.capture:
            self._session.capture(inference)

    def _skip(self, path: Path, error: Exception) -> None:
        self._counts.skipped += 1
        log.error("image_skipped", image=path.name, error=str(error))

    def _finish(self, path: Path, subject: Subject, inference: Inference) -> None:
        self._counts.captures_lost += inference.captured is False
        try:
            results = subject.results(inference.outputs or {}, self._settings.labels)
        except ResultError as error:
            self._skip(path, error)
            return
        self._counts.images += 1
        log.info(
            "prediction",
            image=path.name,
            **self._task.summary(results),
            predict_ms=inference.predict_ms,
            capture_id=inference.capture_id if inference.captured else None,
        )
        if self._settings.topic and inference.moment is not None:
            message = result_message(self._task.inference_type, best(results), inference.moment)
            try:
                self._nucleus.publish(self._settings.topic, message)
            except NucleusError as error:
                self._counts.publishes_failed += 1
                log.error("publish_failed", image=path.name, topic=self._settings.topic, error=str(error))


def _images(looked: Looked) -> list[Path]:
    """The files of a pass, sorted by name."""
    directory = looked.image_directory
    if looked.image_name:
        return [directory / looked.image_name]
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix.lower() in _SUFFIXES)
    except OSError as error:
        log.error("images_missing", directory=str(directory), error=f"ImageDirectory: {error.strerror}")
        return []
    images = [path for path in paths if path.is_file() and not path.name.startswith(".")]
    if not images:
        log.error(
            "images_missing",
            directory=str(directory),
            error=f"ImageDirectory: expected files ending in {', '.join(sorted(_SUFFIXES))}, found none",
        )
    return images

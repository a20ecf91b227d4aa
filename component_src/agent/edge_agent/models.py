# SPDX-License-Identifier: Apache-2.0
"""The loaded models by their handles."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import threading
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.engine import Session
from edge_agent.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from edge_package import PackageError, read_package

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger(__name__)
_HANDLE = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_LONGEST_HANDLE = 255


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model under its handle.

    Attributes:
        handle: What the client calls it.
        url: The directory as the client gave it.
        name: The packaged model's name.
        version: The packaged model's version.
        digest: SHA-256 of the package's canonical manifest.
        session: What runs it.
    """

    handle: str
    url: str
    name: str
    version: str
    digest: str
    session: Session


class ModelRegistry:
    """Loads, finds and forgets models; safe to use from several threads.

    Args:
        work: The directory that relative urls are relative to.
        max_models: How many models may be loaded at the same time.
        threads: How many threads one prediction may use.
    """

    def __init__(self, *, work: Path, max_models: int, threads: int) -> None:
        self._work = work
        self._max_models = max_models
        self._threads = threads
        self._lock = threading.Lock()
        self._models: dict[str, LoadedModel] = {}
        self._loading: set[str] = set()

    def load(self, *, handle: str, url: str) -> LoadedModel:
        """Verify the package at ``url`` and load its model.

        Raises:
            InvalidArgumentError: The handle or the url is not well formed.
            NotFoundError: There is no such directory.
            AlreadyExistsError: The handle is taken.
            ResourceExhaustedError: As many models are loaded as may be, or memory is short.
            FailedPreconditionError: The package was altered or cannot run here.
        """
        if len(handle) > _LONGEST_HANDLE or not _HANDLE.fullmatch(handle):
            raise InvalidArgumentError(
                f"model handle {handle!r:.300}: expected at most {_LONGEST_HANDLE} letters and digits "
                "with hyphens only between them"
            )
        directory = self._directory(url)
        with self._reserved(handle):
            started = time.monotonic()
            model = self._read(handle, url, directory)
            with self._lock:
                self._models[handle] = model
        _LOG.info(
            "model_loaded",
            extra={
                "fields": {
                    "model": handle,
                    "model_name": model.name,
                    "model_version": model.version,
                    "digest": model.digest,
                    "url": url,
                    "seconds": round(time.monotonic() - started, 3),
                }
            },
        )
        return model

    def unload(self, handle: str) -> None:
        """Forget a model; predictions that run keep it until they end."""
        with self._lock:
            if self._models.pop(handle, None) is None:
                raise self._missing(handle)
        _LOG.info("model_unloaded", extra={"fields": {"model": handle}})

    def get(self, handle: str) -> LoadedModel:
        """Find a model."""
        with self._lock:
            model = self._models.get(handle)
            if model is None:
                raise self._missing(handle)
            return model

    def list(self) -> list[LoadedModel]:
        """All models, sorted by handle."""
        with self._lock:
            return [self._models[handle] for handle in sorted(self._models)]

    @contextlib.contextmanager
    def _reserved(self, handle: str) -> Iterator[None]:
        # Loading takes long and happens outside of the lock; the handle is taken meanwhile.
        with self._lock:
            if handle in self._models or handle in self._loading:
                raise AlreadyExistsError(f"model {handle!r}: it is loaded already; unload it first to load it anew")
            if len(self._models) + len(self._loading) >= self._max_models:
                raise ResourceExhaustedError(
                    f"model {handle!r}: expected at most {self._max_models} models (MaxModels), all are loaded; "
                    "unload one first"
                )
            self._loading.add(handle)
        try:
            yield
        finally:
            with self._lock:
                self._loading.discard(handle)

    def _read(self, handle: str, url: str, directory: Path) -> LoadedModel:
        try:
            package = read_package(directory)
            session = Session(package.contents, threads=self._threads)
        except FileNotFoundError as error:
            raise NotFoundError(f"model {handle!r}: {error}") from None
        except (PackageError, FailedPreconditionError) as error:
            raise FailedPreconditionError(f"model {handle!r} at {url}: {error}") from error
        except OSError as error:
            raise FailedPreconditionError(f"model {handle!r} at {url}: the package cannot be read: {error}") from error
        except MemoryError:
            raise ResourceExhaustedError(f"model {handle!r} at {url}: expected memory for it, there is none") from None
        return LoadedModel(
            handle=handle,
            url=url,
            name=package.manifest.model_name,
            version=package.manifest.model_version,
            digest=package.manifest.digest,
            session=session,
        )

    def _directory(self, url: str) -> Path:
        parts = urllib.parse.urlsplit(url)
        path = urllib.parse.unquote(parts.path) if parts.scheme == "file" else url
        if not path or "\0" in path or (parts.scheme == "file" and parts.netloc) or "://" in path:
            raise InvalidArgumentError(
                f"url {url!r:.300}: expected a local directory: a path, absolute or relative to {self._work}, or file:///..."
            )
        return self._work / path

    @staticmethod
    def _missing(handle: str) -> NotFoundError:
        return NotFoundError(f"model {handle!r:.300}: no model is loaded under this handle; call LoadModel first")

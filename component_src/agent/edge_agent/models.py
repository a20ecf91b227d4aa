# SPDX-License-Identifier: Apache-2.0
"""The loaded models by their handles."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import re
import threading
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnreadablePackageError,
    UntrustedPackageError,
)
from edge_agent.memory import give_back
from edge_package import PackageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.engines import Engine
    from edge_agent.loader import Loader

_LOG = logging.getLogger(__name__)
_HANDLE = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_LONGEST_HANDLE = 255


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model under its handle.

    Attributes:
        handle: What the client calls it.
        url: The package as the client gave it.
        name: The packaged model's name.
        version: The packaged model's version.
        digest: SHA-256 of the package's canonical manifest.
        size: Bytes of the package's files, unpacked: what it counts for in the bound of memory.
        signed_by: The file of the public key that verified its signature; empty when none did.
        session: What runs it.
    """

    handle: str
    url: str
    name: str
    version: str
    digest: str
    size: int
    signed_by: str
    session: Engine


class ModelRegistry:
    """Loads, finds and forgets models; safe to use from several threads.

    Args:
        work: The directory that relative urls are relative to.
        max_models: How many models may be loaded at the same time.
        max_bytes: How many bytes the unpacked packages of all loaded models may have together.
        loader: What opens packages.
    """

    def __init__(self, *, work: Path, max_models: int, max_bytes: int, loader: Loader) -> None:
        self._work = work
        self.max_models = max_models
        self.max_bytes = max_bytes
        self._loader = loader
        self._lock = threading.Lock()
        self._models: dict[str, LoadedModel] = {}
        self._loading: dict[str, int] = {}  # handle: bytes

    def load(self, *, handle: str, url: str) -> LoadedModel:
        """Verify the package at ``url`` and load its model.

        Raises:
            InvalidArgumentError: The handle or the url is not well formed.
            NotFoundError: There is no such package.
            AlreadyExistsError: The handle is taken.
            ResourceExhaustedError: As many models are loaded as may be, or they leave too little memory for this one.
            UntrustedPackageError: The package was altered, or is not trusted.
            UnreadablePackageError: It cannot be read.
            FailedPreconditionError: It cannot run here.
        """
        if len(handle) > _LONGEST_HANDLE or not _HANDLE.fullmatch(handle):
            raise InvalidArgumentError(
                f"model handle {handle!r:.300}: expected at most {_LONGEST_HANDLE} letters and digits "
                "with hyphens only between them"
            )
        path = self._path(url)
        with self._taken(handle), _refusing(handle, url):
            started = time.monotonic()
            model = self._read(handle, url, path)
            with self._lock:
                self._models[handle] = model
        give_back()
        _LOG.info(
            "model_loaded",
            extra={
                "fields": {
                    "model": handle,
                    "model_name": model.name,
                    "model_version": model.version,
                    "digest": model.digest,
                    "url": url,
                    "engine": model.session.name,
                    "signed_by": model.signed_by,
                    "seconds": round(time.monotonic() - started, 3),
                }
            },
        )
        return model

    def unload(self, handle: str) -> None:
        """Forget a model; predictions that run keep it until they end."""
        with self._lock:
            model = self._models.pop(handle, None)
        if model is None:
            raise self._missing(handle)
        model.session.close()
        give_back()
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
    def _taken(self, handle: str) -> Iterator[None]:
        # Loading takes long and happens outside of the lock; the handle, and then the memory, are taken meanwhile.
        with self._lock:
            if handle in self._models or handle in self._loading:
                raise AlreadyExistsError(f"model {handle!r}: it is loaded already; unload it first to load it anew")
            if len(self._models) + len(self._loading) >= self.max_models:
                raise ResourceExhaustedError(
                    f"model {handle!r}: expected at most {self.max_models} models (MaxModels), all are loaded; "
                    "unload one first"
                )
            self._loading[handle] = 0
        try:
            yield
        finally:
            with self._lock:
                del self._loading[handle]

    def _reserve(self, handle: str, size: int) -> None:
        with self._lock:
            used = sum(model.size for model in self._models.values()) + sum(self._loading.values())
            if used + size > self.max_bytes:
                raise ResourceExhaustedError(
                    f"model {handle!r}: it needs {size} bytes, expected at most {max(self.max_bytes - used, 0)}: "
                    f"{used} of {self.max_bytes} (ModelMemoryMaxBytes) are in use; unload a model first"
                )
            self._loading[handle] = size

    def _read(self, handle: str, url: str, path: Path) -> LoadedModel:
        opened = self._loader.open(path, reserve=functools.partial(self._reserve, handle))
        return LoadedModel(
            handle=handle,
            url=url,
            name=opened.manifest.model_name,
            version=opened.manifest.model_version,
            digest=opened.manifest.digest,
            size=opened.size,
            signed_by=opened.signed_by,
            session=opened.engine,
        )

    def _path(self, url: str) -> Path:
        parts = urllib.parse.urlsplit(url)
        path = urllib.parse.unquote(parts.path) if parts.scheme == "file" else url
        if not path or "\0" in path or (parts.scheme == "file" and parts.netloc) or "://" in path:
            raise InvalidArgumentError(
                f"url {url!r:.300}: expected a local directory or package file: a path, absolute or relative to "
                f"{self._work}, or file:///..."
            )
        return self._work / path

    @staticmethod
    def _missing(handle: str) -> NotFoundError:
        return NotFoundError(f"model {handle!r:.300}: no model is loaded under this handle; call LoadModel first")


@contextlib.contextmanager
def _refusing(handle: str, url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"model {handle!r}: {error}") from None
    except (PackageError, UntrustedPackageError) as error:
        raise UntrustedPackageError(f"model {handle!r} at {url}: {error}") from error
    except FailedPreconditionError as error:
        raise FailedPreconditionError(f"model {handle!r} at {url}: {error}") from error
    except OSError as error:
        raise UnreadablePackageError(f"model {handle!r} at {url}: the package cannot be read: {error}") from error
    except MemoryError:
        raise ResourceExhaustedError(f"model {handle!r} at {url}: expected memory for it, there is none") from None

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from edge_package import Manifest, PackageError, make_manifest

_settings = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))


class ModelFolderError(ValueError):
    """A model folder is not what it must be; the message names file, key, expectation and finding."""


@_settings
class Preprocessing:
    """How an image becomes the model's input tensor: `(pixel - mean) * scale`, in `dtype`, laid out as `layout`."""

    input: str
    dtype: Literal["float32", "uint8"]
    layout: Literal["NCHW", "NHWC"]
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    channels: Literal["L", "RGB"]
    scale: float
    mean: tuple[float, ...]


@_settings
class Evaluation:
    """What was measured on held-out data when the model was trained."""

    data: str
    images: int
    accuracy: Annotated[float, Field(ge=0, le=1)]


@_settings
class ModelFolder:
    """A folder of `models/`: what `model.toml` says, and the manifest of the package that its files make."""

    folder: Path
    name: str
    version: str
    description: str
    files: Annotated[tuple[Annotated[str, Field(pattern=r"^[^.]")], ...], Field(min_length=1)]
    labels: str
    preprocessing: Preprocessing
    evaluation: Evaluation

    @property
    def component_name(self) -> str:
        """The model component's name, before the environment's namespace."""
        return f"com.edgemanager.model.{self.name}"

    @functools.cached_property
    def manifest(self) -> Manifest:
        """The manifest of the package: hashes the files.

        Raises:
            ModelFolderError: a file is missing, or a name breaks the manifest's rules.
        """
        source = self.folder / "model.toml"
        if missing := [name for name in (*self.files, self.labels) if not (self.folder / name).is_file()]:
            raise ModelFolderError(f"{source}: {', '.join(missing)}: named there, but not in the folder")
        files = {name: (self.folder / name).read_bytes() for name in self.files}
        try:
            return make_manifest(model_name=self.name, model_version=self.version, files=files)
        except PackageError as error:
            raise ModelFolderError(f"{source}: {error}") from error

    @property
    def label_list(self) -> list[str]:
        """The labels, one for each class, in the order of the model's output."""
        return (self.folder / self.labels).read_text(encoding="utf-8").splitlines()


def load_model_folder(folder: Path) -> ModelFolder:
    """Read and check `model.toml`.

    Raises:
        ModelFolderError: it is missing or wrong; every fault is listed.
    """
    path = folder / "model.toml"
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(ModelFolder).validate_python({**document, "folder": folder})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelFolderError(f"{path}: a TOML file that describes the model is expected: {error}") from error
    except ValidationError as error:
        faults = (f"{path}: {'.'.join(map(str, f['loc']))}: {f['msg']}; got {f['input']!r}" for f in error.errors())
        raise ModelFolderError("\n".join(faults)) from error

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from edge_constructs.framework_layout import foreign_framework
from edge_constructs.model_graph import graph_faults, preprocessing_faults
from edge_package import Manifest, PackageError, make_manifest

_settings = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))

Share = Annotated[float, Field(ge=0, le=1)]


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
    accuracy: Share
    mean_average_precision: Share | None = None


@_settings
class Optimization:
    """What `edge-model optimize` changed, for whoever reviews the model: sizes in bytes, latencies in milliseconds."""

    steps: Annotated[tuple[Literal["graph", "int8"], ...], Field(min_length=1)]
    onnxruntime: str
    size_before: Annotated[int, Field(ge=1)]
    size: Annotated[int, Field(ge=1)]
    latency_before_ms: Annotated[float, Field(gt=0)]
    latency_ms: Annotated[float, Field(gt=0)]
    accuracy_before: Share
    accuracy: Share


@_settings
class Source:
    """Where the files of a model lie that is too large for version control, and what they must be.

    `uri` is a folder (`s3://bucket/prefix/`), a `.zip`, a `.tar.gz` or a single file; `digest` is the model digest that
    the packaging job holds them against, as `edge-model package` says it.
    """

    uri: Annotated[str, Field(pattern=r"^s3://[^/]+/.+$", max_length=1024)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@_settings
class ModelFolder:
    """A folder of `models/`: what `model.toml` says, and the manifest of the package that its files make."""

    folder: Path
    name: str
    version: str
    description: str
    files: Annotated[tuple[Annotated[str, Field(pattern=r"^[^.]")], ...], Field(min_length=1)]
    labels: str
    task: Literal["image-classification", "object-detection"] = "image-classification"
    preprocessing: Preprocessing
    evaluation: Evaluation
    optimization: Optimization | None = None
    source: Source | None = None

    @property
    def digest(self) -> str:
        """The model digest: of the folder's files, or as the folder says of those that lie in S3."""
        return self.manifest.digest if self.source is None else self.source.digest

    @property
    def component_name(self) -> str:
        """The model component's name, before the environment's namespace."""
        return f"com.edgemanager.model.{self.name}"

    @functools.cached_property
    def manifest(self) -> Manifest:
        """The manifest of the package: hashes the files.

        Raises:
            ModelFolderError: a name breaks the manifest's rules, or the files do not lie here.
        """
        source = self.folder / "model.toml"
        self.require_files()
        files = {name: _opener(self.folder / name) for name in self.files}
        try:
            return make_manifest(model_name=self.name, model_version=self.version, files=files)
        except PackageError as error:
            raise ModelFolderError(f"{source}: {error}") from error

    def require_files(self) -> None:
        """Refuse a folder whose model lies in S3.

        Raises:
            ModelFolderError: it does.
        """
        if self.source is not None:
            raise ModelFolderError(
                f"{self.folder / 'model.toml'}: source: the model's files are expected in this folder, they lie at "
                f"{self.source.uri}: copy them here and take the table [source] out, or leave the work to the "
                "packaging job"
            )

    @property
    def label_list(self) -> list[str]:
        """The labels, one for each class, in the order of the model's output."""
        return (self.folder / self.labels).read_text(encoding="utf-8").splitlines()


def load_model_folder(folder: Path) -> ModelFolder:
    """Read `model.toml`, and hold it against the folder's files.

    Raises:
        ModelFolderError: something is missing or wrong, or the model takes or gives something else than is written
            there; every fault is listed.
    """
    path = folder / "model.toml"
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        model = TypeAdapter(ModelFolder).validate_python({**document, "folder": folder})
    except OSError as error:
        raise ModelFolderError(
            f"{path}: expected a file that describes the model, got none ({error.strerror}); write one as models/digits"
            " has it, or correct the model's name"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelFolderError(f"{path}: a TOML file that describes the model is expected: {error}") from error
    except ValidationError as error:
        raise ModelFolderError("\n".join(f"{path}: {_describe(fault)}" for fault in error.errors())) from error
    if faults := list(_faults(model)):
        raise ModelFolderError("\n".join(f"{path}: {fault}" for fault in faults))
    return model


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _describe(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        return f"{key}: no such key; remove it, or correct its name"
    if fault["type"] in {"missing", "missing_argument", "missing_keyword_only_argument"}:
        return f"{key}: expected, but missing"
    return f"{key}: {fault['msg']}; got {fault['input']!r}"


def _faults(model: ModelFolder) -> Iterator[str]:
    # Labels and preprocessing become configuration at synth, so they lie here wherever the model does.
    expected = (*model.files, model.labels) if model.source is None else (model.labels,)
    missing = [name for name in dict.fromkeys(expected) if not (model.folder / name).is_file()]
    for name in missing:
        yield f"{name}: expected in the folder, because files or labels names it, got none; add it, or remove the name"
    yield from preprocessing_faults(model.preprocessing)
    if model.source is not None:
        return  # the packaging job holds the files against the digest
    if any(name.endswith(".so") for name in model.files) or foreign_framework(model.files):
        return  # compiled for a device, or to be: only its runtime there can say what it takes
    graphs = [name for name in model.files if name.endswith(".onnx")]
    if len(graphs) != 1:
        yield f"files: expected exactly one .onnx file, got {', '.join(graphs) or 'none'}; a package holds one model"
    elif not missing:
        try:
            labels = model.label_list
        except UnicodeDecodeError as error:
            yield f"{model.labels}: expected labels in UTF-8, got {error.object[error.start : error.start + 1]!r}"
            return
        content = (model.folder / graphs[0]).read_bytes()
        yield from graph_faults(graphs[0], content, task=model.task, preprocessing=model.preprocessing, labels=labels)

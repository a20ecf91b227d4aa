# SPDX-License-Identifier: Apache-2.0
"""What SageMaker Neo is given of a model: its archive, and the request's InputConfig and OutputConfig."""

from __future__ import annotations

import json
import tarfile
from typing import IO, Any

from edge_constructs.compilation_settings import CompilationSettings
from edge_constructs.framework_layout import AXES, expected_files, framework_files
from edge_constructs.handler_kernel import content_id
from edge_constructs.job_rules import JobPropertyError
from edge_constructs.model_folder import ModelFolder
from edge_package.stored_gzip import StoredGzipWriter


def write_archive(model: ModelFolder, framework: str, target: IO[bytes]) -> None:
    """Write the deterministic tar.gz of a model's files that Neo takes for a framework.

    Files lie flat, as Neo looks for them, but for the folder of a TensorFlow model's variables.

    Raises:
        JobPropertyError: the model's files are not what Neo takes, or do not lie in its folder.
    """
    names = compiled_files(model, framework)
    writer = StoredGzipWriter(target)
    with tarfile.open(fileobj=writer, mode="w|", format=tarfile.USTAR_FORMAT) as archive:  # type: ignore[call-overload] # it only writes
        for name in names:
            path = model.folder / name
            member = tarfile.TarInfo("/".join(name.split("/")[-2:]) if "variables/" in name else path.name)
            member.size = path.stat().st_size
            with path.open("rb") as source:
                archive.addfile(member, source)
    writer.finish()


def compiled_files(model: ModelFolder, framework: str) -> tuple[str, ...]:
    """The files of a model that Neo compiles.

    Raises:
        JobPropertyError: they are not what the framework's layout names, or do not lie in the model's folder.
    """
    where = f"model {model.name}"
    if model.source is not None:
        raise JobPropertyError(
            f"{where}: source: the files of a model that is compiled are expected in its folder, they lie at "
            f"{model.source.uri}: copy them there, or compile it yourself and package what Neo wrote"
        )
    if (names := framework_files(framework, model.files)) is None:
        raise JobPropertyError(
            f"{where}: files: {expected_files(framework)} is expected, as compilation.framework is {framework}, got "
            f"{', '.join(model.files)}: name the framework that the files are of, or export the model for this one"
        )
    return names


def compilation_key(model: ModelFolder, settings: CompilationSettings) -> str:
    """Names a model compiled with these settings, before it is: equal settings of an equal model give equal names.

    Raises:
        JobPropertyError: Neo would not take the model so.
    """
    compiled_files(model, settings.framework)
    parts = {"model": model.digest, "input": input_config("", model, settings), "output": target_config(settings)}
    return content_id(settings.target.lower(), parts)


def input_config(uri: str, model: ModelFolder, settings: CompilationSettings) -> dict[str, Any]:
    """InputConfig of the request for an archive at `uri`.

    Raises:
        JobPropertyError: Neo would not take the model's layout.
    """
    shapes = settings.data_input_config
    if shapes is None and settings.framework != "XGBOOST":
        shapes = _shapes(model, settings.framework)
    return {
        "S3Uri": uri,
        "Framework": settings.framework,
        **({"FrameworkVersion": settings.framework_version} if settings.framework_version else {}),
        **({"DataInputConfig": shapes} if shapes else {}),
    }


def _shapes(model: ModelFolder, framework: str) -> str:
    """DataInputConfig of the one image that the model takes."""
    image = model.preprocessing
    axes = AXES.get(framework, image.layout)
    if image.layout != axes:
        raise JobPropertyError(
            f"model {model.name}: preprocessing.layout: {axes} is expected, as Neo compiles {framework} models for it, "
            f"got {image.layout}: write {axes}, or say the shape in compilation.data_input_config"
        )
    channels = len(image.channels)  # L or RGB
    height, width = image.height, image.width
    shape = [1, channels, height, width] if image.layout == "NCHW" else [1, height, width, channels]
    return json.dumps({image.input: shape})


def target_config(settings: CompilationSettings) -> dict[str, Any]:
    """Those members of the request's OutputConfig that tell what the model is compiled for."""
    options = {"CompilerOptions": settings.compiler_options} if settings.compiler_options else {}
    platform = settings.target_platform
    if platform is None:
        return {"TargetDevice": settings.target_device, **options}
    accelerator = {"Accelerator": platform.accelerator} if platform.accelerator else {}
    return {"TargetPlatform": {"Os": platform.os, "Arch": platform.arch, **accelerator}, **options}

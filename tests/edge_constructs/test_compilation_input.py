# SPDX-License-Identifier: Apache-2.0
"""What SageMaker Neo gets of a model, framework by framework; and what it would not take, refused by name."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from edge_constructs.compilation_input import compilation_key, compiled_files, write_archive
from edge_constructs.compilation_settings import CompilationSettings, Framework
from edge_constructs.framework_layout import LAYOUTS, foreign_framework
from edge_constructs.job_rules import JobPropertyError
from edge_constructs.model_folder import ModelFolder, load_model_folder

DIGITS = Path(__file__).parents[2] / "models" / "digits"
# Files of a model, and what is in its archive.
FILES: dict[str, list[tuple[list[str], list[str]]]] = {
    "ONNX": [(["model.onnx", "labels.txt"], ["model.onnx"])],
    "KERAS": [(["model.h5", "labels.txt"], ["model.h5"])],
    "MXNET": [(["net/m-symbol.json", "net/m-0000.params", "labels.txt"], ["m-0000.params", "m-symbol.json"])],
    "PYTORCH": [(["model.pt", "labels.txt"], ["model.pt"]), (["model.pth"], ["model.pth"])],
    "TENSORFLOW": [
        (["frozen.pb", "labels.txt"], ["frozen.pb"]),
        (
            ["export/saved_model.pb", "export/variables/variables.index", "labels.txt"],
            ["saved_model.pb", "variables/variables.index"],
        ),
    ],
    "TFLITE": [(["model.tflite", "labels.txt"], ["model.tflite"])],
    "DARKNET": [(["yolo.cfg", "yolo.weights", "labels.txt"], ["yolo.cfg", "yolo.weights"])],
    "XGBOOST": [(["xgboost-model", "labels.txt"], ["xgboost-model"])],
}


def settings_of(**values: Any) -> CompilationSettings:
    return TypeAdapter(CompilationSettings).validate_python(values)


def make(folder: Path, files: list[str], extra: str = "", layout: str = "NCHW") -> ModelFolder:
    """A model folder with these files; models/digits gives the rest."""
    folder.mkdir(exist_ok=True)
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content of {name}".encode())
    shutil.copy(DIGITS / "labels.txt", folder)
    if "model.onnx" in files:
        shutil.copy(DIGITS / "model.onnx", folder)
    text = (DIGITS / "model.toml").read_text().replace('["model.onnx", "labels.txt"]', repr(files))
    (folder / "model.toml").write_text(text.replace('"NCHW"', f'"{layout}"') + extra)
    return load_model_folder(folder)


@pytest.mark.parametrize(
    ("framework", "files", "archived"), [(f, *case) for f, cases in FILES.items() for case in cases]
)
def test_the_archive_holds_the_frameworks_files_and_no_others(
    framework: str, files: list[str], archived: list[str], tmp_path: Path
) -> None:
    model = make(tmp_path / "model", files)
    stream, again = io.BytesIO(), io.BytesIO()
    write_archive(model, framework, stream)
    write_archive(model, framework, again)
    assert stream.getvalue() == again.getvalue()
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as archive:
        assert sorted(archive.getnames()) == archived
        for name in archive.getnames():
            source = next(file for file in files if file.endswith(name))
            content = archive.extractfile(name)
            assert content is not None
            assert content.read() == (model.folder / source).read_bytes()
    assert foreign_framework(model.files) == ("" if framework == "ONNX" else framework)


def test_every_framework_of_the_api_is_archived_or_refused_by_name() -> None:
    refused = set(get_args(Framework)) - LAYOUTS.keys()
    assert refused == {"SKLEARN"}
    with pytest.raises(ValidationError, match=r"got SKLEARN, of which AWS documents no layout: export .* to ONNX"):
        settings_of(framework="SKLEARN", target_device="rasp4b")


NVIDIA = {"os": "LINUX", "arch": "ARM64", "accelerator": "NVIDIA"}
NVIDIA_OPTIONS = '{"gpu-code": "sm_72", "trt-ver": "6.0.1", "cuda-ver": "10.1"}'


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"target_platform": NVIDIA}, r"compiler_options: .*gpu-code.* NVIDIA, got None: write"),
        ({"target_platform": NVIDIA, "compiler_options": '{"gpu-code": "sm_72"}'}, r"compiler_options: .* got '{\"gpu"),
        *(
            ({"framework": name, "framework_version": "1.8"}, rf"framework_version: none .* {name}.* got 1.8: remove")
            for name in ("ONNX", "KERAS", "DARKNET", "XGBOOST")
        ),
        ({"compiler_options": "[1]"}, r"compiler_options: a JSON object is expected.* got '\[1\]': write"),
        ({"compiler_options": '"-O2"'}, r"compiler_options: a JSON object is expected.* got '\"-O2\"': write"),
        ({"data_input_config": '{"image": [true, 1, 8, 8]}'}, r"data_input_config: .* got '{\"image\": \[true"),
    ],
)
def test_settings_that_neo_would_not_take_are_refused(values: dict[str, Any], says: str) -> None:
    target = {} if "target_platform" in values else {"target_device": "rasp4b"}
    with pytest.raises(ValidationError, match=says):
        settings_of(**target, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"target_platform": NVIDIA, "compiler_options": NVIDIA_OPTIONS},
        {"target_device": "ml_inf1", "compiler_options": '"--verbose 1 --num-neuroncores 2 -O2"'},
        *(
            {"target_device": "rasp4b", "framework": name, "framework_version": "1.8"}
            for name in ("MXNET", "PYTORCH", "TENSORFLOW", "TFLITE")
        ),
    ],
)
def test_settings_that_the_api_documents_are_taken(values: dict[str, Any]) -> None:
    assert settings_of(**values).target


@pytest.mark.parametrize("framework", [name for name in FILES if name != "ONNX"])
def test_files_of_another_framework_are_refused(framework: str, tmp_path: Path) -> None:
    model = make(tmp_path / "model", ["model.onnx", "labels.txt"])
    with pytest.raises(JobPropertyError, match=f"compilation.framework is {framework}, got model.onnx, labels.txt"):
        compiled_files(model, framework)


def test_a_half_of_a_pair_is_refused(tmp_path: Path) -> None:
    source = '[source]\nuri = "s3://bucket/model/"\ndigest = "' + "0" * 64 + '"\n'
    model = make(tmp_path / "model", ["m-symbol.json", "labels.txt"], source)
    with pytest.raises(JobPropertyError, match=r"files of a model that is compiled are expected in its folder"):
        compiled_files(model, "MXNET")


@pytest.mark.parametrize(("framework", "layout"), [("KERAS", "NHWC"), ("PYTORCH", "NHWC"), ("TFLITE", "NCHW")])
def test_axes_that_neo_does_not_compile_for_are_refused(framework: Any, layout: str, tmp_path: Path) -> None:
    model = make(tmp_path / "model", FILES[framework][0][0], layout=layout)
    settings = settings_of(framework=framework, target_device="rasp4b")
    expected = rf"preprocessing\.layout: N\w+ is expected, .*{framework}.* got {layout}"
    with pytest.raises(JobPropertyError, match=expected):
        compilation_key(model, settings)
    said = settings_of(framework=framework, target_device="rasp4b", data_input_config='{"image": [1, 1, 8, 8]}')
    assert compilation_key(model, said).startswith("rasp4b-")


def test_settings_have_a_name_that_models_do_not_change() -> None:
    one = settings_of(target_device="rasp4b")
    assert one.name == settings_of(target_device="rasp4b", max_runtime_seconds=1200).name
    others = [
        settings_of(target_device="rasp3b"),
        settings_of(target_device="rasp4b", compiler_options='{"mattr": ["+neon"]}'),
        settings_of(target_device="rasp4b", framework="TFLITE"),
    ]
    assert len({one.name, *(other.name for other in others)}) == 4

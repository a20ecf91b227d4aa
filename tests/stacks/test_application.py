# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stacks.application import build_app
from stacks.components import ROOT
from stacks.environment import EnvironmentFileError

IGNORED = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "cdk.out", "build", "__pycache__", ".*_cache", "tests"
)


def digests(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def synthesise(source: Path, out: Path, *, hash_seed: str) -> dict[str, bytes]:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "CDK_OUTDIR": str(out),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    subprocess.run([sys.executable, "app.py"], cwd=source, env=environment, check=True, timeout=100)
    return digests(out)


@pytest.mark.timeout(240)
def test_two_folders_and_two_hash_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(ROOT, copy, ignore=IGNORED)
    here = synthesise(ROOT, tmp_path / "one", hash_seed="1")
    there = synthesise(copy, tmp_path / "two", hash_seed="2")
    assert len(here) > 20
    assert {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)} == set()


def test_an_unknown_environment_is_refused_by_name() -> None:
    with pytest.raises(EnvironmentFileError, match=r"env: one of .*dev.* is expected, got 'prd'"):
        build_app(context={"env": "prd"})


def test_sagemaker_mode_is_refused_by_name() -> None:
    with pytest.raises(
        EnvironmentFileError, match=r'"sagemaker": AWS discontinued .* 26 April 2024.*"open".*acknowledge'
    ):
        build_app(context={"dev.edge_manager": "sagemaker"})


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"dev.edge_manager": "sagemaker"}, r"a table \[compilation\] is expected"),
        ({"dev.agent.db_enable": "true", "dev.agent.deployment_enable": "true"}, "the service behind it is gone"),
        ({"dev.signing.keys": '["1", "1"]'}, "1 stands twice"),
        ({"dev.compilation.target_device": "rasp5"}, "compilation.target_device"),
        ({"dev.compilation.framework": "ONNX"}, "either target_device or target_platform"),
        (
            {"dev.compilation.target_device": "rasp4b", "dev.compilation.data_input_config": "none"},
            "data_input_config: JSON is expected",
        ),
    ],
)
def test_jobs_that_cannot_work_are_refused(context: dict[str, str], expected: str) -> None:
    with pytest.raises(EnvironmentFileError, match=expected):
        build_app(context={"dev.acknowledge_discontinued": "true", **context})


def test_sagemaker_mode_is_refused_outside_its_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DEV_REGION", "eu-north-1")
    context = {"dev.acknowledge_discontinued": "true", "dev.edge_manager": "sagemaker"}
    with pytest.raises(EnvironmentFileError, match=r"one of us-east-1, .*; got eu-north-1"):
        build_app(context=context)


def test_a_mistake_is_shown_as_a_message_without_a_traceback(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=IGNORED)
    path = copy / "environments" / "dev.toml"
    path.write_text(path.read_text().replace("batch_size = 10", 'batch_size = "ten"'))
    environment = {**os.environ, "CDK_OUTDIR": str(tmp_path / "out")}
    result = subprocess.run(
        [sys.executable, "app.py"], cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "dev.toml: capture.batch_size: should be a valid integer; got 'ten'" in result.stderr

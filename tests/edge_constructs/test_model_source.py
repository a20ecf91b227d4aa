# SPDX-License-Identifier: Apache-2.0
"""A model's folder as an asset: the files that its model.toml names, and no others."""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
import pytest

from edge_constructs.model_folder import load_model_folder
from edge_constructs.model_source import model_source

DIGITS = Path(__file__).parents[2] / "models" / "digits"


def staged(folder: Path, outdir: Path) -> tuple[str, dict[str, bytes]]:
    """Name and content of the one asset that the folder becomes, by path in it."""
    app = cdk.App(outdir=str(outdir))
    model_source(cdk.Stack(app, "Stack"), "Model", load_model_folder(folder))
    app.synth()
    (asset,) = outdir.glob("asset.*")
    return asset.name, {p.relative_to(asset).as_posix(): p.read_bytes() for p in asset.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["sub/model.onnx", "model[1].onnx", "!model.onnx", "deep/er/model.onnx"])
def test_the_asset_is_exactly_the_models_files_whatever_their_names(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    text = (DIGITS / "model.toml").read_text().replace('"model.onnx"', f'"{name}"')
    contents = {name: (DIGITS / "model.onnx").read_bytes(), "labels.txt": (DIGITS / "labels.txt").read_bytes()}
    others = {"model.toml": text.encode(), "notes.txt": b"not the model's", "sub/notes.txt": b"nor this"}
    for path, content in (contents | others).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "held_out").symlink_to(DIGITS / "held_out")
    asset, found = staged(folder, tmp_path / "first")
    assert found == contents
    assert staged(folder, tmp_path / "second") == (asset, contents), "the same files are the same asset"

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edge_agent import trust
from edge_constructs.model_folder import load_model_folder
from edge_package import Signature, read_package_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(digits: Path, tmp_path: Path, edge_model: Any) -> Path:
    assert edge_model("package", digits, "--output", tmp_path / "out")[0] == 0
    return tmp_path / "out" / "digits-1.0.tar.gz"


def test_it_runs_from_the_root_of_the_repository() -> None:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "edge_model", "--help"]
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "exit status" in done.stdout


def test_a_wrong_command_line_ends_with_2(edge_model: Any) -> None:
    for arguments in ([], ["sign", "x"], ["sign", "x", "--kms-key", "a", "--private-key", "b"], ["unknown", "x"]):
        with pytest.raises(SystemExit, match="2"):
            edge_model(*arguments)


def test_validate_holds_everything_against_everything(digits: Path, edge_model: Any) -> None:
    code, out, err = edge_model("validate", digits)
    assert (code, err) == (0, "")
    assert "40 images, accuracy 0.9750, as model.toml says" in out


def test_validate_measures_again(digits: Path, edge_model: Any) -> None:
    path = digits / "held_out" / "0000-7.png"
    path.rename(path.with_name("0000-1.png"))
    code, _, err = edge_model("validate", digits)
    assert code == 1
    assert (
        "expected what held_out gives, images = 40 and accuracy = 0.9500, got images = 40 and accuracy = 0.975" in err
    )
    shutil.rmtree(digits / "held_out")
    code, _, err = edge_model("validate", digits)
    assert (code, err.count("\n")) == (1, 1)
    assert "expected held-out images (.jpeg, .jpg, .png), found none; put some there" in err


@pytest.mark.parametrize(
    ("item", "finding"), [(None, "nothing in any image"), ({"label": "1", "box": [0, 0, 9]}, "a box of 3 numbers")]
)
def test_boxes_that_measure_nothing_are_refused(item: Any, finding: str, tmp_path: Path, edge_model: Any) -> None:
    folder = tmp_path / "digitdetector"
    shutil.copytree(ROOT / "models" / "digitdetector", folder)
    boxes = folder / "held_out" / "boxes.json"
    names = json.loads(boxes.read_text(encoding="utf-8"))
    boxes.write_text(json.dumps({name: [item] if item else [] for name in names}), encoding="utf-8")
    code, _, err = edge_model("validate", folder)
    assert code == 1
    assert "boxes.json: expected a JSON object" in err
    assert finding in err


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (("new", "{digits}/model.onnx", "{digits}/labels.txt/new"), "labels.txt/new"),
        (("new", "{digits}/model.onnx", "/proc/new"), "/proc/new"),
        (("package", "{digits}", "--output", "/proc/new"), "/proc/new"),
        (("package", "{digits}", "--output", "{digits}/model.toml"), "model.toml"),
        (("inspect", "/proc/self/mem"), "Input/output error"),
    ],
)
def test_what_the_system_refuses_is_told_in_a_line(
    command: tuple[str, ...], place: str, digits: Path, edge_model: Any
) -> None:
    code, out, err = edge_model(*(part.format(digits=digits) for part in command))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("edge-model: ")
    assert place in err
    assert "; name another place" in err


def test_packages_are_the_same_bytes_and_never_overwritten(package: Path, digits: Path, edge_model: Any) -> None:
    first = package.read_bytes()
    code, out, _ = edge_model("package", digits, "--output", package.parent)
    assert code == 0
    assert "there already, the same bytes" in out
    (digits / "labels.txt").write_text("".join(f"digit {n}\n" for n in range(10)), encoding="utf-8")
    code, _, err = edge_model("package", digits, "--output", package.parent)
    assert code == 1
    assert "raise the model's version" in err
    assert package.read_bytes() == first


@pytest.mark.parametrize("name", [".hidden", "folder/.hidden", "sagemaker_edge_manifest.sig"])
def test_a_name_that_the_job_refuses_is_refused(name: str, digits: Path, edge_model: Any, tmp_path: Path) -> None:
    (digits / name).parent.mkdir(exist_ok=True)
    (digits / name).write_bytes(b"x")
    path = digits / "model.toml"
    path.write_text(path.read_text().replace('"labels.txt"]', f'"labels.txt", "{name}"]'))
    code, _, err = edge_model("package", digits, "--output", tmp_path / "out")
    assert code == 1
    assert name in err
    assert not (tmp_path / "out").exists()


def test_a_model_that_lies_in_s3_is_left_to_the_job(digits: Path, edge_model: Any, tmp_path: Path) -> None:
    path = digits / "model.toml"
    digest = load_model_folder(digits).digest
    path.write_text(f'{path.read_text()}\n[source]\nuri = "s3://weights/digits/"\ndigest = "{digest}"\n')
    for command in (["package", digits, "--output", tmp_path / "out"], ["validate", digits], ["inspect", digits]):
        code, _, err = edge_model(*command)
        assert code == 1
        assert "they lie at s3://weights/digits/: copy them here" in err


def test_a_model_of_another_framework_is_said_to_be_compiled_first(digits: Path, edge_model: Any) -> None:
    (digits / "model.onnx").rename(digits / "model.tflite")
    path = digits / "model.toml"
    path.write_text(path.read_text().replace("model.onnx", "model.tflite"))
    code, out, _ = edge_model("validate", digits)
    assert code == 0
    assert "to be compiled from TFLITE for a device" in out


def test_synth_the_agent_and_the_command_agree_on_the_digest(package: Path, digits: Path, edge_model: Any) -> None:
    manifest = load_model_folder(digits).manifest
    assert read_package_file(package, max_bytes=1 << 20).manifest == manifest
    for location in (package, digits):
        code, out, _ = edge_model("inspect", location, "--format", "json")
        assert code == 0
        described = json.loads(out)
        assert described["digest"] == manifest.digest
        assert described["models"]["model.onnx"]["inputs"] == ["image: float32 [?, 1, 8, 8]"]
    assert "signature  none" in edge_model("inspect", package)[1]


def test_a_signed_package_is_verified_by_its_key_and_by_the_agent(
    package: Path, edge_model: Any, key_pair: Any, tmp_path: Path
) -> None:
    private, public = key_pair("mine")
    _, other = key_pair("other")
    assert edge_model("verify", package)[:2][0] == 0
    assert "expected a signature" in edge_model("verify", package, "--public-key", public)[2]
    code, out, _ = edge_model("sign", package, "--private-key", private)
    assert code == 0
    assert "by mine.pem" in out
    code, out, _ = edge_model("verify", package, "--public-key", other, "--public-key", public)
    assert code == 0
    assert "signature by mine.pub" in out
    code, _, err = edge_model("verify", package, "--public-key", other)
    assert code == 1
    assert "expected a signature by other.pub, got another one" in err
    code, _, err = edge_model("sign", package, "--private-key", private)
    assert code == 1
    assert "found one by the key 'mine.pem'; remove it first" in err
    roots = tmp_path / "roots"
    roots.mkdir(mode=0o755)
    shutil.copy(public, roots / "root.pem")
    (roots / "root.pem").chmod(0o444)
    signature = Signature.parse(package.with_name(package.name + ".sig").read_bytes(), source="test")
    manifest = read_package_file(package, max_bytes=1 << 20).manifest
    assert trust.verify(manifest, signature, directory=roots) == "root.pem"


@pytest.mark.parametrize("inside", [b"probabilities", b"model_version", b"8\n9\n", b"labels.txt"])
def test_a_flipped_byte_is_found(package: Path, edge_model: Any, inside: bytes) -> None:
    content = bytearray(package.read_bytes())
    content[content.index(inside)] ^= 1
    package.write_bytes(content)
    code, _, err = edge_model("verify", package)
    assert code == 1
    assert err.startswith("edge-model: ")


def test_a_signature_of_another_package_is_refused(
    package: Path, digits: Path, edge_model: Any, key_pair: Any, tmp_path: Path
) -> None:
    private, _ = key_pair("mine")
    edge_model("sign", package, "--private-key", private)
    toml = digits / "model.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace('"1.0"', '"2.0"'), encoding="utf-8")
    edge_model("package", digits, "--output", tmp_path / "out")
    newer = package.with_name("digits-2.0.tar.gz")
    shutil.copy(f"{package}.sig", f"{newer}.sig")
    code, _, err = edge_model("verify", newer)
    assert code == 1
    assert "which is another package's" in err


def test_keys_that_are_none_are_refused_by_name(package: Path, edge_model: Any, key_pair: Any, tmp_path: Path) -> None:
    from awscrt.crypto import ECType  # noqa: PLC0415 -- of this test alone

    text = tmp_path / "text.pem"
    text.write_text("no key", encoding="ascii")
    large, _ = key_pair("large", ECType.P_384)
    for path, finding in ((text, "got 'no key'"), (tmp_path / "absent.pem", "No such file"), (large, "384 bits")):
        code, _, err = edge_model("sign", package, "--private-key", path)
        assert code == 1
        assert f"{path}: expected a PEM file with a EC PRIVATE KEY or PRIVATE KEY of NIST P-256" in err
        assert finding in err
    assert not package.with_name(package.name + ".sig").exists()


def test_what_is_no_package_and_what_is_not_there_is_refused(tmp_path: Path, edge_model: Any) -> None:
    (tmp_path / "text").write_text("no package", encoding="utf-8")
    for location, finding in ((tmp_path / "text", "expected a whole .tar.gz"), (tmp_path / "absent", "found nothing")):
        code, _, err = edge_model("inspect", location)
        assert code == 1
        assert finding in err
    assert "expected s3://bucket/key" in edge_model("inspect", "s3://bucket")[2]


def test_new_writes_what_the_file_says_and_asks_for_the_rest(tmp_path: Path, edge_model: Any, digits: Path) -> None:
    folder = tmp_path / "scanner"
    code, out, _ = edge_model("new", digits / "model.onnx", folder)
    assert code == 0
    assert "labels.txt: 10 label(s)" in out
    assert "held_out/ and [evaluation]" in out
    model = load_model_folder(folder)
    assert (model.name, model.task, len(model.label_list)) == ("scanner", "image-classification", 10)
    assert (model.preprocessing.input, model.preprocessing.width, model.preprocessing.channels) == ("image", 8, "L")
    assert edge_model("validate", folder)[0] == 1  # there are no held-out images yet
    shutil.copytree(digits / "held_out", folder / "held_out")
    text = (folder / "model.toml").read_text(encoding="utf-8")
    (folder / "labels.txt").write_text("".join(f"{n}\n" for n in range(10)), encoding="utf-8")
    text = text.replace("images = 0", "images = 40").replace("accuracy = 0.0", "accuracy = 0.975")
    (folder / "model.toml").write_text(text.replace(repr(1 / 255), repr(1 / 240)), encoding="utf-8")
    assert edge_model("validate", folder)[0] == 0
    assert "found one; name another" in edge_model("new", digits / "model.onnx", folder)[2]


def test_new_knows_a_detector(tmp_path: Path, edge_model: Any) -> None:
    source = ROOT / "models" / "digitdetector" / "model.onnx"
    assert edge_model("new", source, tmp_path / "found")[0] == 0
    document = tomllib.loads((tmp_path / "found" / "model.toml").read_text(encoding="utf-8"))
    assert document["task"] == "object-detection"
    assert "boxes.json" in (tmp_path / "found" / "model.toml").read_text(encoding="utf-8")


def test_new_refuses_what_the_components_cannot_use(tmp_path: Path, edge_model: Any, tiny: Any) -> None:
    source = tmp_path / "model.onnx"
    for shape, name, finding in (
        ([1, 64], "flat", "expected one input with four dimensions"),
        ([1, 2, 8, 4], "planes", "expected 1 or 3 channels"),
        ([4, 1, 8, 8], "batch", "preprocessing: model.onnx expects"),
        ([1, 1, 8, 8], "under_score", "give the folder such a name"),
    ):
        source.write_bytes(tiny(shape=shape))
        code, _, err = edge_model("new", source, tmp_path / name)
        assert code == 1
        assert finding in err
        assert not (tmp_path / name).exists()

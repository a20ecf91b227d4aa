# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from edge_constructs.model_folder import load_model_folder
from edge_inference.task import Result
from edge_model.errors import ModelCommandError
from edge_model.evaluation import Measured, Truth, mean_average_precision
from edge_model.model_toml import earlier_precision, with_outcome, without_table
from edge_model.optimization import Figures, Outcome, checked, optimize
from edge_model.runtime import LOCK, DeviceRuntime, nodes

MODELS = Path(__file__).parents[2] / "models"
BEFORE = Figures(size=100, latency_ms=0.12345, measured=Measured(images=40, accuracy=0.975))
AFTER = Figures(size=60, latency_ms=0.1, measured=Measured(images=40, accuracy=0.95))
OUTCOME = Outcome(content=b"", steps=("graph", "int8"), before=BEFORE, after=AFTER)


def test_the_limit_is_the_oldest_runtime_that_a_device_can_get(tmp_path: Path) -> None:
    runtime = DeviceRuntime.oldest()
    assert f"onnxruntime=={runtime.version} ; python_full_version < '3.10'" in LOCK.read_text(encoding="utf-8")
    lock = tmp_path / "requirements.txt"
    lock.write_text("onnxruntime==1.21.0 ; python\nonnxruntime==1.19.2 ; python\n", encoding="utf-8")
    assert DeviceRuntime.oldest(lock) == DeviceRuntime(version="1.19.2", ir=10, opset=21, ml_opset=5)
    for text, found in (("onnxruntime==9.1.0", "got 9.1.0"), ("numpy==2.0.0", "got none")):
        lock.write_text(text, encoding="utf-8")
        with pytest.raises(ModelCommandError, match=found):
            DeviceRuntime.oldest(lock)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ir": 11}, "expects IR version 10 at the most, got 11"),
        ({"opset": 22}, "operator set ai.onnx 22: .* expects 21 at the most"),
        (
            {"operator": "FusedGemm", "domain": "com.microsoft"},
            "operator set 'com.microsoft': .* is not known to have it",
        ),
        ({"operator": "Gemmm"}, "Gemmm"),
        ({"shape": [1, 1, 7, 7]}, "expected a model that keeps ONNX's rules"),
    ],
)
def test_what_a_device_could_not_run_is_refused(tiny: Any, change: dict[str, Any], message: str) -> None:
    checked("model.onnx", tiny())
    with pytest.raises(ModelCommandError, match=message):
        checked("model.onnx", tiny(**change))


def test_operators_inside_of_branches_are_looked_at(tiny: Any) -> None:
    model = onnx.load_from_string(tiny())
    inner = helper.make_graph([helper.make_node("Unheard", ["flat"], ["x"], name="inner")], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["flat"], ["x"], then_branch=inner, else_branch=inner))
    assert [node.op_type for node in nodes(model)].count("Unheard") == 2
    faults = list(DeviceRuntime.oldest().faults("model.onnx", model))
    assert "operator Unheard (inner)" in faults[0]


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ModelCommandError, match=r"bad\.onnx: expected a model that keeps ONNX's rules"):
        checked("bad.onnx", b"not a model")


def test_what_changes_nothing_is_taken_out(digits: Path, tiny: Any) -> None:
    (digits / "model.onnx").write_bytes(tiny(shape=[1, 1, 8, 8]))
    (digits / "labels.txt").write_text("0\n1\n2\n", encoding="utf-8")
    outcome = optimize(load_model_folder(digits), int8=False, largest_loss=0.0, rounds=2)
    after = onnx.load_from_string(outcome.content)
    assert [node.op_type for node in after.graph.node] == ["Flatten", "Gemm"]
    assert [(item.domain, item.version) for item in after.opset_import] == [("", 17)]
    assert (after.ir_version, after.producer_name) == (8, "")
    assert outcome.before.measured == outcome.after.measured


def test_the_command_writes_model_and_figures_for_the_reviewer(digits: Path, edge_model: Any) -> None:
    before = load_model_folder(digits)
    digest, old = before.manifest.digest, (digits / "model.onnx").read_bytes()
    code, out, _ = edge_model("optimize", digits, "--int8", "--dry-run")
    assert code == 0
    assert "nothing written" in out
    assert (digits / "model.onnx").read_bytes() == old
    code, out, _ = edge_model("optimize", digits, "--int8")
    assert code == 0
    assert "graph+int8" in out
    model = load_model_folder(digits)
    assert model.optimization is not None
    assert model.manifest.digest != digest
    assert (model.optimization.size_before, model.optimization.size) == (
        len(old),
        (digits / "model.onnx").stat().st_size,
    )
    assert model.optimization.size < 0.5 * model.optimization.size_before
    assert model.evaluation.accuracy == model.optimization.accuracy
    assert edge_model("validate", digits)[0] == 0
    assert "expected a folder of this machine" in edge_model("optimize", "s3://bucket/folder/")[2]


def test_a_second_run_keeps_the_figures_of_before_the_first(digits: Path, edge_model: Any) -> None:
    assert edge_model("optimize", digits, "--int8", "--max-accuracy-loss=1")[0] == 0
    first = load_model_folder(digits).optimization
    assert first is not None
    outcome = optimize(load_model_folder(digits), int8=False, largest_loss=1.0, rounds=2)
    assert outcome.steps == ("graph", "int8")
    assert (outcome.before.size, outcome.before.latency_ms) == (first.size_before, first.latency_before_ms)
    assert outcome.before.measured.accuracy == first.accuracy_before


def test_many_runs_may_lose_no_more_than_one(digits: Path, edge_model: Any) -> None:
    path = digits / "model.toml"
    told = (
        '\n[optimization]\nsteps = ["int8"]\nonnxruntime = "1.19.2"\nsize_before = 90000\nsize = 80000\n'
        "latency_before_ms = 1.0\nlatency_ms = 0.9\naccuracy_before = 1.0\naccuracy = 0.975\n"
    )
    path.write_text(path.read_text(encoding="utf-8") + told, encoding="utf-8")
    content = {file: file.read_bytes() for file in digits.iterdir() if file.is_file()}
    code, _, err = edge_model("optimize", digits, "--int8", "--max-accuracy-loss=0.02")
    assert code == 1
    assert "got 1.0000 before and 0.9" in err
    assert {file: file.read_bytes() for file in digits.iterdir() if file.is_file()} == content


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content, "the model's bytes stay the same"),
        (lambda content: content + b"\x32\x04slow", "neither size nor latency is better"),  # its doc_string
    ],
)
def test_what_is_no_better_is_not_written(
    change: Callable[[bytes], bytes], reason: str, digits: Path, edge_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_model import optimization  # noqa: PLC0415 -- to be changed

    monkeypatch.setattr(optimization, "_graph_optimized", change)
    monkeypatch.setattr(optimization, "_latencies", lambda *_: [1.0, 1.0])
    content = {path: path.read_bytes() for path in digits.iterdir() if path.is_file()}
    code, out, _ = edge_model("optimize", digits)
    assert code == 0
    assert f"nothing written: {reason}" in out
    assert {path: path.read_bytes() for path in digits.iterdir() if path.is_file()} == content


def test_a_detectors_reviewer_sees_its_mean_average_precision(digits: Path) -> None:
    text = (digits / "model.toml").read_text(encoding="utf-8")
    before, after = (
        replace(figures, measured=replace(figures.measured, mean_average_precision=precision))
        for figures, precision in ((BEFORE, 0.9286), (AFTER, 0.92))
    )
    once = with_outcome(text, replace(OUTCOME, before=before, after=after))
    assert "[optimization]" in once.partition("# mean average precision: 0.9286 before, 0.9200 now\n")[0]
    assert earlier_precision(once) == 0.9286
    assert with_outcome(once, replace(OUTCOME, before=before, after=after)) == once
    assert earlier_precision(text) is None


def test_many_runs_lose_no_more_of_a_detectors_precision_than_one(tmp_path: Path, edge_model: Any) -> None:
    folder = tmp_path / "digitdetector"
    shutil.copytree(MODELS / "digitdetector", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    before, after = (
        replace(figures, measured=Measured(images=112, accuracy=0.8304, mean_average_precision=precision))
        for figures, precision in ((BEFORE, 0.99), (AFTER, 0.9286))
    )
    path = folder / "model.toml"
    text = with_outcome(path.read_text(encoding="utf-8"), replace(OUTCOME, before=before, after=after))
    path.write_text(text, encoding="utf-8")
    code, _, err = edge_model("optimize", folder)
    assert code == 1
    assert "0.01 of mean average precision at the most on 112 held-out images, got 0.9900 before and 0.92" in err
    assert path.read_text(encoding="utf-8") == text


def test_too_much_accuracy_lost_writes_nothing(digits: Path, edge_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_model import optimization  # noqa: PLC0415 -- to be changed

    content = {path: path.read_bytes() for path in digits.iterdir() if path.is_file()}

    def spoilt(model: bytes) -> bytes:
        """A quantisation that went wrong: all weights are nought."""
        parsed = onnx.load_from_string(model)
        for tensor in parsed.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and tensor.raw_data:
                tensor.raw_data = bytes(len(tensor.raw_data))
        spoilt_model: bytes = parsed.SerializeToString()
        return spoilt_model

    monkeypatch.setattr(optimization, "_quantized", spoilt)
    code, _, err = edge_model("optimize", digits, "--int8")
    assert code == 1
    assert "expected to lose 0.01 of accuracy at the most on 40 held-out images, got 0.9750 before and" in err
    assert "leave out --int8" in err
    assert {path: path.read_bytes() for path in digits.iterdir() if path.is_file()} == content


@pytest.mark.parametrize("share", ["nan", "-0.1", "1.5"])
def test_an_accuracy_gate_that_is_no_share_is_refused(share: str, digits: Path, edge_model: Any) -> None:
    code, _, err = edge_model("optimize", digits, f"--max-accuracy-loss={share}")
    assert (code, share in err) == (1, True)


def test_the_rest_of_model_toml_stays_as_people_wrote_it(digits: Path) -> None:
    text = (digits / "model.toml").read_text(encoding="utf-8")
    once = with_outcome(text, OUTCOME)
    assert with_outcome(once, OUTCOME) == once
    document = tomllib.loads(once)
    assert document["optimization"]["latency_before_ms"] == 0.123
    assert document["evaluation"] == {"data": "held_out", "images": 40, "accuracy": 0.95}
    assert without_table(once, "optimization").rstrip() == text.replace("accuracy = 0.975", "accuracy = 0.95").rstrip()
    followed = f"{once}\n[later]\nkey = 1 # kept\n"
    inline = 'evaluation = { data = "held_out", images = 40, accuracy = 0.975 }\n[preprocessing]\ninput = "image"\n'
    with pytest.raises(ModelCommandError, match="one key a line"):
        with_outcome(inline, OUTCOME)
    assert "[later]\nkey = 1 # kept\n" in with_outcome(followed, OUTCOME)


def test_average_precision_is_the_area_under_the_curve() -> None:
    box, elsewhere = (0.0, 0.0, 8.0, 8.0), (20.0, 20.0, 28.0, 28.0)
    truth = [Truth("a", box), Truth("a", elsewhere)]

    def found(score: float, place: tuple[float, ...], label: str = "a") -> Result:
        return Result(label, score, str(list(place)))

    assert mean_average_precision([(truth, [found(0.9, box), found(0.8, elsewhere)])]) == 1
    # Half of them found; a second one at the same place counts against, but after the last hit.
    assert mean_average_precision([(truth, [found(0.9, box), found(0.8, box)])]) == 0.5
    # A wrong one in front: one of two at rank 2, and both at rank 3.
    wrong = found(0.95, (40.0, 40.0, 48.0, 48.0))
    assert mean_average_precision([(truth, [wrong, found(0.9, box), found(0.8, elsewhere)])]) == pytest.approx(2 / 3)
    # Another class is another curve.
    both = [*truth, Truth("b", box)]
    assert mean_average_precision([(both, [found(0.9, box), found(0.8, elsewhere)])]) == 0.5

# SPDX-License-Identifier: Apache-2.0
"""`make demo`: from clone to a prediction in the bucket, with neither account, Docker nor Node."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from local.assembly import AssemblyError
from local.aws.server import EmbeddedAwsError
from local.commands import CommandError
from local.demo import evidence, page
from local.demo.baseline import classify
from local.demo.report import Prediction, Report, percentile
from local.system import ROOT, LocalSystem, LocalSystemError

STAGE = "dev"
MODEL = ROOT / "models" / "digits"
_INSTALL_SECONDS = 900.0
_PASS_SECONDS = 180.0


class Demo:
    """One run: the system under it, the steps that it shows, and its stopwatch."""

    def __init__(self, system: LocalSystem, steps: _Notifier) -> None:
        self._system = system
        self._steps = steps
        self._seconds: dict[str, float] = {}
        self._images = sorted((MODEL / "held_out").glob("*.png"))

    def run(self) -> Report:
        """Everything, in order."""
        started = time.monotonic()
        with self._timed("synth"):
            self._system.synthesise()
        with self._timed("deploy"):
            self._system.deploy()
        assembly = self._system.assembly
        inference, agent = assembly.component(".ImageClassification"), assembly.component(".Agent")
        evidence.count_messages_behind_rule(self._system, assembly.configuration(inference)["PublishResultsOnTopic"])
        with self._timed("device"):
            self._system.start_device()
            self._system.wait_until_deployed(timeout=_INSTALL_SECONDS)
        with self._timed("predict"):
            predictions = self._watch("predicting", lambda: list(self._system.events(inference, "prediction")))
        with self._timed("captures"):
            self._watch("captures in the bucket", lambda: list(evidence.read_captures(self._system).records))
        messages: list[Mapping[str, Any]] = []

        def received() -> list[Mapping[str, Any]]:
            messages.extend(evidence.receive_messages(self._system))
            return messages

        with self._timed("messages"):
            # The broker acknowledges before the rule has them, so the last ones may still be on their way.
            self._watch("messages behind the rule", received)
        loaded = next(self._system.events(agent, "model_loaded"))
        with self._timed("metrics"):
            self._watch("predictions in metrics", lambda: [None] * self._counted(loaded))
        self._system.stop_device()
        self._seconds["in all"] = time.monotonic() - started
        return self._report(predictions, messages, loaded)

    def _report(
        self, predictions: list[Mapping[str, Any]], messages: list[Mapping[str, Any]], loaded: Mapping[str, Any]
    ) -> Report:
        captures = evidence.read_captures(self._system)
        inventory = self._system.aws.inventory(assembly=self._system.assembly.path)
        labels = {entry["image"]: str(entry["label"]) for entry in predictions}
        baseline = classify(MODEL, self._images)
        names = (MODEL / "labels.txt").read_text(encoding="utf-8").splitlines()
        captured = {
            entry["image"]: names[evidence.captured_class(captures.records[entry["capture_id"]])]
            for entry in predictions
            if entry["capture_id"] in captures.records
        }
        durations = [float(entry["predict_ms"]) for entry in predictions]
        right = sum(labels.get(path.name) == _true_label(path) for path in self._images)
        return Report(
            deployed=dict(Counter(resource.type for resource in (*inventory.deployed, *inventory.emulated))),
            emulated=dict(Counter(resource.type for resource in inventory.emulated)),
            not_deployed=[f"{resource.stack}/{resource.logical_id}" for resource in inventory.not_deployed],
            model=str(loaded["model_name"]),
            model_version=str(loaded["model_version"]),
            model_digest=str(loaded["digest"]),
            declared_digest=_declared_digest(self._system),
            labels=names,
            predictions=[
                Prediction(
                    image=entry["image"],
                    true_label=_true_label(Path(entry["image"])),
                    label=str(entry["label"]),
                    score=float(entry["score"]),
                    predict_ms=float(entry["predict_ms"]),
                )
                for entry in predictions
            ],
            images=len(self._images),
            accuracy=right / len(self._images),
            differing_labels=sorted(name for name, label in baseline.items() if labels.get(name) != label),
            captures=len(captures.records),
            captures_twice=sum(count > 1 for count in captures.counts.values()),
            captures_unlike_predictions=sum(label != labels[name] for name, label in captured.items()),
            capture_objects=len(captures.keys),
            capture_key=captures.keys[-1],
            capture_record=captures.records[predictions[-1]["capture_id"]],
            messages=len(messages),
            message=messages[-1] if messages else {},
            metric_predictions=self._counted(loaded),
            predict_ms_p50=percentile(durations, 50),
            predict_ms_p99=percentile(durations, 99),
            denied_call=evidence.denied_call(self._system),
            seconds=self._seconds,
        )

    def _counted(self, loaded: Mapping[str, Any]) -> int:
        model, version = str(loaded["model_name"]), str(loaded["model_version"])
        return evidence.predictions_in_metrics(self._system, stage=STAGE, model=model, version=version)

    def _watch(self, what: str, look: Any) -> list[Any]:
        """Show how a list grows to one entry for each image, and return it."""
        show = self._steps.count(what, len(self._images))
        found: list[Any] = []

        def complete() -> bool:
            found[:] = look()
            show(len(found))
            return len(found) >= len(self._images)

        self._system.wait_for(complete, what=what, timeout=_PASS_SECONDS)
        return found

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._seconds[name] = time.monotonic() - started


def _true_label(image: Path) -> str:
    """The held-out files are named `<number>-<label>.png`; the component does not know."""
    return image.stem.rpartition("-")[2]


def _declared_digest(system: LocalSystem) -> str:
    """The model digest that synth wrote into the packaging job."""
    outputs = system.aws.client("cloudformation").describe_stacks(StackName=f"{STAGE}-Models")["Stacks"][0]["Outputs"]
    return next(str(output["OutputValue"]) for output in outputs if output["OutputKey"] == "ModelDigest")


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Refuse a second demo in the same folder: each would clear the other's files away."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"a demo is already running in {directory}; wait for it, or stop it with Ctrl-C")
        yield


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo; 0 when everything is as it must be, 1 when not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "demo", help="where it works (%(default)s)")
    directory = parser.parse_args().directory.resolve()
    # SIGINT as well: a shell that starts this in the background leaves it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    console = Console(width=None if sys.stdout.isatty() else 100)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<34}"),
        BarColumn(30),
        _Count(),
        TimeElapsedColumn(),
    )
    overrides = {
        "heartbeat.period_seconds": "5",
        "inference.image_directory": str(MODEL / "held_out"),
        "inference.interval_seconds": "3600",
    }
    try:
        with _alone(directory), Progress(*columns, console=console, transient=True) as progress:
            notify = _Notifier(progress)
            with LocalSystem(directory=directory, stage=STAGE, overrides=overrides, notify=notify) as system:
                report = Demo(system, notify).run()
                notify("stopping")
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        return 130
    except (AssemblyError, CommandError, EmbeddedAwsError, LocalSystemError) as error:
        console.print(f"[bold red]failed[/]  {error}", highlight=False)
        return 1
    report.write(directory / "report.json")
    page.write(directory / "report.html", report, images=MODEL / "held_out")
    report.show(console)
    console.print(f"the same as a page: {os.path.relpath(directory / 'report.html')}", highlight=False)
    console.print(f"and as JSON: {os.path.relpath(directory / 'report.json')}", highlight=False)
    return 1 if report.faults() else 0


class _Notifier:
    """Shows each step as a line of its own, with a spinner while it lasts."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def __call__(self, step: str) -> None:
        """Begin a step whose end is the next one's beginning."""
        self._begin(step, total=None)

    def count(self, step: str, total: int) -> Callable[[int], None]:
        """Begin a step that is counted, and return what takes the count."""
        task = self._begin(step, total=total)
        return lambda count: self._progress.update(task, completed=count)

    def _begin(self, step: str, *, total: int | None) -> TaskID:
        if self._task is not None:
            done = self._progress.tasks[self._task].total or 1
            self._progress.update(self._task, total=done, completed=done)
        self._task = self._progress.add_task(step, total=total)
        if not self._progress.console.is_terminal:
            self._progress.console.print(f"… {step}", highlight=False)
        return self._task


class _Count(MofNCompleteColumn):
    """Says how many of how many, where there is something to count."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total and task.total > 1 else Text()


if __name__ == "__main__":
    sys.exit(main())

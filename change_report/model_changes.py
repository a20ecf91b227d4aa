# SPDX-License-Identifier: Apache-2.0
"""Models: version, digest, size, what was measured and how they were optimised, before and now."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from change_report.artifacts import FileChange, file_changes
from change_report.errors import ReportError
from change_report.leaves import Leaf, differing
from edge_package import PackageError, make_manifest
from edge_package.archive import FileContent


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A model folder as it says itself: `size` in bytes, `evaluation` and `optimization` as tables of model.toml."""

    version: str
    digest: str
    size: int
    evaluation: Mapping[str, Any]
    optimization: Mapping[str, Any]
    others: Mapping[str, Any]
    files: Mapping[str, FileContent] = field(repr=False)

    @property
    def evaluated(self) -> bool:
        """Whether it was measured on any image."""
        return "accuracy" in self.evaluation and self.evaluation.get("images", 0) > 0


@dataclass(frozen=True, kw_only=True)
class ModelChange:
    """A model that differs; `unevaluated` says why nothing is known of how good it is now, or is empty."""

    name: str
    before: ModelFacts | None
    after: ModelFacts | None
    files: tuple[FileChange, ...]
    leaves: tuple[Leaf, ...]
    unevaluated: str
    notes: tuple[str, ...]


def model_changes(before: Path, after: Path) -> list[ModelChange]:
    """Every model that differs between two folders of models.

    Raises:
        ReportError: a model.toml is no TOML, or a file that it names is missing.
    """
    former, latter = _models(before), _models(after)
    names = [name for name in sorted({**former, **latter}) if former.get(name) != latter.get(name)]
    return [_change(name, former.get(name), latter.get(name)) for name in names]


def _models(folder: Path) -> dict[str, ModelFacts]:
    return {path.parent.name: _facts(path) for path in sorted(folder.glob("*/model.toml"))}


def _facts(path: Path) -> ModelFacts:
    """As it is written: a former state may follow other rules than today's, and today's has passed them at synth."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        named = dict.fromkeys(told.pop("files"))
        version = str(told.pop("version"))
        elsewhere = told.get("source", {}).get("digest")  # its files lie in a bucket: their digest stands for them
        here = [name for name in named if elsewhere is None or (path.parent / name).is_file()]
        contents = {name: (path.parent / name).read_bytes() for name in here}
        digest = elsewhere or make_manifest(model_name=str(told["name"]), model_version=version, files=contents).digest
    except (OSError, KeyError, ValueError, PackageError) as error:
        raise ReportError(f"models/{path.parent.name}/model.toml: a model's files are expected: {error!r}") from error
    return ModelFacts(
        version=version,
        digest=digest,
        size=sum(map(len, contents.values())),
        evaluation=told.pop("evaluation", {}),
        optimization=told.pop("optimization", {}),
        others=told,
        files={name: FileContent(content) for name, content in contents.items()},
    )


def _change(name: str, before: ModelFacts | None, after: ModelFacts | None) -> ModelChange:
    files = file_changes(before.files if before else {}, after.files if after else {})
    unevaluated = ""
    if after is not None and not after.evaluated:
        unevaluated = "it was measured on no images: [evaluation] has none"
    elif before and after and before.version == after.version and before.digest != after.digest:
        changed = ", ".join(file.path for file in files) or "its files in the bucket"
        unevaluated = (
            f"{changed} changed under the same version {after.version}, whose [evaluation] is of the former file"
        )
        if before.evaluation != after.evaluation:
            unevaluated = f"{changed} changed under the same version {after.version}, with another [evaluation]"
    return ModelChange(
        name=name,
        before=before,
        after=after,
        files=tuple(files),
        leaves=tuple(differing(before.others, after.others)) if before and after else (),
        unevaluated=unevaluated,
        notes=tuple(_notes(before, after)),
    )


def _notes(before: ModelFacts | None, after: ModelFacts | None) -> list[str]:
    if before is None or after is None or not (before.evaluated and after.evaluated):
        return []
    notes = []
    former, latter = before.evaluation["accuracy"], after.evaluation["accuracy"]
    if latter < former:
        notes.append(f"accuracy falls from {former} to {latter}")
    if before.files == after.files:
        notes.append("another version of the same files" if before.version != after.version else "the same files")
        if before.evaluation != after.evaluation:
            notes[-1] += ", told to be of other quality: [evaluation] differs"
    elif before.version != after.version and before.evaluation == after.evaluation:
        notes.append("its [evaluation] is word for word that of the former version: was it measured again?")
    if before.evaluation.get("data") != after.evaluation.get("data") or (
        before.evaluation.get("images") != after.evaluation.get("images")
    ):
        notes.append("measured on other images than before: the accuracies do not compare")
    return notes

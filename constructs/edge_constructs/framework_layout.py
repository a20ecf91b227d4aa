# SPDX-License-Identifier: Apache-2.0
"""What SageMaker Neo takes of a model, framework by framework: which files, and under which names.

From "Saving Models for SageMaker Neo" of the SageMaker developer guide (specification §1.9); Darknet's pair is what
Darknet itself writes, and what AWS's samples archive. For SKLEARN, which the API lists, no layout is documented.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class FrameworkLayout:
    """The files of a framework's model.

    Attributes:
        parts: patterns of names, with alternatives by `|`; of each exactly one file is expected.
        rest: pattern of paths that go along, as many as there are.
        text: the expectation in words.
    """

    parts: tuple[str, ...]
    text: str
    rest: str = ""

    def files(self, names: Sequence[str]) -> tuple[str, ...] | None:
        """Those of `names` that make the model; None where they do not."""
        chosen = []
        for part in self.parts:
            patterns = part.split("|")
            found = [name for name in names if any(fnmatchcase(posixpath.basename(name), one) for one in patterns)]
            if len(found) != 1:
                return None
            chosen += found
        chosen += [name for name in names if self.rest and fnmatchcase(name, self.rest)]
        return tuple(sorted(chosen))


_SAVED_MODEL = FrameworkLayout(
    parts=("saved_model.pb",), rest="*variables/*", text="a saved_model.pb with its folder variables/, or one .pb file"
)
_FROZEN = FrameworkLayout(parts=("*.pb",), text=_SAVED_MODEL.text)
LAYOUTS: Mapping[str, tuple[FrameworkLayout, ...]] = {
    "ONNX": (FrameworkLayout(parts=("*.onnx",), text="one .onnx file"),),
    "KERAS": (FrameworkLayout(parts=("*.h5",), text="one .h5 file with definition and weights"),),
    "MXNET": (
        FrameworkLayout(
            parts=("*-symbol.json", "*.params"), text="one file ending in -symbol.json and one .params file"
        ),
    ),
    "PYTORCH": (FrameworkLayout(parts=("*.pt|*.pth",), text="one traced .pt or .pth file"),),
    "TENSORFLOW": (_SAVED_MODEL, _FROZEN),
    "TFLITE": (FrameworkLayout(parts=("*.tflite",), text="one .tflite file"),),
    "DARKNET": (FrameworkLayout(parts=("*.cfg", "*.weights"), text="one .cfg and one .weights file"),),
    "XGBOOST": (FrameworkLayout(parts=("*xgboost*",), text="one file with xgboost in its name"),),
}


# The order of an image's axes in DataInputConfig; ONNX keeps its own graph's.
AXES: Mapping[str, str] = {
    "KERAS": "NCHW",
    "MXNET": "NCHW",
    "PYTORCH": "NCHW",
    "DARKNET": "NCHW",
    "TENSORFLOW": "NHWC",
    "TFLITE": "NHWC",
}


def framework_files(framework: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Which of a model's files Neo takes for a framework; None: they are not what it takes."""
    found = (layout.files(names) for layout in LAYOUTS.get(framework, ()))
    return next((files for files in found if files is not None), None)


def expected_files(framework: str) -> str:
    """The files of a framework of `LAYOUTS` in words."""
    return LAYOUTS[framework][0].text


def foreign_framework(names: Sequence[str]) -> str:
    """The framework, other than ONNX, whose files these are; blank: of none, or of more than one."""
    found = [framework for framework in LAYOUTS if framework != "ONNX" and framework_files(framework, names)]
    if framework_files("ONNX", names) or len(found) != 1:
        return ""
    return found[0]

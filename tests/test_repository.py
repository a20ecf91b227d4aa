# SPDX-License-Identifier: Apache-2.0
"""Rules of the repository itself, held on every file that git knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {".py", ".toml", ".yaml", ".proto", ".sh"}
GENERATED = ("agent_pb2.py", "agent_pb2.pyi", "agent_pb2_grpc.py")


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")  # noqa: S607 -- git of the machine
    return [ROOT / name.decode() for name in names if name and (ROOT / name.decode()).is_file()]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a checkout is needed to know the files")


def test_every_source_file_opens_with_its_licence() -> None:
    line = re.compile(r"\A(#!.*\n)?(#|//) SPDX-License-Identifier: Apache-2\.0\n")
    sources = [(path, text) for path, text in texts() if path.suffix in SOURCES and path.name not in GENERATED]
    assert len(sources) > 50
    assert [str(path) for path, text in sources if not line.match(text)] == []


def test_nothing_names_a_machine_a_registry_or_unfinished_work() -> None:
    machine = re.compile(r"(?<![\w.…}])/(work|farm|root)/")
    index = re.compile(r"^--(extra-)?index-url|\"resolved\": \"http", re.MULTILINE)
    unfinished = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError|# type: ignore(?!\[)|# noqa(?!:)")
    here = Path(__file__).resolve()
    for path, text in texts():
        if path.resolve() == here:
            continue
        for rule in (machine, index, *([unfinished] if path.suffix == ".py" and path.name not in GENERATED else [])):
            assert not rule.search(text), f"{path}: {rule.search(text)}"


def test_no_account_but_the_documentations() -> None:
    known = {"111122223333", "444455556666", "123456789012"}  # AWS's documentation uses these
    for path, text in texts():
        if path.suffix in {".py", ".toml", ".md"}:
            for number in re.findall(r"(?:arn:aws[^\s\"']*:|_ACCOUNT=)(\d{12})\b", text):
                assert number in known, f"{path}: {number}"


def test_the_constructs_folder_is_no_package() -> None:
    assert not (ROOT / "constructs" / "__init__.py").exists(), "it would hide PyPI's constructs: docs/decisions/0002"
    code = "import stacks.application, sys; print([m for m in sys.modules if m.startswith('constructs.edge')])"
    paths = [ROOT, ROOT / "constructs", ROOT / "component_src" / "common"]
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.strip() == "[]", "imported under two names: docs/decisions/0002"


def test_every_requirement_is_pinned_with_hashes() -> None:
    locks = [path for path in tracked() if path.name.startswith("requirements") and path.suffix == ".txt"]
    assert len(locks) >= 6
    for path in locks:
        requirements = re.findall(r"^[A-Za-z0-9][^\n]*(?:\n    [^\n]*)*", path.read_text(), re.MULTILINE)
        assert requirements, path
        for requirement in requirements:
            assert re.match(r"\S+==\S+", requirement), f"{path}: {requirement}"
            assert "--hash=sha256:" in requirement, f"{path}: {requirement}"


def test_the_readme_names_real_files_and_targets() -> None:
    readme = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make ([a-z-]+)", readme, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_readme_shows_what_make_help_prints() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607 -- make of the machine
    assert shown.rstrip() in (ROOT / "README.md").read_text()

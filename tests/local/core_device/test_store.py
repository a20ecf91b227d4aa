# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import io
import stat
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from edge_recipe import Artifact
from local.core_device.store import ArtifactError, PackageStore

if TYPE_CHECKING:
    from pathlib import Path


def artifact(content: bytes, **changes: Any) -> Artifact:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return Artifact(**({"uri": "s3://bucket/a/content.zip", "unarchive": "ZIP", "digest": digest} | changes))


def fetch(store: PackageStore, item: Artifact, content: bytes) -> list[str]:
    asked = []

    def download(uri: str, target: BinaryIO) -> None:
        asked.append(uri)
        target.write(content)

    store.fetch("app", "1.0.0", [item], download)
    return asked


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_a_zip_is_unpacked_beside_the_artifact_with_the_recipe_s_permissions(tmp_path: Path, make_archive: Any) -> None:
    store = PackageStore(tmp_path)
    content = make_archive({"a.txt": b"1", "folder/b.sh": b"2", "empty/": b""})
    fetch(store, artifact(content, read="ALL", execute="ALL"), content)
    target = tmp_path / "artifacts-unarchived" / "app" / "1.0.0" / "content"
    assert files(target) == ["a.txt", "folder/b.sh"]
    assert (target / "empty").is_dir()
    assert stat.S_IMODE((target / "folder" / "b.sh").stat().st_mode) == 0o755
    assert (tmp_path / "artifacts" / "app" / "1.0.0" / "content.zip").read_bytes() == content
    assert not list(tmp_path.rglob(".*"))


def test_what_is_there_already_is_not_downloaded_again(tmp_path: Path, make_archive: Any) -> None:
    store = PackageStore(tmp_path)
    content = make_archive({"a": b"1"})
    assert fetch(store, artifact(content), content) == ["s3://bucket/a/content.zip"]
    assert fetch(store, artifact(content), content) == []
    (store.artifacts("app", "1.0.0") / "content.zip").write_bytes(b"damaged")
    assert fetch(store, artifact(content), content) == ["s3://bucket/a/content.zip"]


def test_an_artifact_that_is_no_archive_stays_as_it_is(tmp_path: Path) -> None:
    store = PackageStore(tmp_path)
    item = artifact(b"text", uri="s3://bucket/a/model.tar.gz", unarchive="NONE")
    fetch(store, item, b"text")
    path = store.artifacts("app", "1.0.0") / "model.tar.gz"
    assert path.read_bytes() == b"text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not (tmp_path / "artifacts-unarchived").exists()


def test_other_bytes_than_the_recipe_s_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"app 1\.0\.0: s3://bucket/a/content\.zip has SHA-256 .* new version"):
        fetch(PackageStore(tmp_path), artifact(b"good"), b"evil")
    assert files(tmp_path) == []


def test_a_recipe_without_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no digest"):
        fetch(PackageStore(tmp_path), artifact(b"", digest=None), b"")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil"])
def test_a_file_outside_of_the_folder_is_refused(tmp_path: Path, make_archive: Any, name: str) -> None:
    content = make_archive({"good": b"1", name: b"2"})
    with pytest.raises(ArtifactError, match="outside of its folder"):
        fetch(PackageStore(tmp_path / "packages"), artifact(content), content)
    assert files(tmp_path) == ["packages/artifacts/app/1.0.0/content.zip"]


def test_a_link_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(ArtifactError, match="the link 'link'"):
        fetch(PackageStore(tmp_path), artifact(buffer.getvalue()), buffer.getvalue())


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no ZIP archive"):
        fetch(PackageStore(tmp_path), artifact(b"x" * 100), b"x" * 100)


def test_only_what_is_used_is_kept(tmp_path: Path, make_archive: Any) -> None:
    store = PackageStore(tmp_path)
    content = make_archive({"a": b"1"})

    def download(_: str, target: BinaryIO) -> None:
        target.write(content)

    for version in ("1.0.0", "2.0.0"):
        store.fetch("app", version, [artifact(content)], download)
        store.save_recipe("app", version, b"{}")
    store.keep_only({("app", "2.0.0")})
    assert files(tmp_path) == [
        "artifacts-unarchived/app/2.0.0/content/a",
        "artifacts/app/2.0.0/content.zip",
        "recipes/app-2.0.0.json",
    ]
    assert store.load_recipe("app", "2.0.0") == b"{}"
    with pytest.raises(FileNotFoundError):
        store.load_recipe("app", "1.0.0")

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import hashlib
import io
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, ResponseStreamingError

from edge_constructs import packaging_job_handler as handler
from edge_constructs import s3_objects, source_reader
from edge_constructs.handler_kernel import ResourceError
from edge_package import MANIFEST_NAME, Signature, make_manifest, read_package

FILES = {"model.onnx": b"weights", "labels.txt": b"0\n1\n"}
DIGEST = make_manifest(model_name="digits", model_version="1.0", files=FILES).digest
SOURCE, PACKAGE = "assets/abc.zip", "artifacts/models/digits-1.0.tar.gz"
SIGNATURE = PACKAGE + ".sig"
KEY, NEWER = (f"arn:aws:kms:us-east-1:111122223333:alias/dev-model-signing-{name}" for name in (1, 2))


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    return stream.getvalue()


def link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


def directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def zipped_link(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, content in FILES.items():
            archive.writestr(path, content)
        member = zipfile.ZipInfo(name)
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    return stream.getvalue()


def event(type_: str = "Create", **changes: Any) -> dict[str, Any]:
    properties = {
        "ServiceToken": "arn:aws:lambda:us-east-1:111122223333:function:f",
        "ServiceTimeout": "1800",
        "EdgePackagingJobName": "digits-1-0",
        "ModelName": "digits",
        "ModelVersion": "1.0",
        "ModelDigest": DIGEST,
        "Files": list(FILES),
        "ModelSource": "s3://assets/abc.zip",
        "ModelArtifact": f"s3://{PACKAGE}",
        "SigningKeys": [KEY],
    }
    request = {
        "RequestType": type_,
        "LogicalResourceId": "Job",
        "ResourceProperties": {k: v for k, v in {**properties, **changes}.items() if v is not None},
    }
    if type_ == "Create":
        return request
    return {**request, "PhysicalResourceId": "digits-1-0-abc", "OldResourceProperties": properties}


@pytest.fixture(autouse=True)
def s3(bucket: Any, kms: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    bucket.objects[SOURCE] = zipped(FILES)
    kms.add(KEY)
    job = handler.EdgePackagingJob(bucket.client, kms.client)
    monkeypatch.setattr(handler, "_handler", lambda: job)
    return bucket


def unpacked(content: bytes, target: Path) -> Any:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert tar.getnames() == [*sorted(tar.getnames()[:-1]), MANIFEST_NAME]
    target.mkdir(exist_ok=True)
    subprocess.run(["tar", "-xz", "-C", str(target)], input=content, check=True)  # noqa: S607 -- POSIX's
    return read_package(target)


def test_create_writes_a_package_that_a_device_verifies(s3: Any, kms: Any, tmp_path: Path) -> None:
    created = handler.on_event(event(), None)
    package = unpacked(s3.objects[PACKAGE], tmp_path)
    assert package.contents == FILES
    assert package.manifest.digest == DIGEST
    signature = Signature.parse(s3.objects[SIGNATURE], source="signature")
    assert signature.manifest_sha256 == DIGEST
    assert kms.keys[KEY].verify(bytes.fromhex(DIGEST), signature.value)
    assert created["PhysicalResourceId"].startswith("digits-1-0-")
    assert created["Data"] == {
        "EdgePackagingJobStatus": "COMPLETED",
        "ModelArtifact": f"s3://{PACKAGE}",
        "ModelDigest": DIGEST,
        "ModelSignature": f"s3://{SIGNATURE}",
        "PackageSha256": hashlib.sha256(s3.objects[PACKAGE]).hexdigest(),
        "SignedBy": signature.key_id,
    }


@pytest.mark.parametrize(
    ("uri", "objects"),
    [
        ("s3://assets/abc.zip", {SOURCE: zipped(FILES, zipfile.ZIP_STORED)}),
        ("s3://assets/abc.tar.gz", {"assets/abc.tar.gz": tarred(FILES)}),
        ("s3://assets/abc.tgz", {"assets/abc.tgz": tarred({f"./{name}": data for name, data in FILES.items()})}),
        ("s3://assets/m/", {"assets/m/": b"", **{f"assets/m/{name}": data for name, data in FILES.items()}}),
    ],
)
def test_every_kind_of_source_gives_the_same_bytes(uri: str, objects: dict[str, bytes], s3: Any) -> None:
    handler.on_event(event(), None)
    expected = s3.objects.pop(PACKAGE)
    s3.objects.update(objects)
    s3.page = 2  # a listing of several pages
    handler.on_event(event(ModelSource=uri), None)
    assert s3.objects[PACKAGE] == expected


def test_a_single_file_is_a_model(s3: Any, tmp_path: Path) -> None:
    s3.objects["assets/model.onnx"] = b"weights"
    handler.on_event(event(ModelSource="s3://assets/model.onnx", Files=None, ModelDigest=None), None)
    assert unpacked(s3.objects[PACKAGE], tmp_path).contents == {"model.onnx": b"weights"}


def test_a_source_of_many_parts_passes_in_parts(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_objects, "_PART", 1 << 20)
    weights = bytes(range(256)) * (5 << 12)  # 5 MiB
    s3.objects[SOURCE] = zipped({"model.onnx": weights})
    handler.on_event(event(Files=None, ModelDigest=None), None)
    assert unpacked(s3.objects[PACKAGE], tmp_path).contents == {"model.onnx": weights}
    assert s3.largest == 1 << 20
    assert s3.uploads == {}


@pytest.mark.parametrize("type_", ["Create", "Update"])
def test_the_same_request_again_writes_nothing_and_has_the_same_id(type_: str, s3: Any) -> None:
    first = handler.on_event(event(), None)
    assert handler.on_event(event(type_), None) == first
    assert s3.written == [PACKAGE, SIGNATURE]


def test_the_time_that_cloudformation_waits_is_none_of_the_jobs_properties(s3: Any) -> None:
    first = handler.on_event(event(), None)
    again = handler.on_event(event("Update", ServiceTimeout="3600", ServiceToken="arn:another"), None)
    assert again == first
    assert s3.written == [PACKAGE, SIGNATURE]


def test_other_properties_are_another_resource_and_a_rollback_finds_the_former(s3: Any) -> None:
    first = handler.on_event(event(), None)
    s3.objects["assets/new.zip"] = zipped({"model.onnx": b"better"})
    change = {
        "ModelVersion": "2.0",
        "ModelSource": "s3://assets/new.zip",
        "ModelArtifact": "s3://artifacts/models/digits-2.0.tar.gz",
        "Files": None,
        "ModelDigest": None,
    }
    second = handler.on_event(event("Update", **change), None)
    assert first["PhysicalResourceId"] != second["PhysicalResourceId"]
    before = dict(s3.objects)
    assert handler.on_event(event("Update"), None) == first
    handler.on_event({**event("Delete", **change), "PhysicalResourceId": second["PhysicalResourceId"]}, None)
    assert s3.objects == before


def test_delete_keeps_the_package_and_may_come_alone(s3: Any) -> None:
    assert handler.on_event(event("Delete"), None) == {"PhysicalResourceId": "digits-1-0-abc"}
    handler.on_event(event(), None)
    handler.on_event(event("Delete"), None)
    assert {PACKAGE, SIGNATURE} <= set(s3.objects)


def test_a_delete_after_a_failed_create_changes_nothing() -> None:
    request = event("Delete")
    del request["PhysicalResourceId"]
    assert handler.on_event(request, None) == {"PhysicalResourceId": "never-created"}


def test_a_run_that_was_interrupted_before_the_signature_is_taken_up(s3: Any) -> None:
    first = handler.on_event(event(), None)
    del s3.objects[SIGNATURE]
    again = handler.on_event(event(), None)
    assert again["PhysicalResourceId"] == first["PhysicalResourceId"]
    assert s3.written == [PACKAGE, SIGNATURE, SIGNATURE]


def test_a_run_beside_this_one_is_welcome(s3: Any) -> None:
    handler.on_event(event(), None)
    package, signature = s3.objects.pop(PACKAGE), s3.objects.pop(SIGNATURE)
    s3.before_write = lambda _name: s3.objects.update({PACKAGE: package, SIGNATURE: signature})
    assert handler.on_event(event(), None)["Data"]["ModelDigest"] == DIGEST
    assert s3.objects[SIGNATURE] == signature


@pytest.mark.parametrize(
    ("uri", "content", "expected"),
    [
        ("s3://assets/abc.zip", b"no zip at all", "cannot be packaged"),
        ("s3://assets/abc.zip", zipped({"model.onnx": b"weights"}), "labels.txt expected in it"),
        ("s3://assets/abc.zip", zipped({**FILES, "model.onnx": b"others"}), "has model digest .* synth declared"),
        ("s3://assets/abc.zip", zipped({**FILES, "../up": b"x"}), r"'\.\./up': a relative path is expected"),
        ("s3://assets/abc.zip", zipped({**FILES, ".hidden": b"x"}), r"'\.hidden': names without a leading dot"),
        ("s3://assets/abc.tar.gz", tarred({**FILES, "a/.hidden": b"x"}), "names without a leading dot are expected"),
        ("s3://assets/abc.zip", zipped({**FILES, f"{MANIFEST_NAME}.sig": b"x"}), "its signature's: rename that file"),
        ("s3://assets/abc.zip", zipped_link("evil"), "'evil': plain files are expected, this is a link"),
        ("s3://assets/abc.zip", zipped({}), "there is none"),
        ("s3://assets/abc.zip", zipped(FILES)[:-30], "cannot be packaged"),
        ("s3://assets/x.tar.gz", b"no tar at all", "cannot be packaged"),
        ("s3://assets/x.tar.gz", tarred(FILES)[:-20], "cannot be packaged"),
        ("s3://assets/x.tar.gz", tarred(FILES, link("evil")), "'evil': plain files are expected"),
        ("s3://assets/x.tar.gz", tarred({**FILES, "/abs": b"x"}), "a relative path is expected"),
        ("s3://assets/nothing/", None, "there is none"),
        ("s3://assets/nothing.zip", None, "a model source is expected, there is none"),
        ("https://assets/abc.zip", None, "an address like s3://bucket/key is expected"),
    ],
)
def test_a_bad_source_fails_with_its_reason_and_leaves_nothing(
    uri: str, content: bytes | None, expected: str, s3: Any
) -> None:
    if content is not None:
        s3.objects[uri.removeprefix("s3://")] = content
    with pytest.raises(ResourceError, match=expected):
        handler.on_event(event(ModelSource=uri), None)
    assert s3.written == []
    assert s3.uploads == {}


@pytest.mark.parametrize("name", ["abc.zip", "abc.tar.gz", "abc/"])
def test_a_source_above_greengrass_limit_is_refused(name: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_reader, "MOST_BYTES", 10)
    s3.objects["assets/abc.tar.gz"] = tarred(FILES)
    s3.objects.update({f"assets/abc/{path}": data for path, data in FILES.items()})
    with pytest.raises(ResourceError, match=r"at most 10 bytes .* got 1\d bytes in \d files"):
        handler.on_event(event(ModelSource=f"s3://assets/{name}"), None)
    assert s3.written == []


@pytest.mark.parametrize("name", ["abc.zip", "abc.tar.gz", "abc/"])
def test_a_source_of_too_many_files_is_refused(name: str, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_reader, "_MOST_FILES", 1)
    s3.objects["assets/abc.tar.gz"] = tarred(FILES)
    s3.objects.update({f"assets/abc/{path}": data for path, data in FILES.items()})
    with pytest.raises(ResourceError, match=r"in 1 files are expected .* bytes in 2 files"):
        handler.on_event(event(ModelSource=f"s3://assets/{name}"), None)
    assert s3.written == []


def test_the_folders_of_a_tar_count_as_its_files_do(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [directory(f"folder-{number}") for number in range(3)]
    s3.objects["assets/abc.tar.gz"] = tarred(FILES, *folders)
    monkeypatch.setattr(source_reader, "_MOST_FILES", len(FILES) + 2)
    with pytest.raises(ResourceError, match=r"a tar's folders count\), got \d+ bytes in 5 files"):
        handler.on_event(event(ModelSource="s3://assets/abc.tar.gz"), None)
    monkeypatch.setattr(source_reader, "_MOST_FILES", len(FILES) + 3)
    handler.on_event(event(ModelSource="s3://assets/abc.tar.gz"), None)
    assert s3.written == [PACKAGE, SIGNATURE]


def test_the_folders_of_a_tar_take_time_too() -> None:
    def clock() -> Iterator[None]:
        yield
        raise ResourceError("late")

    ticks = clock()
    deadline = SimpleNamespace(check=lambda _: next(ticks))
    content = tarred({}, *(directory(f"folder-{number}") for number in range(3)))
    with pytest.raises(ResourceError, match="late"):
        source_reader._tar(io.BytesIO(content), "s3://assets/abc.tar.gz", Path(), cast("Any", deadline))


def test_the_members_of_a_tar_are_not_kept(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    original = tarfile.TarFile.next

    def count(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        kept.append(len(archive.members))  # type: ignore[attr-defined] # undocumented, as in the code
        return original(archive)

    monkeypatch.setattr(tarfile.TarFile, "next", count)
    s3.objects["assets/abc.tar.gz"] = tarred(FILES, *(directory(f"folder-{number}") for number in range(30)))
    handler.on_event(event(ModelSource="s3://assets/abc.tar.gz"), None)
    assert len(kept) > 30
    assert max(kept) <= 1


def test_each_name_of_an_archive_is_checked_once(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    monkeypatch.setattr(source_reader, "check_path", names.append)
    s3.objects["assets/abc.tar.gz"] = tarred(FILES)
    handler.on_event(event(ModelSource="s3://assets/abc.tar.gz"), None)
    assert sorted(names) == sorted(FILES)


def test_a_source_that_changes_while_it_is_read_is_noticed(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_reader, "_BUFFER", 16)

    def change(request: Any) -> Any:
        s3.objects[SOURCE] += b"x"
        return request

    original = s3._head
    monkeypatch.setattr(s3, "_head", lambda asked: (original(asked), change(asked))[0])
    job = handler.EdgePackagingJob(s3.client, s3.client)
    monkeypatch.setattr(handler, "_handler", lambda: job)
    with pytest.raises(ResourceError, match="changed while it was read"):
        handler.on_event(event(), None)


class Breaking(io.BytesIO):
    """An answer that breaks off after `most` bytes, as botocore tells it."""

    def __init__(self, content: bytes, *, most: int = 200) -> None:
        super().__init__(content)
        self.most = most

    def read(self, size: int | None = -1, /) -> bytes:
        left = self.most - self.tell()
        if left <= 0:
            raise ResponseStreamingError(error="connection reset")
        return super().read(left if size is None or size < 0 else min(size, left))


def test_an_answer_that_breaks_off_is_taken_up_where_it_broke(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    handler.on_event(event(), None)
    expected = dict(s3.objects)
    length = max(map(len, expected.values()))
    s3.body = lambda content: Breaking(content, most=length // 3)
    handler.on_event(event(), None)  # reads the package through
    del s3.objects[PACKAGE]
    monkeypatch.setattr(source_reader, "_BUFFER", 64)
    handler.on_event(event(), None)  # and its source
    assert s3.objects == expected


def test_an_answer_that_always_breaks_off_fails_as_it_broke(s3: Any) -> None:
    s3.body = lambda content: Breaking(content, most=0)
    with pytest.raises(ResponseStreamingError, match="connection reset"):
        handler.on_event(event(), None)
    assert s3.written == []


def test_another_object_is_not_the_rest_of_one_that_broke_off(s3: Any) -> None:
    handler.on_event(event(), None)

    def replace(content: bytes) -> Breaking:
        s3.objects[PACKAGE] = b"another" * 1000
        return Breaking(content, most=100)

    s3.body = replace
    with pytest.raises(ResourceError, match="changed while it was read"):
        handler.on_event(event(), None)


def test_an_upload_that_cannot_be_dropped_does_not_hide_why(
    s3: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any, service_error: Any
) -> None:
    monkeypatch.setattr(s3_objects, "_PART", 1 << 10)
    s3.objects[SOURCE] = zipped({"model.onnx": bytes(5000)})

    def refuse(_asked: Any) -> Any:
        raise service_error("AccessDenied", 403)

    monkeypatch.setattr(s3, "_abort", refuse)
    job = handler.EdgePackagingJob(s3.client, s3.client)
    monkeypatch.setattr(handler, "_handler", lambda: job)
    with pytest.raises(ResourceError, match=r"has model digest .* synth declared"):
        handler.on_event(event(Files=None), None)
    assert "upload-0 of s3://artifacts/models/digits-1.0.tar.gz stays" in caplog.text


@pytest.mark.parametrize("damage", ["nonsense", "flipped", "model", "version"])
def test_another_package_under_the_key_is_never_overwritten(damage: str, s3: Any) -> None:
    handler.on_event(event(), None)
    content = s3.objects[PACKAGE]
    at = content.index(b"weights")
    flipped = content[:at] + b"W" + content[at + 1 :]
    s3.objects[PACKAGE] = {"nonsense": b"another", "flipped": flipped}.get(damage, content)
    other = {"model": {"ModelName": "letters"}, "version": {"ModelVersion": "2.0"}}.get(damage, {})
    kept = s3.objects[PACKAGE]
    with pytest.raises(ResourceError, match="never overwritten"):
        handler.on_event(event(**other), None)
    assert s3.objects[PACKAGE] == kept


def test_a_package_of_other_content_under_the_key_is_refused_and_not_signed(s3: Any, kms: Any) -> None:
    s3.objects[SOURCE] = zipped({**FILES, "model.onnx": b"others"})
    handler.on_event(event(ModelDigest=None), None)
    del s3.objects[SIGNATURE]
    kept, signed = s3.objects[PACKAGE], list(kms.signed)
    s3.objects[SOURCE] = zipped(FILES)
    with pytest.raises(ResourceError, match=r"has model digest .* synth declared"):
        handler.on_event(event(), None)
    assert s3.objects[PACKAGE] == kept
    assert SIGNATURE not in s3.objects
    assert kms.signed == signed


def test_a_newer_key_signs_anew_and_takes_what_the_former_signed(s3: Any, kms: Any) -> None:
    handler.on_event(event(), None)
    kept = s3.objects[SIGNATURE]
    kms.add(NEWER)
    handler.on_event(event("Update", SigningKeys=[NEWER, KEY]), None)
    assert s3.objects[SIGNATURE] == kept
    handler.on_event(event("Update", SigningKeys=[NEWER, KEY], ModelArtifact="s3://artifacts/other.tar.gz"), None)
    assert kms.signed == [KEY, NEWER]


@pytest.mark.parametrize("state", ["DisabledException", "KMSInvalidStateException"])
def test_a_key_that_cannot_be_used_does_not_hide_that_another_signed(state: str, s3: Any, kms: Any) -> None:
    handler.on_event(event(), None)
    kept = s3.objects[SIGNATURE]
    kms.add(NEWER)
    kms.unusable = {NEWER: state}
    handler.on_event(event("Update", SigningKeys=[NEWER, KEY]), None)
    assert s3.objects[SIGNATURE] == kept
    kms.unusable = {KEY: state}
    with pytest.raises(ResourceError, match=rf"signing-1: {state} the key's state\. Enable that key"):
        handler.on_event(event("Update", SigningKeys=[NEWER, KEY]), None)


def test_a_key_that_still_is_needed_cannot_be_left_out(kms: Any) -> None:
    handler.on_event(event(), None)
    kms.add(NEWER)
    with pytest.raises(ResourceError, match=r"signing-2 is expected, .* Keep that key .* or give the model a new"):
        handler.on_event(event("Update", SigningKeys=[NEWER]), None)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"nonsense", "signatures are never overwritten"),
        ({"manifest_sha256": "0" * 64}, "signatures are never overwritten"),
        ({"value": bytes(3)}, "devices would refuse the package"),
    ],
)
def test_a_wrong_signature_under_the_key_is_found(document: Any, expected: str, s3: Any) -> None:
    handler.on_event(event(), None)
    if isinstance(document, dict):
        present = Signature.parse(s3.objects[SIGNATURE], source="signature")
        document = dataclasses.replace(present, **document).document()
    s3.objects[SIGNATURE] = document
    with pytest.raises(ResourceError, match=expected):
        handler.on_event(event(), None)
    assert s3.objects[SIGNATURE] == document


def test_a_service_that_cannot_verify_now_does_not_make_a_signature_wrong(
    kms: Any, monkeypatch: pytest.MonkeyPatch, service_error: Any
) -> None:
    handler.on_event(event(), None)

    def fail(_asked: Any) -> Any:
        raise service_error("KMSInternalException", 500)

    monkeypatch.setattr(kms, "_key", fail)
    with pytest.raises(ClientError, match="KMSInternalException"):
        handler.on_event(event(), None)


def test_a_key_that_is_not_there_fails_and_the_package_stays_for_the_next_run(s3: Any) -> None:
    with pytest.raises(ClientError, match="NotFoundException"):
        handler.on_event(event(SigningKeys=["alias/none"]), None)
    assert s3.written == [PACKAGE]
    handler.on_event(event(), None)
    assert s3.written == [PACKAGE, SIGNATURE]


@pytest.mark.parametrize("uri", ["s3://assets/abc.zip", "s3://assets/abc.tar.gz"])
def test_work_that_does_not_fit_into_lambdas_time_ends_with_a_reason(uri: str, s3: Any) -> None:
    s3.objects["assets/abc.tar.gz"] = tarred(FILES)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 0)
    with pytest.raises(ResourceError, match="not done within the handler's time"):
        handler.on_event(event(ModelSource=uri), context)
    assert s3.written == []


@pytest.mark.parametrize("name", ["EdgePackagingJobName", "ModelSource", "ModelArtifact", "SigningKeys"])
def test_a_missing_property_is_named(name: str) -> None:
    changes: dict[str, Any] = {name: None}
    with pytest.raises(ResourceError, match=name):
        handler.on_event(event(**changes), None)


def test_a_bad_model_version_fails_with_the_rule(s3: Any) -> None:
    with pytest.raises(ResourceError, match="model version must be"):
        handler.on_event(event(ModelVersion="1-0"), None)
    assert s3.written == []


def test_a_reason_fits_into_what_cloudformation_takes() -> None:
    with pytest.raises(ResourceError) as refused:
        handler.on_event(event(Files=[f"file-{n}" for n in range(5000)]), None)
    assert len(str(refused.value)) < 2000

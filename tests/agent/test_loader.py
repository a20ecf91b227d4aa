# SPDX-License-Identifier: Apache-2.0
"""What may be loaded: package files, and packages with and without a signature of a trusted key."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import os
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from awscrt.crypto import EC, ECExportFormat, ECType

from edge_agent.errors import FailedPreconditionError, RefusedError, ResourceExhaustedError
from edge_agent.loader import Loader
from edge_agent.models import ModelRegistry
from edge_package import SIGNATURE_NAME, PackageError, Signature, read_package
from edge_package.package_stream import build_package

if TYPE_CHECKING:
    from collections.abc import Callable


def make_key(kind: ECType = ECType.P_256) -> EC:
    return EC.new_generate(kind)


def trust(directory: Path, name: str, key: EC) -> Path:
    """Install a public key as the device's owner does."""
    directory.mkdir(exist_ok=True)
    body = "\n".join(textwrap.wrap(base64.b64encode(key.export_key(ECExportFormat.SPKI)).decode(), 64))
    path = directory / name
    path.write_text(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    path.chmod(0o444)
    return path


def sign(directory: Path, key: EC) -> bytes:
    """The signature document of an unpacked package."""
    digest = read_package(directory).manifest.digest
    return Signature(key_id="a key", manifest_sha256=digest, value=key.sign(bytes.fromhex(digest))).document()


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    return tmp_path / "roots"


@pytest.fixture
def key(roots: Path) -> EC:
    """A key that the device trusts."""
    key = make_key()
    trust(roots, "2026.pem", key)
    return key


@pytest.fixture
def strict(loader: Loader, roots: Path) -> Loader:
    """Opens signed packages only."""
    return Loader(dataclasses.replace(loader.options, root_certs=roots, require_signature=True))


@pytest.fixture
def trusting(loader: Loader, roots: Path) -> Loader:
    """Checks the signatures that there are."""
    return Loader(dataclasses.replace(loader.options, root_certs=roots))


class TestSignature:
    def test_a_trusted_signature_loads_and_names_its_key(self, strict: Loader, package: Path, key: EC) -> None:
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        opened = strict.open(package)
        assert opened.signed_by == "2026.pem"
        assert opened.manifest == read_package(package).manifest

    def test_two_keys_are_valid_while_one_takes_over(self, strict: Loader, package: Path, key: EC, roots: Path) -> None:
        newer = make_key()
        trust(roots, "2027.pem", newer)
        for one, name in ((key, "2026.pem"), (newer, "2027.pem")):
            (package / SIGNATURE_NAME).write_bytes(sign(package, one))
            assert strict.open(package).signed_by == name
        (roots / "2026.pem").unlink()
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        with pytest.raises(FailedPreconditionError, match=r"expected one by a key of .* \(2027.pem\)"):
            strict.open(package)

    @pytest.mark.parametrize("which", ["strict", "trusting"])
    def test_a_wrong_signature_refuses_whether_required_or_not(
        self, request: pytest.FixtureRequest, package: Path, key: EC, make_package: Callable[..., Path], which: str
    ) -> None:
        loader: Loader = request.getfixturevalue(which)
        other = make_package({"model.onnx": b"another"}, name="other")
        flipped = bytearray(Signature.parse(sign(package, key), source="").value)
        flipped[-1] ^= 1
        digest = read_package(package).manifest.digest
        cases = {
            sign(package, make_key()): "expected one by a key of",
            sign(other, key): "it belongs to another package",
            Signature(key_id="k", manifest_sha256=digest, value=bytes(flipped)).document(): "expected one by a key of",
            Signature(key_id="k", manifest_sha256=digest, value=b"").document(): "expected one by a key of",
            b"garbage": SIGNATURE_NAME,
        }
        for document, message in cases.items():
            (package / SIGNATURE_NAME).write_bytes(document)
            with pytest.raises(FailedPreconditionError, match=message):
                loader.open(package)

    def test_an_absent_signature_refuses_only_where_one_is_required(
        self, strict: Loader, trusting: Loader, package: Path, key: EC
    ) -> None:
        assert key
        assert not trusting.open(package).signed_by
        with pytest.raises(FailedPreconditionError, match=r"RequireSignature is true.*there is no"):
            strict.open(package)

    def test_without_keys_a_signature_is_pointed_out_and_not_relied_on(
        self, loader: Loader, package: Path, key: EC, caplog: pytest.LogCaptureFixture
    ) -> None:
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        assert not loader.open(package).signed_by
        assert "signature_not_checked" in caplog.messages

    def test_a_signature_does_not_heal_a_changed_file(self, strict: Loader, package: Path, key: EC) -> None:
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        (package / "labels.txt").write_bytes(b"a\nb\nX\n")
        with pytest.raises(Exception, match=r"labels\.txt"):
            strict.open(package)


class TestRootOfTrust:
    @pytest.mark.parametrize("mode", [0o644, 0o464, 0o446, 0o544, 0o777])
    def test_a_key_that_could_be_changed_is_not_trusted(
        self, strict: Loader, package: Path, key: EC, roots: Path, mode: int
    ) -> None:
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        (roots / "2026.pem").chmod(mode)
        with pytest.raises(FailedPreconditionError, match=f"2026.pem: expected a plain file .* got {mode:04o}"):
            strict.open(package)

    def test_a_directory_that_others_may_write_to_is_not_trusted(
        self, strict: Loader, package: Path, key: EC, roots: Path
    ) -> None:
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        roots.chmod(0o777)
        with pytest.raises(FailedPreconditionError, match="only its owner may write to it, got 0777"):
            strict.open(package)

    def test_a_key_behind_a_link_is_not_trusted(
        self, strict: Loader, package: Path, key: EC, roots: Path, tmp_path: Path
    ) -> None:
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        (roots / "2026.pem").rename(tmp_path / "elsewhere.pem")
        (roots / "2026.pem").symlink_to(tmp_path / "elsewhere.pem")
        with pytest.raises(FailedPreconditionError, match="RootCertsPath"):
            strict.open(package)

    def test_a_pipe_is_no_key_and_nobody_waits_for_it(
        self, strict: Loader, package: Path, key: EC, roots: Path
    ) -> None:
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        os.mkfifo(roots / "2025.pem", 0o444)
        with pytest.raises(FailedPreconditionError, match=r"2025\.pem: expected a plain file"):
            strict.open(package)

    def test_a_key_whose_coordinate_begins_with_zeros_is_one_like_any_other(
        self, strict: Loader, package: Path, roots: Path
    ) -> None:
        keys = (make_key() for _ in range(20_000))  # one in 256 has such a coordinate
        key = next(key for key in keys if len(key.get_public_coords().x) < 32)
        trust(roots, "2026.pem", key)
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        assert strict.open(package).signed_by

    @pytest.mark.parametrize("damage", ["", "text", "private", "P-384", "cut"])
    def test_what_is_no_public_key_is_refused_by_name(
        self, strict: Loader, package: Path, key: EC, roots: Path, damage: str
    ) -> None:
        (package / SIGNATURE_NAME).write_bytes(sign(package, key))
        path = roots / "2026.pem"
        whole = path.read_text()
        path.unlink()
        if damage == "P-384":
            trust(roots, path.name, make_key(ECType.P_384))
        elif damage:
            contents = {
                "text": "hello",
                "private": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "cut": whole.replace("\n", "", 1)[:60] + "-----END PUBLIC KEY-----",
            }
            path.write_text(contents[damage])
            path.chmod(0o444)
        with pytest.raises(FailedPreconditionError, match=r"RootCertsPath: .*expected"):
            strict.open(package)

    def test_openssl_agrees_on_the_format(self, package: Path, key: EC, roots: Path, tmp_path: Path) -> None:
        if (openssl := shutil.which("openssl")) is None:
            pytest.skip("NOT TESTED: agreement with openssl, which is not installed")
        (tmp_path / "der").write_bytes(Signature.parse(sign(package, key), source="").value)
        paths = [str(path) for path in (roots / "2026.pem", tmp_path / "der", package / "sagemaker_edge_manifest")]
        command = [openssl, "dgst", "-sha256", "-verify", paths[0], "-signature", *paths[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout.strip() == "Verified OK", done.stderr


class TestPackageFile:
    @pytest.fixture
    def package_of_archive(self, model_bytes: dict[str, bytes], make_package: Callable[..., Path]) -> Path:
        return make_package({"model.onnx": model_bytes["matmul"], "labels.txt": b"a\n"})

    @pytest.fixture
    def archive(self, tmp_path: Path, package_of_archive: Path) -> Path:
        target = tmp_path / "digits-1.0.tar.gz"
        files = {name: package_of_archive / name for name in ("model.onnx", "labels.txt")}
        build_package(model_name="digits", model_version="1.0", files=files, target=target)
        return target

    def test_a_package_file_loads_like_its_directory(self, tmp_path: Path, loader: Loader, archive: Path) -> None:
        registry = ModelRegistry(work=tmp_path, max_models=2, max_bytes=1 << 20, loader=loader)
        before = sorted(tmp_path.rglob("*"))
        for handle, url in (("a", archive.name), ("b", f"file://{archive}")):
            model = registry.load(handle=handle, url=url)
            assert (model.name, model.version) == ("digits", "1.0")
        assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked anywhere

    @pytest.fixture
    def signature(self, package_of_archive: Path, key: EC) -> bytes:
        """Of the archive."""
        return sign(package_of_archive, key)

    def test_its_signature_lies_beside_it(self, strict: Loader, archive: Path, signature: bytes) -> None:
        with pytest.raises(FailedPreconditionError, match=rf"there is no {archive}\.sig"):
            strict.open(archive)
        archive.with_name(archive.name + ".sig").write_bytes(signature)
        assert strict.open(archive).signed_by == "2026.pem"

    def test_its_signature_behind_a_link_is_not_followed(
        self, strict: Loader, tmp_path: Path, archive: Path, signature: bytes
    ) -> None:
        (tmp_path / "elsewhere.sig").write_bytes(signature)
        archive.with_name(archive.name + ".sig").symlink_to(tmp_path / "elsewhere.sig")
        registry = ModelRegistry(work=tmp_path, max_models=1, max_bytes=1 << 20, loader=strict)
        with pytest.raises(RefusedError, match=rf"{archive.name}\.sig"):
            registry.load(handle="a", url=archive.name)

    def test_a_package_file_that_unpacks_to_too_much_is_refused(self, loader: Loader, archive: Path) -> None:
        loader.options = dataclasses.replace(loader.options, package_max_bytes=128)
        with pytest.raises(PackageError, match="at most 128 bytes when unpacked"):
            loader.open(archive)

    def test_what_a_package_file_unpacks_to_is_reserved_before_any_of_it_is_held(
        self, tmp_path: Path, loader: Loader, make_package: Callable[..., Path], model_bytes: dict[str, bytes]
    ) -> None:
        archive = tmp_path / "shrunk.tar.gz"
        source = make_package({"model.onnx": model_bytes["matmul"], "zeros.bin": bytes(600_000)})
        files = {name: source / name for name in ("model.onnx", "zeros.bin")}
        build_package(model_name="digits", model_version="1.0", files=files, target=tmp_path / "stored.tar.gz")
        archive.write_bytes(gzip.compress(gzip.decompress((tmp_path / "stored.tar.gz").read_bytes()), 9))
        assert archive.stat().st_size < 10_000
        registry = ModelRegistry(work=tmp_path, max_models=3, max_bytes=1 << 20, loader=loader)
        assert registry.load(handle="first", url=archive.name).size > 600_000
        with pytest.raises(ResourceExhaustedError, match=r"it needs 60\d{4} bytes, .* of 1048576 \(ModelMemoryMax"):
            registry.load(handle="second", url=archive.name)
        registry.unload("first")
        assert registry.load(handle="second", url=archive.name).size > 600_000  # nothing stays reserved

    def test_a_package_that_grows_while_it_is_loaded_is_refused(
        self, loader: Loader, package: Path, make_package: Callable[..., Path], model_bytes: dict[str, bytes]
    ) -> None:
        larger = make_package({"model.onnx": model_bytes["matmul"], "more": bytes(4096)})

        def swap(_size: int) -> None:
            shutil.rmtree(package)
            larger.rename(package)

        with pytest.raises(PackageError, match="it grew; load it again"):
            loader.open(package, reserve=swap)

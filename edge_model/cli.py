# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_constructs.component_source import package_file
from edge_constructs.framework_layout import foreign_framework
from edge_constructs.model_folder import ModelFolder, ModelFolderError, load_model_folder
from edge_inference.errors import ImageError, ResultError
from edge_model import new_folder, packages, signing
from edge_model.errors import ModelCommandError
from edge_model.locations import fetched, is_s3, signature_location, stored
from edge_model.model_toml import earlier_precision, with_outcome
from edge_model.optimization import Outcome, checked, measure, model_file, optimize
from edge_package import Package, PackageError
from edge_package.atomic import written_whole

_DESCRIPTION = "Models at authoring time: checked, packaged, signed and made smaller before a fleet sees them."
_EPILOG = """\
A location is a path or s3://bucket/key; a folder in S3 ends with a slash.
exit status: 0 done; 1 refused, the reason is on standard error; 2 wrong usage
"""
_REFUSED = (ModelCommandError, ModelFolderError, PackageError, ImageError, ResultError)
_CLOSE = 0.005  # as far as a share written with three digits can be off


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see its ``--help``."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace, Path], Iterator[str]] = options.run
    try:
        with tempfile.TemporaryDirectory(prefix="edge-model-") as work:
            for line in command(options, Path(work)):
                sys.stdout.write(f"{line}\n")
    except _REFUSED as error:
        return _refuse(str(error))
    except OSError as error:
        place = "" if error.filename is None else f"{error.filename}: "
        return _refuse(f"{place}cannot be read or written: {error.strerror or error}; name another place, or free it")
    return 0


def _refuse(reason: str) -> int:
    sys.stderr.write("".join(f"edge-model: {line}\n" for line in reason.splitlines()))
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-model",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., Iterator[str]], text: str, location: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.add_argument("location", metavar=location, help="a path or s3://bucket/key")
        added.set_defaults(run=run)
        return added

    command(
        "validate",
        _validate,
        "hold a model folder against model.toml, ONNX, a device's runtime and its own data",
        "FOLDER",
    )
    package = command("package", _package, "make the package of a model folder, as the packaging job does", "FOLDER")
    package.add_argument(
        "--output", default=".", metavar="WHERE", help="a folder, or s3://bucket/prefix/ (%(default)s)"
    )
    inspect = command("inspect", _inspect, "show what a package or model folder is", "PACKAGE")
    inspect.add_argument("--format", choices=("text", "json"), default="text", help="how to report (%(default)s)")
    verify = command("verify", _verify, "hold a package against its manifest and its signature", "PACKAGE")
    verify.add_argument(
        "--public-key",
        action="append",
        default=[],
        type=Path,
        metavar="PEM",
        help="a signature by it is expected; repeatable",
    )
    sign = command("sign", _sign, "sign a package; the signature lies beside it", "PACKAGE")
    key = sign.add_mutually_exclusive_group(required=True)
    key.add_argument("--kms-key", metavar="ID", help="id, ARN or alias of an asymmetric KMS key (ECC_NIST_P256)")
    key.add_argument("--private-key", type=Path, metavar="PEM", help="a key in a file, for trying it out")
    better = command("optimize", _optimize, "make a model folder's ONNX model smaller and quicker, in place", "FOLDER")
    better.add_argument("--int8", action="store_true", help="weights become 8-bit integers")
    better.add_argument(
        "--max-accuracy-loss", type=float, default=0.01, metavar="SHARE", help="of the held-out images (%(default)s)"
    )
    better.add_argument("--dry-run", action="store_true", help="measure, write nothing")
    new = command("new", _new, "begin a model folder from an ONNX file", "ONNX")
    new.add_argument("folder", type=Path, metavar="FOLDER", help="the new folder; its name becomes the model's")
    return parser


def _validate(options: argparse.Namespace, work: Path) -> Iterator[str]:
    model = load_model_folder(fetched(options.location, into=work))
    yield f"{model.name} {model.version}: model.toml and the files agree; digest {model.manifest.digest}"
    framework = foreign_framework(model.files)
    if framework or any(name.endswith(".so") for name in model.files):
        made = f"to be compiled from {framework}" if framework else "compiled"
        yield f"{made} for a device: what it computes can only be checked there"
        return
    path = model_file(model)
    content = path.read_bytes()
    checked(path.name, content)
    yield f"{path.name}: keeps ONNX's rules, and runs on the oldest ONNX Runtime of a device"
    measured = measure(model, content)
    told = model.evaluation
    if measured.images != told.images or abs(measured.accuracy - told.accuracy) > _CLOSE:
        raise ModelCommandError(
            f"{model.folder / 'model.toml'}: evaluation: expected what {told.data} gives, images = {measured.images} "
            f"and accuracy = {measured.accuracy:.4f}, got images = {told.images} and accuracy = {told.accuracy:g}; "
            "write what it gives"
        )
    yield f"{told.data}: {measured.images} images, accuracy {measured.accuracy:.4f}, as model.toml says"


def _package(options: argparse.Namespace, work: Path) -> Iterator[str]:
    model = load_model_folder(fetched(options.location, into=work))
    path, manifest = packages.write(model, work)
    where = f"{options.output.rstrip('/')}/{package_file(model.name, model.version)}"
    new = stored(path, where)
    yield f"{where}: {'written' if new else 'there already, the same bytes'}"
    yield f"{path.stat().st_size} bytes, model digest {manifest.digest}"


def _inspect(options: argparse.Namespace, work: Path) -> Iterator[str]:
    path = fetched(options.location, into=work)
    if (path / "model.toml").is_file():
        described = _described_folder(load_model_folder(path))
    else:
        described = packages.read(path).described()
    if options.format == "json":
        yield json.dumps(described, indent=2)
        return
    yield f"{described['model_name']} {described['model_version']}"
    yield f"digest     {described['digest']}"
    signature = described["signature"]
    yield f"signature  {'none' if signature is None else 'by ' + signature['key_id'] + ', not verified'}"
    for entry in described["files"]:
        yield f"file       {entry['path']}, {entry['size']} bytes, SHA-256 {entry['sha256']}"
    for name, tensors in described["models"].items():
        for kind, found in tensors.items():
            yield from (f"{kind[:-1]:<10} {name}: {tensor}" for tensor in found)


def _described_folder(model: ModelFolder) -> dict[str, Any]:
    contents = {name: (model.folder / name).read_bytes() for name in model.files}
    package = Package(manifest=model.manifest, contents=contents)
    return packages.Read(package=package, signature=None).described()


def _verify(options: argparse.Namespace, work: Path) -> Iterator[str]:
    keys = [signing.read_public_key(path) for path in options.public_key]
    found = packages.read(fetched(options.location, into=work))
    manifest = found.package.manifest
    yield f"{manifest.model_name} {manifest.model_version}: {len(manifest.files)} file(s) as in the manifest"
    yield f"digest {manifest.digest}"
    key = packages.verify(found, keys, where=options.location)
    if key is not None:
        yield f"signature by {key}"
    else:
        state = (
            "none" if found.signature is None else "there, of this manifest; name --public-key to verify who made it"
        )
        yield f"signature: {state}"


def _sign(options: argparse.Namespace, work: Path) -> Iterator[str]:
    found = packages.read(fetched(options.location, into=work))
    manifest, where = found.package.manifest, signature_location(options.location)
    if found.signature is not None:
        raise ModelCommandError(
            f"{where}: expected no signature yet, found one by the key {found.signature.key_id!r:.200}; remove it first"
        )
    if options.kms_key is not None:
        signature = signing.sign_with_kms(manifest, options.kms_key)
    else:
        signature = signing.sign_with_file(manifest, options.private_key)
    document = work / "signature"
    document.write_bytes(signature.document())
    stored(document, where)
    yield f"{where}: {manifest.model_name} {manifest.model_version}, digest {manifest.digest}, by {signature.key_id}"


def _optimize(options: argparse.Namespace, work: Path) -> Iterator[str]:
    if is_s3(options.location):
        raise ModelCommandError(
            f"{options.location}: expected a folder of this machine, because it is changed and reviewed there, got one "
            "in S3; fetch it first"
        )
    largest = options.max_accuracy_loss
    if not 0 <= largest <= 1:  # nor is "nan", with which nothing would be a loss
        raise ModelCommandError(f"--max-accuracy-loss: expected a share from 0 to 1, got {largest:g}; write one")
    model = load_model_folder(fetched(options.location, into=work))
    toml = (model.folder / "model.toml").read_text(encoding="utf-8")
    outcome = optimize(model, int8=options.int8, largest_loss=largest, earlier=earlier_precision(toml))
    yield from _moved(outcome)
    if options.dry_run or outcome.reason_to_leave:
        yield "nothing written" + (f": {outcome.reason_to_leave}" if outcome.reason_to_leave else "")
        return
    text = with_outcome(toml, outcome)
    for path, content in ((model_file(model), outcome.content), (model.folder / "model.toml", text.encode())):
        with written_whole(path) as stream:
            stream.write(content)
    digest = load_model_folder(model.folder).manifest.digest
    yield f"written to {model.folder}: digest {digest}; raise version in model.toml if {model.version} is deployed"


def _moved(outcome: Outcome) -> Iterator[str]:
    before, after = outcome.before, outcome.after
    yield f"{'+'.join(outcome.steps):<24} {'before':>12} {'after':>12}"
    rows = [
        ("size, bytes", f"{before.size}", f"{after.size}"),
        ("latency, ms, 1 thread", f"{before.latency_ms:.3g}", f"{after.latency_ms:.3g}"),
        ("accuracy", f"{before.measured.accuracy:.4f}", f"{after.measured.accuracy:.4f}"),
    ]
    if before.measured.mean_average_precision is not None and after.measured.mean_average_precision is not None:
        was, is_now = before.measured.mean_average_precision, after.measured.mean_average_precision
        rows.append(("mean average precision", f"{was:.4f}", f"{is_now:.4f}"))
    yield from (f"{name:<24} {left:>12} {right:>12}" for name, left, right in rows)


def _new(options: argparse.Namespace, _: Path) -> Iterator[str]:
    todo = new_folder.create(Path(options.location), options.folder)
    yield f"{options.folder}: begun; to be filled in:"
    yield from (f"- {item}" for item in todo)

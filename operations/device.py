# SPDX-License-Identifier: Apache-2.0
"""What one device is given: a key, a certificate of its own, the root of trust and the nucleus's configuration."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import ssl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import botocore

from operations.certificates import delete_certificate
from operations.errors import OperationError, RefusedError, exists, tolerating
from operations.greengrass import pages
from operations.nucleus_configuration import CERTIFICATE, NUCLEI, PRIVATE_KEY, ROOT_CA, Device, config_yaml
from operations.target import Target

# Of Amazon Root CA 1, as Amazon Trust Services publishes it.
ROOT_CA_SHA256 = "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e"
CONFIGURATION = "config.yaml"


def make_device(
    target: Target, *, name: str, out: Path, kind: str | None = None, root: str | None = None, user: str | None = None
) -> None:
    """Issue a device's certificate and write the folder that goes to the device.

    The certificate becomes active when everything else is done; if anything fails, it is deleted again.

    Args:
        target: the environment, which must be deployed.
        name: of the device, as in the environment's file, or of its thing.
        out: the folder, which must not exist.
        kind: of the nucleus, `classic` or `lite`; the environment's by default.
        root: the nucleus's folder on the device; its documentation's by default.
        user: `user:group` that runs components on the device; its documentation's by default.

    Raises:
        RefusedError: nothing was made.
        OperationError: it failed on its way, and what was made is gone again.
    """
    target.check_account()
    environment = target.environment
    thing = _thing(target, name)
    if out.exists() or out.is_symlink():
        raise RefusedError(f"{out}: exists already; keys are never overwritten: choose another folder with OUT=...")
    own = next(kind for kind, nucleus in NUCLEI.items() if nucleus.component == environment.greengrass.nucleus)
    kind = kind or own
    if kind != own:
        target.say(f"warning: {environment.name} deploys {environment.greengrass.nucleus}, not the {kind} nucleus")
    iot = target.client("iot")
    if others := pages(iot, "list_thing_principals", "principals", thingName=thing):
        target.say(f"{thing} has {len(others)} certificate already; this is a further one")
    configuration = config_yaml(
        kind,
        Device(
            thing_name=thing,
            region=environment.region,
            role_alias=environment.role_alias,
            data_endpoint=_endpoint(iot, "iot:Data-ATS"),
            credentials_endpoint=_endpoint(iot, "iot:CredentialProvider"),
            nucleus_version=environment.greengrass.nucleus_version,
        ),
        root=root or NUCLEI[kind].root,
        user=user or NUCLEI[kind].user,
    )
    certificate = _issue(target, thing=thing, out=out, configuration=configuration)
    target.say(f"{thing}: certificate {certificate} is active")
    for line in _next_steps(kind, out, root or NUCLEI[kind].root, environment.greengrass.nucleus_version):
        target.say(line)


def _thing(target: Target, name: str) -> str:
    environment = target.environment
    known = dict(zip(environment.devices, environment.thing_names, strict=True))
    thing = known.get(name, name)
    if thing not in known.values():
        raise RefusedError(
            f"device {name!r}: one of {', '.join(known)} is expected; a new one is added to devices in "
            f"environments/{environment.name}.toml and deployed first (make deploy ENV={environment.name})"
        )
    iot = target.client("iot")
    wanted: Mapping[str, Callable[[], object]] = {
        f"thing {thing}": lambda: iot.describe_thing(thingName=thing),
        f"policy {environment.device_policy}": lambda: iot.get_policy(policyName=environment.device_policy),
        f"role alias {environment.role_alias}": lambda: iot.describe_role_alias(roleAlias=environment.role_alias),
    }
    for what, describe in wanted.items():
        if not exists(describe):
            raise RefusedError(
                f"{what}: does not exist in account {environment.account}, {environment.region}: deploy first "
                f"(make deploy ENV={environment.name})"
            )
    return thing


def _endpoint(iot: Any, kind: str) -> str:
    return str(iot.describe_endpoint(endpointType=kind)["endpointAddress"])


def _issue(target: Target, *, thing: str, out: Path, configuration: str) -> str:
    """Make key, certificate and folder, all or nothing; returns the certificate's id."""
    iot = target.client("iot")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))  # mode 0700
    created: Mapping[str, Any] | None = None
    try:
        created = iot.create_keys_and_certificate(setAsActive=False)
        arn = created["certificateArn"]
        _write(staging / PRIVATE_KEY, created["keyPair"]["PrivateKey"])
        _write(staging / CERTIFICATE, created["certificatePem"])
        _write(staging / ROOT_CA, amazon_root_ca())
        _write(staging / CONFIGURATION, configuration)
        iot.attach_policy(policyName=target.environment.device_policy, target=arn)
        iot.attach_thing_principal(thingName=thing, principal=arn)
        iot.update_certificate(certificateId=created["certificateId"], newStatus="ACTIVE")
        staging.rename(out)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if created is not None:
            _undo(target, thing, created)
        if isinstance(error, OSError):
            raise OperationError(f"{out}: cannot be written: {error.strerror}; the certificate is deleted") from error
        raise
    return str(created["certificateId"])


def _undo(target: Target, thing: str, created: Mapping[str, Any]) -> None:
    arn = created["certificateArn"]
    with tolerating("ResourceNotFoundException", "InvalidRequestException"):
        target.client("iot").detach_thing_principal(thingName=thing, principal=arn)
    delete_certificate(target, created["certificateId"], arn)


def _write(path: Path, text: str) -> None:
    """Write a new file that its owner alone may read, and see it on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def amazon_root_ca() -> str:
    """Amazon Root CA 1 as PEM, from the bundle that botocore carries, known by its fingerprint.

    Raises:
        OperationError: the bundle no longer has it.
    """
    bundle = Path(botocore.__file__).with_name("cacert.pem").read_text(encoding="utf-8")
    for pem in re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", bundle, re.DOTALL):
        with contextlib.suppress(ValueError):
            if hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == ROOT_CA_SHA256:
                return str(pem)
    raise OperationError(f"botocore's certificates lack Amazon Root CA 1 (SHA-256 {ROOT_CA_SHA256})")


def _next_steps(kind: str, out: Path, root: str, version: str) -> list[str]:
    names = f"{CERTIFICATE}, {PRIVATE_KEY} and {ROOT_CA}"
    start = {
        "classic": f"install nucleus {version} with --init-config {CONFIGURATION} --provision false",
        "lite": f"put {CONFIGURATION} to /etc/greengrass/ and start greengrass-lite.target",
    }[kind]
    return [
        f"written to {out} (mode 0700, files 0600)",
        f"next: move {names} to {root} on the device, readable by the nucleus's user alone; {start};",
        "then delete the folder here: the private key exists nowhere else",
    ]

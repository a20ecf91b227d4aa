# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import re
import ssl
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from operations.device import ROOT_CA_SHA256, amazon_root_ca, make_device
from operations.errors import OperationError, RefusedError
from operations.nucleus_configuration import NUCLEI, Device, config_yaml

FILES = {"AmazonRootCA1.pem", "config.yaml", "device.pem.crt", "private.pem.key"}
DEVICE = Device(
    thing_name="dev-device-1",
    region="eu-west-1",
    role_alias="SageMakerEdge-dev",
    data_endpoint="data.iot.eu-west-1.amazonaws.com",
    credentials_endpoint="credentials.iot.eu-west-1.amazonaws.com",
    nucleus_version="2.14.3",
)


def certificates(account: Any) -> list[Mapping[str, Any]]:
    """All certificates with our policy or thing, and those that nothing holds."""
    found: list[Mapping[str, Any]] = account.aws.client("iot").list_certificates(pageSize=250)["certificates"]
    return found


def of_thing(account: Any, thing: str) -> list[str]:
    return list(account.aws.client("iot").list_thing_principals(thingName=thing)["principals"])


def keys_of(document: Any, component: str, prefix: str = "") -> set[str]:
    if not isinstance(document, dict):
        return {prefix}
    return {
        found
        for key, value in document.items()
        for found in keys_of(value, component, f"{prefix}.{'*' if key == component else key}".lstrip("."))
    }


def test_a_device_gets_key_certificate_root_and_configuration(account: Any, tmp_path: Path) -> None:
    out = tmp_path / "devices" / "one"
    make_device(account.target, name="device-1", out=out)
    assert {path.name for path in out.iterdir()} == FILES
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert [path.name for path in out.parent.iterdir()] == ["one"], "nothing half-made stays"
    thing = f"{account.namespace}-device-1"
    (arn,) = of_thing(account, thing)
    iot = account.aws.client("iot")
    described = iot.describe_certificate(certificateId=arn.rpartition("/")[2])["certificateDescription"]
    assert described["status"] == "ACTIVE"
    assert described["certificatePem"] == (out / "device.pem.crt").read_text()
    assert [item["policyName"] for item in iot.list_attached_policies(target=arn)["policies"]] == [
        account.target.environment.device_policy
    ]
    ssl.create_default_context().load_cert_chain(
        out / "device.pem.crt", out / "private.pem.key"
    )  # they belong together
    configuration = yaml.safe_load((out / "config.yaml").read_text())
    assert configuration["system"]["thingName"] == thing
    nucleus = configuration["services"]["aws.greengrass.Nucleus"]["configuration"]
    assert nucleus["iotRoleAlias"] == account.target.environment.role_alias
    assert nucleus["iotDataEndpoint"] == iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    credentials = iot.describe_endpoint(endpointType="iot:CredentialProvider")["endpointAddress"]
    assert nucleus["iotCredEndpoint"] == credentials


def test_nothing_secret_is_said(account: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_device(account.target, name="device-1", out=tmp_path / "one")
    shown = "\n".join([*account.said, *capfd.readouterr()])
    key = (tmp_path / "one" / "private.pem.key").read_text()
    assert "PRIVATE KEY-" not in shown
    assert not [line for line in key.splitlines() if line in shown]


@pytest.mark.parametrize("kind", sorted(NUCLEI))
def test_only_documented_keys_are_written_and_each_names_its_source(kind: str) -> None:
    nucleus = NUCLEI[kind]
    text = config_yaml(kind, DEVICE, root="/gg", user="u:g")
    document = yaml.safe_load(text)
    assert keys_of(document, nucleus.component) == set(nucleus.sources)
    assert all("Greengrass V2 developer guide" in s or "aws-greengrass-lite" in s for s in nucleus.sources.values())
    assert document["system"]["privateKeyPath"] == "/gg/private.pem.key"
    assert document["services"][nucleus.component]["configuration"]["runWithDefault"] == {"posixUser": "u:g"}


def test_a_configuration_is_the_same_text_whatever_is_in_it() -> None:
    nasty = 'a: "b" # c\n{d}'
    document = yaml.safe_load(config_yaml("lite", replace(DEVICE, thing_name=nasty), root="/gg", user="u"))
    assert document["system"]["thingName"] == nasty
    assert document["services"]["aws.greengrass.NucleusLite"]["configuration"]["greengrassDataPlanePort"] == "8443"


def test_another_nucleus_than_the_deployments_is_written_with_a_warning(account: Any, tmp_path: Path) -> None:
    make_device(account.target, name="device-1", out=tmp_path / "lite", kind="lite")
    assert "warning: dev deploys aws.greengrass.Nucleus, not the lite nucleus" in account.said
    document = yaml.safe_load((tmp_path / "lite" / "config.yaml").read_text())
    assert document["system"]["rootPath"] == "/var/lib/greengrass"


@pytest.mark.parametrize("what", ["folder", "file", "dangling link"])
def test_nothing_is_ever_overwritten(account: Any, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    if what == "folder":
        out.mkdir()
    elif what == "file":
        out.write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    before = len(certificates(account))
    with pytest.raises(RefusedError, match=r"out: exists already; keys are never overwritten"):
        make_device(account.target, name="device-1", out=out)
    assert len(certificates(account)) == before


def test_a_device_that_the_environment_does_not_name_is_refused(account: Any, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"device 'device-9': one of device-1 is expected.*environments/dev.toml"):
        make_device(account.target, name="device-9", out=tmp_path / "out")


@pytest.mark.parametrize("missing", ["thing", "policy", "role alias"])
def test_an_environment_that_is_not_deployed_is_refused(account: Any, tmp_path: Path, missing: str) -> None:
    environment, iot = account.target.environment, account.aws.client("iot")
    if missing == "thing":
        iot.delete_thing(thingName=environment.thing_names[0])
    elif missing == "policy":
        iot.delete_policy(policyName=environment.device_policy)
    else:
        iot.delete_role_alias(roleAlias=environment.role_alias)
    with pytest.raises(RefusedError, match=rf"^{missing} .* does not exist .* deploy first \(make deploy ENV=dev\)"):
        make_device(account.target, name="device-1", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("operation", ["attach_policy", "attach_thing_principal", "update_certificate"])
def test_a_failure_on_the_way_leaves_no_certificate_and_no_file(account: Any, tmp_path: Path, operation: str) -> None:
    real = account.aws.client
    failed: list[str] = []

    def client(service: str) -> Any:
        made = real(service)
        if service != "iot":
            return made
        inner = getattr(made, operation)

        def fail(**arguments: Any) -> Any:
            if failed:  # once; what cleans up works
                return inner(**arguments)
            failed.append(operation)
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)

        setattr(made, operation, fail)
        return made

    before = len(certificates(account))
    with pytest.raises(ClientError, match="slow down"):
        make_device(replace(account.target, client=client), name="device-1", out=tmp_path / "out")
    assert failed
    assert len(certificates(account)) == before
    assert of_thing(account, f"{account.namespace}-device-1") == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_written_leaves_no_certificate(
    account: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(certificates(account))
    monkeypatch.setattr("os.fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OperationError, match=r"out: cannot be written: No space left on device"):
        make_device(account.target, name="device-1", out=tmp_path / "out")
    assert len(certificates(account)) == before
    assert list(tmp_path.iterdir()) == []


def test_a_further_certificate_is_said_to_be_one(account: Any, tmp_path: Path) -> None:
    make_device(account.target, name="device-1", out=tmp_path / "one")
    make_device(account.target, name=f"{account.namespace}-device-1", out=tmp_path / "two")
    assert f"{account.namespace}-device-1 has 1 certificate already; this is a further one" in account.said
    assert len(of_thing(account, f"{account.namespace}-device-1")) == 2


def test_the_root_is_amazons_by_its_fingerprint() -> None:
    pem = amazon_root_ca()
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == ROOT_CA_SHA256
    assert len(re.findall("BEGIN CERTIFICATE", pem)) == 1

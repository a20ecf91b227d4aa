# SPDX-License-Identifier: Apache-2.0
"""The first configuration of a nucleus, of keys alone that its own documentation names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CERTIFICATE, PRIVATE_KEY, ROOT_CA = "device.pem.crt", "private.pem.key", "AmazonRootCA1.pem"

# Where each nucleus documents a key.
_GUIDE = "Greengrass V2 developer guide, “Install AWS IoT Greengrass Core software with manual resource provisioning”"
_NUCLEUS = "Greengrass V2 developer guide, “Greengrass nucleus”, section “Configuration”"
_LITE_SETUP = "aws-greengrass-lite, docs/SETUP.md, “Configuring Greengrass”"
_LITE_SAMPLE = "aws-greengrass-lite, docs/examples/sample_nucleus_config.yaml"


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a nucleus must know to connect; endpoints are host names."""

    thing_name: str
    region: str
    role_alias: str
    data_endpoint: str
    credentials_endpoint: str
    nucleus_version: str


@dataclass(frozen=True)
class Nucleus:
    """One of the two nuclei.

    Attributes:
        component: its name in `services`.
        root: its folder on the device, unless another is chosen.
        user: runs the components, unless another is chosen; the nucleus's documentation uses this one.
        sources: dotted key to where it is documented; `*` stands for the component.
    """

    component: str
    root: str
    user: str
    sources: Mapping[str, str]


NUCLEI: Mapping[str, Nucleus] = {
    "classic": Nucleus(
        component="aws.greengrass.Nucleus",
        root="/greengrass/v2",
        user="ggc_user:ggc_group",
        sources={
            "system.certificateFilePath": _GUIDE,
            "system.privateKeyPath": _GUIDE,
            "system.rootCaPath": _GUIDE,
            "system.rootpath": _GUIDE,
            "system.thingName": _GUIDE,
            "services.*.componentType": _GUIDE,
            "services.*.version": _GUIDE,
            "services.*.configuration.awsRegion": _GUIDE,
            "services.*.configuration.iotRoleAlias": _GUIDE,
            "services.*.configuration.iotDataEndpoint": _GUIDE,
            "services.*.configuration.iotCredEndpoint": _GUIDE,
            "services.*.configuration.runWithDefault.posixUser": _NUCLEUS,
        },
    ),
    "lite": Nucleus(
        component="aws.greengrass.NucleusLite",
        root="/var/lib/greengrass",
        user="gg_component:gg_component",
        sources={
            "system.certificateFilePath": _LITE_SETUP,
            "system.privateKeyPath": _LITE_SETUP,
            "system.rootCaPath": _LITE_SETUP,
            "system.rootPath": _LITE_SETUP,
            "system.thingName": _LITE_SETUP,
            "services.*.componentType": _LITE_SAMPLE,
            "services.*.configuration.awsRegion": _LITE_SETUP,
            "services.*.configuration.iotRoleAlias": _LITE_SETUP,
            "services.*.configuration.iotDataEndpoint": _LITE_SETUP,
            "services.*.configuration.iotCredEndpoint": _LITE_SETUP,
            "services.*.configuration.runWithDefault.posixUser": _LITE_SETUP,
            "services.*.configuration.greengrassDataPlanePort": _LITE_SAMPLE,
        },
    ),
}


def config_yaml(kind: str, device: Device, *, root: str, user: str) -> str:
    """The nucleus's `config.yaml`.

    Args:
        kind: `classic` or `lite`.
        device: what it must know.
        root: its folder on the device, where keys and certificates are put too.
        user: `user:group` that runs components.
    """
    nucleus = NUCLEI[kind]
    values = {
        "certificateFilePath": f"{root}/{CERTIFICATE}",
        "privateKeyPath": f"{root}/{PRIVATE_KEY}",
        "rootCaPath": f"{root}/{ROOT_CA}",
        "rootpath": root,
        "rootPath": root,
        "thingName": device.thing_name,
        "componentType": "NUCLEUS",
        "version": device.nucleus_version,
        "awsRegion": device.region,
        "iotRoleAlias": device.role_alias,
        "iotDataEndpoint": device.data_endpoint,
        "iotCredEndpoint": device.credentials_endpoint,
        "posixUser": user,
        "greengrassDataPlanePort": "8443",
    }
    document: dict[str, Any] = {}
    for key in nucleus.sources:
        *folders, name = (nucleus.component if part == "*" else part for part in key.split("."))
        place = document
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = values[name]
    return "\n".join(["---", *_lines(document, indent=0)]) + "\n"


def _lines(document: Mapping[str, Any], *, indent: int) -> Iterator[str]:
    """YAML; a text is written as JSON writes it, which YAML reads as the same text."""
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield f"{' ' * indent}{key}:"
            yield from _lines(value, indent=indent + 2)
        else:
            yield f"{' ' * indent}{key}: {json.dumps(value)}"

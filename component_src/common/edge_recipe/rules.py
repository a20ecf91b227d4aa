# SPDX-License-Identifier: Apache-2.0
"""The rules of a recipe, one a function: what broke a real deployment on one of the two Greengrass nuclei.

Each takes a piece of the recipe as JSON and its place, and yields the problems that it finds. The form (types, unknown
keys) is :mod:`edge_recipe.parsing`'s matter.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edge_recipe.errors import Problem, Severity, describe, warning
from edge_recipe.variables import brace_problems, number_problems
from edge_recipe.versions import MAX_VERSION_LENGTH, VERSION_PATTERN, VersionRange, is_version

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

MAX_RECIPE_BYTES = 8 * 1024
MAX_SERVICE_BYTES = 16_000
MAX_NAME_LENGTH = 128
NAME_PATTERN = re.compile(r"[a-zA-Z0-9\-_.]+")
ARTIFACT_URI_PATTERN = re.compile(r"s3://[^/\s]+(?:/[^/\s]+)+")
DIGEST_PATTERN = re.compile(r"[A-Za-z0-9+/]{43}=")
OPERATION_PATTERN = re.compile(r"\*|aws\.greengrass#[A-Za-z]+")
IPC_SERVICES = ("aws.greengrass.ipc.mqttproxy", "aws.greengrass.ipc.pubsub")
CLASSIC_SERVICES = re.compile(r"aws\.greengrass\.[A-Za-z.]+")
PHASES = ("install", "run", "shutdown")
PHASE_ADVICE = {
    "startup": "use 'run': on Debian 12 nucleus lite cannot start a 'startup' step",
    "bootstrap": "use 'install': nucleus lite runs 'bootstrap' only in part",
    "recover": "remove it: nucleus lite never runs it",
}
STEP_ADVICE = {"Skipif": "let the script decide: nucleus lite ignores Skipif"}
COMPONENT_TYPE = "aws.greengrass.generic"
_CLASSIC_TYPES = ("aws.greengrass.lambda", "aws.greengrass.nucleus", "aws.greengrass.plugin")
OPERATING_SYSTEMS = ("linux", "darwin", "windows")
ARCHITECTURES = ("amd64", "aarch64", "arm", "x86", "*")
PLATFORM_KEYS = ("os", "architecture", "architecture.detail", "runtime")


def size(byte_count: int) -> Iterator[Problem]:
    """A recipe is at most 8 KiB: nucleus lite cannot open a larger one. The service takes twice that, nearly."""
    remedy = "move large defaults to the deployment's configuration, and scripts into the artifact"
    if byte_count > MAX_SERVICE_BYTES:
        yield Problem("$", f"at most {MAX_RECIPE_BYTES} bytes", f"{byte_count} bytes", remedy)
    elif byte_count > MAX_RECIPE_BYTES:
        yield warning("$", expected=f"at most {MAX_RECIPE_BYTES} bytes", found=f"{byte_count} bytes", remedy=remedy)


def component_name(name: str, place: str) -> Iterator[Problem]:
    """A name is 1 to 128 of letters, digits, '-', '_' and '.', outside AWS's own prefix."""
    if len(name) > MAX_NAME_LENGTH or not NAME_PATTERN.fullmatch(name):
        yield Problem(
            place, f"at most {MAX_NAME_LENGTH} of a-z A-Z 0-9 - _ .", describe(name), "choose a name of these"
        )
    elif name.startswith("aws."):
        remedy = "leave the prefix 'aws.' to AWS's components: one of theirs may come to have this name"
        yield warning(place, expected="a name of our own", found=describe(name), remedy=remedy)


def component_version(version: str, place: str) -> Iterator[Problem]:
    """A version is x.y.z with numbers of at most 999999; what else semantic versions have, the service takes too."""
    if VERSION_PATTERN.fullmatch(version):
        return
    expected = "x.y.z with numbers up to 999999 and no leading zeros"
    if len(version) <= MAX_VERSION_LENGTH and VERSION_PATTERN.match(version.partition("-")[0]) and is_version(version):
        remedy = "leave pre-releases out: ranges such as '^1.0.0' pass over them"
        yield warning(place, expected=expected, found=describe(version), remedy=remedy)
    else:
        remedy = "write three numbers; where a build fills in a placeholder, check what it wrote"
        yield Problem(place, expected, describe(version), remedy)


def component_type(kind: str, place: str) -> Iterator[Problem]:
    """A component is generic: nucleus lite runs no other kind."""
    remedy = "leave it out: nucleus lite runs generic components only"
    if kind in _CLASSIC_TYPES:
        yield warning(place, expected=COMPONENT_TYPE, found=describe(kind), remedy=remedy)
    elif kind != COMPONENT_TYPE:
        yield Problem(place, COMPONENT_TYPE, describe(kind), remedy)


def version_requirement(requirement: str, place: str) -> Iterator[Problem]:
    """A dependency names a range of versions in npm's notation."""
    try:
        VersionRange(requirement)
    except ValueError as error:
        yield Problem(place, "a version range in npm's notation", describe(requirement), str(error))


def artifact_uri(uri: str, place: str) -> Iterator[Problem]:
    """An artifact is an object in S3; the classic nucleus alone, with Docker's component, takes images."""
    if uri.startswith("docker:"):
        remedy = "publish the file to the artifact bucket: nucleus lite takes no images"
        yield warning(place, expected="s3://<bucket>/<key>", found=describe(uri), remedy=remedy)
    elif not ARTIFACT_URI_PATTERN.fullmatch(uri):
        yield Problem(place, "s3://<bucket>/<key>", describe(uri), "publish the file to the artifact bucket")


def unique_file_names(uris: Sequence[str], place: str) -> Iterator[Problem]:
    """The artifacts of a manifest lie in one folder on the device."""
    names = [uri.rsplit("/", 1)[-1] for uri in uris]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(place, "a different file name for each artifact", f"{name!r} twice", "rename one of them")


def artifact_digest(digest: str, algorithm: str, place: str) -> Iterator[Problem]:
    """The service's digest is base64 of SHA-256; nucleus lite knows no other."""
    if algorithm != "SHA-256":
        yield Problem(f"{place}.Algorithm", "SHA-256", describe(algorithm), "let the service compute the digest")
    if not DIGEST_PATTERN.fullmatch(digest):
        yield Problem(f"{place}.Digest", "base64 of 32 bytes", describe(digest), "let the service compute the digest")


def platform(value: Mapping[str, Any], place: str) -> Iterator[Problem]:
    """`os` stands explicitly, and `runtime` is '*': nucleus lite skips a manifest without it."""
    if value.get("runtime") != "*":
        found = describe(value["runtime"]) if "runtime" in value else "nothing"
        remedy = 'write "runtime": "*": it alone matches both nuclei'
        yield warning(f"{place}.runtime", expected="'*'", found=found, remedy=remedy)
    yield from _operating_system(value, f"{place}.os")
    architecture = value.get("architecture", "*")
    if architecture not in ARCHITECTURES and not _is_pattern(architecture):
        expected = f"one of {', '.join(sorted(ARCHITECTURES))}"
        remedy = "use Greengrass's word for it"
        yield Problem(f"{place}.architecture", expected, describe(architecture), remedy)
    for key, item in value.items():
        if _is_pattern(item):
            remedy = "nucleus lite knows no patterns: write a manifest for each value"
            yield warning(f"{place}.{key}", expected="a plain value", found=describe(item), remedy=remedy)
        elif key not in PLATFORM_KEYS:
            remedy = "remove it, unless every device's nucleus is configured with this attribute"
            expected = f"only the keys {', '.join(PLATFORM_KEYS)}"
            yield warning(place, expected=expected, found=repr(key), remedy=remedy)
        elif not isinstance(item, str):
            yield Problem(f"{place}.{key}", "a string", describe(item), "write it in quotes")


def _operating_system(value: Mapping[str, Any], place: str) -> Iterator[Problem]:
    expected = f"one of {', '.join(sorted(OPERATING_SYSTEMS))}"
    remedy = "name the operating system"
    system = value.get("os")
    if system in {None, "*", "all"}:
        found = "nothing" if system is None else describe(system)
        yield warning(place, expected=expected, found=found, remedy=f"{remedy}: nucleus lite wants it explicitly")
    elif system not in OPERATING_SYSTEMS and not _is_pattern(system):
        yield Problem(place, expected, describe(system), remedy)


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and len(value) > 1 and value.startswith("/")


def phases(lifecycle: Collection[str], place: str) -> Iterator[Problem]:
    """A component either runs, or is started and goes on in the background."""
    if {"run", "startup"} <= set(lifecycle):
        yield Problem(place, "either run or startup", "both", "keep 'run': both nuclei start it")


def install_timeout(step: object, place: str) -> Iterator[Problem]:
    """The default of 120 s is too short for an installation on a small board."""
    if not isinstance(step, dict) or "timeout" not in {str(key).casefold() for key in step}:
        remedy = 'write {"Script": ..., "Timeout": 600} (the default is 120)'
        yield warning(place, expected="an explicit Timeout in seconds", found="none", remedy=remedy)


def timeout(value: object, place: str) -> Iterator[Problem]:
    """A literal whole number: a recipe variable or a string fails the deployment on nucleus lite."""
    expected, remedy = "a whole number of seconds above 0", "write the number itself"
    if isinstance(value, str) and (value.isdecimal() or value.startswith("{configuration:/")):
        yield warning(place, expected=expected, found=describe(value), remedy=remedy)
    elif not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        yield Problem(place, expected, describe(value), remedy)


def script(text: str, configuration: Mapping[str, Any], place: str) -> Iterator[Problem]:
    """Only recipe variables stand in braces, and those of the configuration have a default that is no number."""
    yield from brace_problems(text, place)
    yield from number_problems(text, configuration, place)


def access_control(value: object, place: str) -> Iterator[Problem]:
    """`accessControl` has the form service -> policy id -> {operations, resources}, for services that both nuclei have.

    Both nuclei deny by default, so a malformed policy shows only as a refused call on the device.
    """
    if not isinstance(value, dict):
        yield Problem(place, "an object of IPC services", describe(value), "see accessControl in the documentation")
        return
    for service, policies in value.items():
        where = f"{place}.{service}"
        if service not in IPC_SERVICES:
            severity = Severity.WARNING if CLASSIC_SERVICES.fullmatch(service) else Severity.ERROR
            expected = f"one of {', '.join(IPC_SERVICES)}"
            yield Problem(where, expected, repr(service), "remove it: nucleus lite has no other", severity)
        if not isinstance(policies, dict):
            yield Problem(where, "an object of policies by id", describe(policies), "give the policy an id")
            continue
        for policy_id, policy in policies.items():
            yield from _policy(policy, f"{where}.{policy_id}")


def _policy(policy: object, place: str) -> Iterator[Problem]:
    if not isinstance(policy, dict):
        yield Problem(place, "an object with operations and resources", describe(policy), "write { ... }")
        return
    for key in sorted(set(policy) - {"policyDescription", "operations", "resources"}):
        yield Problem(place, "only policyDescription, operations, resources", repr(key), "remove it")
    for key in ("operations", "resources"):
        items = policy.get(key)
        if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
            yield Problem(f"{place}.{key}", "a list of strings that is not empty", describe(items), "list at least one")
        elif key == "operations":
            for item in items:
                if not OPERATION_PATTERN.fullmatch(item):
                    yield Problem(
                        f"{place}.{key}", "'*' or aws.greengrass#<Operation>", describe(item), "write the full name"
                    )

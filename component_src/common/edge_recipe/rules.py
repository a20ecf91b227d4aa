# SPDX-License-Identifier: Apache-2.0
"""The rules of a recipe, one a function: what broke a real deployment on one of the two Greengrass nuclei.

Each takes a piece of the recipe as JSON and its place, and yields the problems that it finds. The form (types, unknown
keys) is :mod:`edge_recipe.parsing`'s matter.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edge_recipe.errors import Problem, describe
from edge_recipe.variables import brace_problems, number_problems
from edge_recipe.versions import VERSION_PATTERN, VersionRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_RECIPE_BYTES = 8 * 1024
MAX_NAME_LENGTH = 128
NAME_PATTERN = re.compile(r"[a-zA-Z0-9\-_.]+")
ARTIFACT_URI_PATTERN = re.compile(r"s3://[^/\s]+(?:/[^/\s]+)+")
DIGEST_PATTERN = re.compile(r"[A-Za-z0-9+/]{43}=")
OPERATION_PATTERN = re.compile(r"\*|aws\.greengrass#[A-Za-z]+")
IPC_SERVICES = ("aws.greengrass.ipc.mqttproxy", "aws.greengrass.ipc.pubsub")
PHASES = ("install", "run", "shutdown")
PHASE_ADVICE = {
    "startup": "use 'run': on Debian 12 nucleus lite cannot start a 'startup' step",
    "bootstrap": "use 'install': nucleus lite runs 'bootstrap' only in part",
    "recover": "remove it: nucleus lite never runs it",
}
STEP_ADVICE = {"Skipif": "let the script decide: nucleus lite ignores Skipif"}


def size(byte_count: int) -> Iterator[Problem]:
    """A recipe is at most 8 KiB: nucleus lite cannot open a larger one."""
    if byte_count > MAX_RECIPE_BYTES:
        yield Problem(
            "$",
            f"at most {MAX_RECIPE_BYTES} bytes",
            f"{byte_count} bytes",
            "move large defaults to the deployment's configuration, and scripts into the artifact",
        )


def component_name(name: str, place: str) -> Iterator[Problem]:
    """A name is 1 to 128 of letters, digits, '-', '_' and '.', outside AWS's own prefix."""
    if len(name) > MAX_NAME_LENGTH or not NAME_PATTERN.fullmatch(name):
        yield Problem(
            place, f"at most {MAX_NAME_LENGTH} of a-z A-Z 0-9 - _ .", describe(name), "choose a name of these"
        )
    elif name.startswith("aws."):
        yield Problem(place, "a name of our own", describe(name), "leave the prefix 'aws.' to AWS's components")


def component_version(version: str, place: str) -> Iterator[Problem]:
    """A version is x.y.z with numbers of at most 999999."""
    if not VERSION_PATTERN.fullmatch(version):
        yield Problem(
            place,
            "x.y.z with numbers up to 999999 and no leading zeros",
            describe(version),
            "take the version from the lock of component versions",
        )


def version_requirement(requirement: str, place: str) -> Iterator[Problem]:
    """A dependency names a range of versions in npm's notation."""
    try:
        VersionRange(requirement)
    except ValueError as error:
        yield Problem(place, "a version range in npm's notation", describe(requirement), str(error))


def artifact_uri(uri: str, place: str) -> Iterator[Problem]:
    """An artifact is an object in S3."""
    if not ARTIFACT_URI_PATTERN.fullmatch(uri):
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
        yield Problem(f"{place}.runtime", "'*'", found, 'write "runtime": "*": it alone matches both nuclei')
    for key, item in value.items():
        if isinstance(item, str) and len(item) > 1 and item.startswith("/"):
            yield Problem(
                f"{place}.{key}", "a plain value", describe(item), "nucleus lite knows no patterns: add a manifest"
            )


def install_timeout(step: object, place: str) -> Iterator[Problem]:
    """The default of 120 s is too short for an installation on a small board."""
    if not isinstance(step, dict) or "Timeout" not in step:
        yield Problem(
            place,
            "an explicit Timeout in seconds",
            "none",
            'write {"Script": ..., "Timeout": 600} (the default is 120)',
        )


def timeout(value: object, place: str) -> Iterator[Problem]:
    """A literal whole number: a recipe variable here fails the deployment on nucleus lite."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        yield Problem(place, "a whole number of seconds above 0", describe(value), "write the number itself")


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
            yield Problem(where, f"one of {', '.join(IPC_SERVICES)}", repr(service), "nucleus lite has no other")
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

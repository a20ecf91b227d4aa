# SPDX-License-Identifier: Apache-2.0
"""What widens permissions without being a policy: settings that keep others out, other roles, root on devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from change_report.permissions import Direction, PermissionChange
from change_report.statements import Templates, readable, text, without_hash

# Type -> path of the setting -> the value that keeps others out.
_GUARDS: Mapping[str, Mapping[tuple[str, ...], Any]] = {
    "AWS::S3::Bucket": {
        ("PublicAccessBlockConfiguration", name): True
        for name in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    },
    "AWS::Lambda::Url": {("AuthType",): "AWS_IAM"},
}
# Type -> property that says as which role it acts: another one may do other things.
_ACTS_AS = {
    "AWS::CodeBuild::Project": "ServiceRole",
    "AWS::CodePipeline::Pipeline": "RoleArn",
    "AWS::IoT::RoleAlias": "RoleArn",
    "AWS::Lambda::Function": "Role",
}


def changed_powers(before: Templates, after: Templates) -> list[PermissionChange]:
    """All of it that differs."""
    found = (open_guards, _other_roles, _open_gates, _root_on_devices)
    return [change for compared in found for change in compared(before, after)]


def open_guards(before: Templates, after: Templates) -> list[PermissionChange]:
    """Guards that open or close; a new resource that lacks one opens it."""
    found = []
    for stack, template in after.items():
        former = before.get(stack, {}).get("Resources", {})
        for id_, resource in template.get("Resources", {}).items():
            for setting, was, now in _guards(former.get(id_, {}), resource):
                if was != now:
                    direction: Direction = "narrowed" if now else "widened"
                    name = without_hash(id_)
                    told = f"{name}: {setting} {'keeps others out now' if now else 'no longer keeps others out'}"
                    found.append(PermissionChange(direction=direction, holder=name, stack=stack, text=told))
    return found


def _other_roles(before: Templates, after: Templates) -> Iterator[PermissionChange]:
    """What acts as another role than before; which of them may do more is not compared, so it counts as wider."""
    for stack, template in after.items():
        former = before.get(stack, {}).get("Resources", {})
        for id_, resource in template.get("Resources", {}).items():
            key = _ACTS_AS.get(resource["Type"], "")
            if not key or id_ not in former:
                continue
            was, now = (text(one.get("Properties", {}).get(key)) for one in (former[id_], resource))
            if was != now:
                name = without_hash(id_)
                told = f"{name} acts as {readable(now)}, and no longer as {readable(was)}"
                yield PermissionChange(direction="widened", holder=name, stack=stack, text=told)


def _open_gates(before: Templates, after: Templates) -> Iterator[PermissionChange]:
    """Approvals and verifications that a pipeline's stage had, and has no longer."""
    former, latter = _gates(before), _gates(after)
    for stack, id_, stage in sorted(former.keys() & latter.keys()):
        for action in sorted(former[stack, id_, stage] - latter[stack, id_, stage]):
            name = without_hash(id_)
            told = f"{name} lets releases into {stage} without {action}"
            yield PermissionChange(direction="widened", holder=name, stack=stack, text=told)


def _gates(templates: Templates) -> dict[tuple[str, str, str], set[str]]:
    return {
        (stack, id_, stage["Name"]): {
            action["Name"] for action in stage["Actions"] if action["ActionTypeId"]["Category"] != "Deploy"
        }
        for stack, template in templates.items()
        for id_, resource in template.get("Resources", {}).items()
        if resource["Type"] == "AWS::CodePipeline::Pipeline"
        for stage in resource["Properties"]["Stages"]
    }


def _root_on_devices(before: Templates, after: Templates) -> Iterator[PermissionChange]:
    former, latter = _privileged(before), _privileged(after)
    for name, step in sorted(former ^ latter):
        now = (name, step) in latter
        told = f"{name} on the device {'runs' if now else 'no longer runs'} {step} as root"
        yield PermissionChange(direction="widened" if now else "narrowed", holder=name, stack="", text=told)


def _privileged(templates: Templates) -> set[tuple[str, str]]:
    """Component and step of its life that needs root, or the user that a deployment gives it."""
    found = set()
    for template in templates.values():
        for resource in template.get("Resources", {}).values():
            properties = resource.get("Properties", {})
            recipe, deployed = properties.get("InlineRecipe"), properties.get("Components")
            if isinstance(recipe, Mapping):
                found |= {(str(recipe["ComponentName"]), step) for step in _steps(recipe, ())}
            for name, component in deployed.items() if isinstance(deployed, Mapping) else ():
                user = str(_at(component, ("RunWith", "PosixUser")) or "").partition(":")[0]
                if user in {"root", "0"}:
                    found.add((name, "all"))
    return found


def _steps(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if str(key).lower() == "requiresprivilege" and str(item).lower() != "false":
                yield ".".join(path)
            else:
                yield from _steps(item, (*path, str(key)))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _steps(item, (*path, str(number)))


def _guards(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, bool, bool]]:
    for path, closed in _GUARDS.get(after["Type"], {}).items():
        was = not before or _at(before.get("Properties", {}), path) == closed
        yield ".".join(path), was, _at(after.get("Properties", {}), path) == closed


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value

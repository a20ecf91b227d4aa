# SPDX-License-Identifier: Apache-2.0
"""Every statement of an environment's templates that allows or denies something, by whom it binds."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from change_report.conditions import Conditions, conditions_of

Kind = Literal["may", "may be assumed by", "lets others", "device certificates may", "on the device may"]
Templates = Mapping[str, Mapping[str, Any]]
"""Stack to template."""

_ID_HASH = re.compile(r"[0-9A-F]{8}$")
_REFERENCE = re.compile(r"<([A-Za-z0-9:]+)((?:\.[A-Za-z0-9.]+)?)>")
# Type -> property that says what its policy is attached to.
_ATTACHED = {
    "AWS::S3::BucketPolicy": "Bucket",
    "AWS::SQS::QueuePolicy": "Queues",
    "AWS::SNS::TopicPolicy": "Topics",
    "AWS::SecretsManager::ResourcePolicy": "SecretId",
}
_IDENTITIES = ("Roles", "Users", "Groups")


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Whom statements bind: a role, a resource with its policy, the certificates of a policy, a component."""

    stack: str
    name: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement, as texts. What another resource's attribute will be stands as `<id.attribute>`."""

    effect: Literal["Allow", "Deny"]
    actions: frozenset[str]
    resources: frozenset[str]
    principals: frozenset[str]
    conditions: str  # canonical JSON, as a frozen dataclass is hashed
    inverted: str = ""  # NotAction and the like, whole, as these cannot be compared part by part

    @property
    def condition_map(self) -> Conditions:
        """The conditions as they were."""
        found: Conditions = {
            operator: {key: tuple(values) for key, values in keys.items()}
            for operator, keys in json.loads(self.conditions).items()
        }
        return found


def collect(templates: Templates) -> dict[Holder, frozenset[Statement]]:
    """All statements of one environment's stacks."""
    found: dict[Holder, set[Statement]] = defaultdict(set)
    for stack, template in templates.items():
        for id_, resource in template.get("Resources", {}).items():
            for kind, name, statement in _of_resource(id_, resource):
                found[Holder(stack=stack, name=name, kind=kind)].add(statement)
    for name, statement in _on_devices(templates):
        found[Holder(stack="", name=name, kind="on the device may")].add(statement)
    return {holder: frozenset(statements) for holder, statements in found.items()}


def _of_resource(id_: str, resource: Mapping[str, Any]) -> Iterator[tuple[Kind, str, Statement]]:
    type_, properties = resource["Type"], resource.get("Properties", {})
    if type_ == "AWS::Lambda::Permission":
        yield "lets others", text(properties["FunctionName"]), _permission(properties)
        return
    if type_ in {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"}:
        attached = [text(one) for key in _IDENTITIES for one in properties.get(key, [])]
        for name in attached or [f"<{id_}>"]:
            for statement in _document(properties["PolicyDocument"]):
                yield "may", name, statement
        return
    if type_ == "AWS::IAM::Role":
        yield from _role(f"<{id_}>", properties)
        return
    kind: Kind = "device certificates may" if type_ == "AWS::IoT::Policy" else "lets others"
    attached = properties.get(_ATTACHED.get(type_, ""), [])
    for document in _documents(properties):
        for name in [text(one) for one in (attached if isinstance(attached, list) else [attached])] or [f"<{id_}>"]:
            for statement in _document(document):
                yield kind, name, statement


def _role(name: str, properties: Mapping[str, Any]) -> Iterator[tuple[Kind, str, Statement]]:
    for statement in _document(properties.get("AssumeRolePolicyDocument", {})):
        yield "may be assumed by", name, statement
    for policy in properties.get("Policies", []):
        for statement in _document(policy["PolicyDocument"]):
            yield "may", name, statement
    for arn in properties.get("ManagedPolicyArns", []):
        yield "may", name, _simple("Allow", "all of managed policy", text(arn))
    if "PermissionsBoundary" in properties:
        # What lies outside the boundary is denied: one that goes, or is another one, may let more through.
        yield "may", name, _simple("Deny", "all outside boundary", text(properties["PermissionsBoundary"]))


def _documents(value: Any) -> Iterator[Mapping[str, Any]]:
    """Policy documents, wherever in a resource's properties they stand."""
    if isinstance(value, Mapping):
        if isinstance(value.get("Statement"), (list, dict)):
            yield value
            return
        for item in value.values():
            yield from _documents(item)
    elif isinstance(value, list):
        for item in value:
            yield from _documents(item)


def _document(document: Mapping[str, Any]) -> Iterator[Statement]:
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        inverted = {key: statement[key] for key in ("NotAction", "NotResource", "NotPrincipal") if key in statement}
        yield Statement(
            effect=statement["Effect"],
            actions=frozenset(_texts(statement.get("Action", []))),
            resources=frozenset(_texts(statement.get("Resource", []))),
            principals=frozenset(_principals(statement.get("Principal"))),
            conditions=json.dumps(conditions_of(statement, text), sort_keys=True),
            inverted=json.dumps(statement, sort_keys=True) if inverted else "",
        )


def _permission(properties: Mapping[str, Any]) -> Statement:
    sources = {
        "aws:SourceArn": properties.get("SourceArn"),
        "aws:SourceAccount": properties.get("SourceAccount"),
        "lambda:FunctionUrlAuthType": properties.get("FunctionUrlAuthType"),
    }
    conditions = {"ArnLike": {key: (text(value),) for key, value in sources.items() if value is not None}}
    return Statement(
        effect="Allow",
        actions=frozenset({text(properties["Action"])}),
        resources=frozenset({text(properties["FunctionName"])}),
        principals=frozenset({text(properties["Principal"])}),
        conditions=json.dumps(conditions if conditions["ArnLike"] else {}, sort_keys=True),
    )


def _on_devices(templates: Templates) -> Iterator[tuple[str, Statement]]:
    """What components may do over the nucleus's IPC: a recipe's defaults with what deployments merge over them."""
    granted: dict[str, dict[str, Any]] = defaultdict(dict)
    resources = [resource for template in templates.values() for resource in template.get("Resources", {}).values()]
    for resource in resources:
        recipe = resource.get("Properties", {}).get("InlineRecipe")
        if isinstance(recipe, Mapping):
            configuration = recipe.get("ComponentConfiguration", {}).get("DefaultConfiguration", {})
            _merge(granted[recipe["ComponentName"]], configuration.get("accessControl", {}))
    for resource in resources:
        components = resource.get("Properties", {}).get("Components")
        for name, component in components.items() if isinstance(components, Mapping) else ():
            merge = component.get("ConfigurationUpdate", {}).get("Merge", {}) if isinstance(component, Mapping) else {}
            if isinstance(merge, Mapping):
                _merge(granted[name], merge.get("accessControl", {}))
    for name, services in granted.items():
        for policies in services.values():
            for policy in policies.values():
                yield (
                    name,
                    Statement(
                        effect="Allow",
                        actions=frozenset(policy.get("operations", [])),
                        resources=frozenset(policy.get("resources", [])),
                        principals=frozenset(),
                        conditions="{}",
                    ),
                )


def _merge(into: dict[str, Any], update: Mapping[str, Any]) -> None:
    """As the nucleus merges: tables key by key, everything else whole."""
    for key, value in update.items():
        if isinstance(value, Mapping):
            inner = into.setdefault(key, {})
            if isinstance(inner, dict):
                _merge(inner, value)
                continue
        into[key] = value


def _simple(effect: Literal["Allow", "Deny"], action: str, resource: str) -> Statement:
    return Statement(
        effect=effect,
        actions=frozenset({action}),
        resources=frozenset({resource}),
        principals=frozenset(),
        conditions="{}",
    )


def _principals(principal: Any) -> list[str]:
    if principal is None:
        return []
    if not isinstance(principal, Mapping) or any(key.startswith("Fn::") or key == "Ref" for key in principal):
        return [text(principal)]
    named = [(kind, name) for kind, names in principal.items() for name in _texts(names)]
    return ["*" if (kind, name) == ("AWS", "*") else name for kind, name in named]


def _texts(value: Any) -> list[str]:
    return [text(item) for item in (value if isinstance(value, list) else [value])]


def text(value: Any) -> str:
    """A value of a template as one text."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        ((function, argument),) = value.items()
        if function == "Ref":
            return f"<{argument}>"
        if function == "Fn::GetAtt":
            return f"<{'.'.join(argument) if isinstance(argument, list) else argument}>"
        if function == "Fn::Join":
            return str(argument[0]).join(text(part) for part in argument[1])
        if function == "Fn::Sub" and isinstance(argument, str):
            return re.sub(r"\$\{([^!}]+)\}", r"<\1>", argument)
    return json.dumps(value, sort_keys=True)


def readable(name: str) -> str:
    """A name without the hashes of logical ids and without brackets around them."""
    return _REFERENCE.sub(lambda found: f"{without_hash(found[1])}{found[2]}", name.replace("<AWS::Partition>", "aws"))


def without_hash(id_: str) -> str:
    """A logical id as its construct's path, without the hash that makes it unique."""
    return _ID_HASH.sub("", id_)

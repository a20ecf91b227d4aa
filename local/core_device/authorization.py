# SPDX-License-Identifier: Apache-2.0
"""Who may do what: a component's accessControl over IPC, and the device's AWS IoT policy in the cloud."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Tell whether an MQTT topic falls under a filter with ``+`` and ``#``."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    for i, level in enumerate(wanted):
        if level == "#":
            return i == len(wanted) - 1
        if i >= len(given) or level not in {"+", given[i]}:
            return False
    return len(wanted) == len(given)


def component_may(configuration: Mapping[str, Any], *, service: str, operation: str, resource: str, mqtt: bool) -> bool:
    """Tell whether a component's accessControl allows an operation on a resource.

    Args:
        configuration: of the component.
        service: such as ``aws.greengrass.ipc.mqttproxy``.
        operation: without the prefix ``aws.greengrass#``.
        resource: the topic.
        mqtt: the policies' resources are MQTT topic filters besides having ``*`` for anything.
    """
    policies = configuration.get("accessControl", {}).get(service, {})
    for policy in policies.values():
        operations = policy.get("operations", [])
        if "*" not in operations and f"aws.greengrass#{operation}" not in operations:
            continue
        for allowed in policy.get("resources", []):
            if _glob(allowed, resource) or (mqtt and topic_matches(allowed, resource)):
                return True
    return False


def device_may(document: Mapping[str, Any], *, action: str, resource: str) -> bool:
    """Tell whether an AWS IoT policy document allows an action on a resource's ARN.

    Conditions are not evaluated: a statement with one does not allow, but does deny.
    """
    allowed = False
    for statement in _list(document.get("Statement", [])):
        if not any(_glob(item, action, ignore_case=True) for item in _list(statement.get("Action", []))):
            continue
        if not any(_glob(item, resource) for item in _list(statement.get("Resource", []))):
            continue
        if statement.get("Effect") == "Deny":
            return False
        allowed = allowed or (statement.get("Effect") == "Allow" and "Condition" not in statement)
    return allowed


def _list(value: Any) -> Iterator[Any]:
    return iter(value if isinstance(value, list) else [value])


def _glob(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(expression, text, re.IGNORECASE | re.DOTALL if ignore_case else re.DOTALL) is not None

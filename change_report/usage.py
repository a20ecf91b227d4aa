# SPDX-License-Identifier: Apache-2.0
"""How much of each priced thing an environment uses in a month, from its settings and its templates.

Settings are read as plain tables: a former state may lack keys that there are today, and its defaults stand here.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from change_report.sides import Settings
from change_report.statements import Templates, text

_MONTH_SECONDS = 730 * 3600
_FROM = re.compile(r"\bFROM\s+'([^']+)'", re.IGNORECASE)
_HEARTBEAT = "gg/sageMakerEdgeManager/heartbeat"
# Action of a topic rule -> what one message costs there.
_ACTIONS = {
    "Lambda": "lambda.requests",
    "Sqs": "sqs.requests",
    "CloudwatchMetric": "cloudwatch.put_requests",
    "DynamoDB": "dynamodb.writes",
    "DynamoDBv2": "dynamodb.writes",
}


def monthly_usage(settings: Settings, templates: Templates, assumptions: Mapping[str, float]) -> dict[str, float]:
    """Quantities by the name that they have in prices.toml."""
    devices = len(settings.get("devices", []))
    messages = dict(_messages(settings, devices, assumptions["images_per_pass"]))
    usage: dict[str, float] = defaultdict(float)
    usage["greengrass.core_devices"] = devices
    usage["iot.connection_minutes"] = round(devices * assumptions["hours_connected"] * 60)
    usage["iot.messages"] = round(sum(messages.values()))
    usage |= _rules(templates, messages) | _captures(settings, devices, assumptions) | _fixed(templates)
    return {name: quantity for name, quantity in usage.items() if quantity}


def _messages(settings: Settings, devices: int, images: float) -> Iterator[tuple[str, float]]:
    """Topic to messages in a month."""
    totals: dict[str, float] = defaultdict(float)
    for component in _inference(settings):
        if topic := component.get("topic", "gg/sageMakerEdgeManager/image-classification"):
            totals[topic] += round(devices * images * _MONTH_SECONDS / component.get("interval_seconds", 3600))
    if settings.get("edge_manager", "open") == "open":
        totals[_HEARTBEAT] += round(devices * _MONTH_SECONDS / settings.get("heartbeat", {}).get("period_seconds", 60))
    yield from totals.items()


def _inference(settings: Settings) -> list[Mapping[str, Any]]:
    return [settings[key] for key in ("inference", "detection") if settings.get(key)]


def _rules(templates: Templates, messages: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    queued: float = 0
    for rule in _of_type(templates, "AWS::IoT::TopicRule"):
        payload = rule["TopicRulePayload"]
        pattern = _FROM.search(text(payload["Sql"]))
        seen = sum(count for topic, count in messages.items() if pattern and _matches(pattern[1], topic))
        found["iot.rules"] += seen
        for action in payload.get("Actions", []):
            (kind,) = list(action)[:1] or [""]
            found["iot.rule_actions"] += seen
            if kind in _ACTIONS:
                found[_ACTIONS[kind]] += seen
            queued += seen if kind == "Sqs" else 0
    for mapping in _of_type(templates, "AWS::Lambda::EventSourceMapping"):
        calls = math.ceil(queued / mapping.get("BatchSize", 10))
        found["lambda.requests"] += calls
        found["sqs.requests"] += 2 * calls  # received and deleted in batches
    # The function behind the rule writes each heartbeat to the table.
    tables = list(_of_type(templates, "AWS::DynamoDB::Table")) + list(_of_type(templates, "AWS::DynamoDB::GlobalTable"))
    if tables and not found["dynamodb.writes"]:
        found["dynamodb.writes"] += messages.get(_HEARTBEAT, 0)
    return dict(found)


def _captures(settings: Settings, devices: int, assumptions: Mapping[str, float]) -> dict[str, float]:
    capture = settings.get("capture", {})
    if capture.get("destination", "Cloud") != "Cloud":
        return {}
    push, batch = capture.get("push_period_seconds", 4), capture.get("batch_size", 10)
    puts = kept = 0.0
    days = settings.get("retention", {}).get("captures_days", 365)
    for component in _inference(settings):
        interval = component.get("interval_seconds", 3600)
        # A batch goes when it is full, or when the push period is over with anything in it.
        window = max(interval, push)
        records = math.ceil(assumptions["images_per_pass"] * window / interval)
        puts += devices * math.ceil(records / batch) * _MONTH_SECONDS / window
        a_day = devices * assumptions["images_per_pass"] * 86400 / interval
        kept += a_day * days * assumptions["capture_bytes"] / 1e9
    return {"s3.put_requests": round(puts), "s3.gigabytes": round(kept, 6)}


def _fixed(templates: Templates) -> dict[str, float]:
    types = {
        "cloudwatch.alarms": "AWS::CloudWatch::Alarm",
        "cloudwatch.dashboards": "AWS::CloudWatch::Dashboard",
        "kms.keys": "AWS::KMS::Key",
    }
    counts: dict[str, float] = {name: len(list(_of_type(templates, type_))) for name, type_ in types.items()}
    return {**counts, "cloudwatch.metrics": len(set(_metrics(templates)))}


def _metrics(templates: Templates) -> Iterator[str]:
    """Metrics of our own namespaces that alarms, rules and dashboards name."""
    for template in templates.values():
        for metric in _walk(template.get("Resources", {})):
            namespace = metric.get("Namespace", metric.get("MetricNamespace"))
            if "MetricName" in metric and isinstance(namespace, str) and not namespace.startswith("AWS/"):
                yield json.dumps([namespace, metric["MetricName"], metric.get("Dimensions", [])], sort_keys=True)
    for dashboard in _of_type(templates, "AWS::CloudWatch::Dashboard"):
        yield from _shown(text(dashboard.get("DashboardBody", "{}")))


def _shown(body: str) -> Iterator[str]:
    try:
        widgets = json.loads(body).get("widgets", [])
    except (ValueError, AttributeError):
        return
    for widget in widgets:
        for line in widget.get("properties", {}).get("metrics", []):
            parts = [part for part in line if isinstance(part, str)]
            if len(parts) > 1 and not parts[0].startswith(("AWS/", ".")):
                names = parts[2:]
                dimensions = [{"Name": n, "Value": v} for n, v in zip(names[::2], names[1::2], strict=False)]
                yield json.dumps([parts[0], parts[1], dimensions], sort_keys=True)


def _walk(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for item in value.values():
            yield from _walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item)


def _of_type(templates: Templates, type_: str) -> Iterator[Mapping[str, Any]]:
    for template in templates.values():
        for resource in template.get("Resources", {}).values():
            if resource["Type"] == type_:
                yield resource.get("Properties", {})


def _matches(pattern: str, topic: str) -> bool:
    """Whether an MQTT topic filter takes a topic."""
    parts, names = pattern.split("/"), topic.split("/")
    if parts[-1] == "#":
        parts, names = parts[:-1], names[: len(parts) - 1]
    return len(parts) == len(names) and all(part in {"+", name} for part, name in zip(parts, names, strict=True))

# SPDX-License-Identifier: Apache-2.0
"""From the heartbeat's field to the alarm's threshold: what the agent writes goes through the rule, queue and functions
that the template declares, with the variables that it gives them, and each alarm is held against what comes out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edge_agent.heartbeat import messages
from edge_agent.metrics import COUNTERS, ModelMetrics
from edge_agent.models import LoadedModel
from edge_agent.settings import DEFAULTS
from edge_constructs import census_handler, heartbeat_handler
from edge_constructs.fleet_metrics import AGENT_COUNTERS, CENSUS_METRICS, GROUP_METRICS, REFUSED
from edge_constructs.heartbeat_message import MEMBERS
from edge_constructs.heartbeat_record import SLOWEST
from local.aws.extension.metric_math import compare, evaluate
from stacks.application import ENVIRONMENTS, build_app
from stacks.components import ROOT
from stacks.configuration import HEARTBEAT_TOPIC
from stacks.environment import Alarms, Environment, EnvironmentFileError, load_environment
from tests.fleet_cloud import FleetCloud

NOW = 1_800_000_000.0
DIGEST = "a" * 64
TABLE = "arn:aws:dynamodb:us-east-1:111122223333:table/dev-heartbeats"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"

Template = dict[str, Any]


def read_templates(folder: Path) -> dict[str, Template]:
    """A stage's templates by stack."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["artifacts"].values()
    return {
        a["displayName"].partition("/")[2]: json.loads((folder / a["properties"]["templateFile"]).read_text("utf-8"))
        for a in manifest
        if a["type"] == "aws:cloudformation:stack"
    }


@pytest.fixture(scope="session")
def templates_of(assembly: Path) -> Callable[[str], dict[str, Template]]:
    return lambda environment: read_templates(assembly / f"assembly-{environment}")


@pytest.fixture
def monitoring(templates: dict[str, Template]) -> Template:
    return templates["Monitoring"]


def of_type(template: Template, type_: str) -> dict[str, Any]:
    return {id_: r.get("Properties", {}) for id_, r in template["Resources"].items() if r["Type"] == type_}


@dataclass(frozen=True)
class Device:
    """What an agent counted, in its own terms."""

    name: str
    counters: Mapping[str, float]
    model: ModelMetrics
    digest: str = DIGEST
    uptime: float = 60.0

    def beats(self, fleet: str, second: float) -> list[dict[str, Any]]:
        """The messages that the agent's own code writes."""
        device, fleet_name = self.name, fleet

        class Parameters:
            device_name = device
            device_fleet_name = fleet_name

        settings: Any = Parameters()
        session: Any = None
        loaded = LoadedModel("h", "../m", "digits", "1.0", self.digest, 1, "", session)
        agent = {**dict.fromkeys(COUNTERS, 0.0), "starts": 1, "uptime_seconds": self.uptime, **self.counters}
        written = messages(settings=settings, now=NOW + second, agent=agent, models=[(loaded, self.model)])
        return [json.loads(one) for one in written]


class Walk:
    """The way of heartbeats through an environment's templates."""

    def __init__(self, environment: Environment, templates: dict[str, Template]) -> None:
        self.environment = environment
        self.template = templates["Monitoring"]
        self.fleet_template = templates["Fleet"]
        self.models_template = templates["Models"]
        self.cloud = FleetCloud(table=environment.heartbeat_table)
        self.cloud.groups = {group: [] for group in self.groups}
        self.cloud.declare("digits", "1.0", DIGEST, at=NOW - 1e6, prefix=environment.declared_models)
        (rule,) = of_type(self.template, "AWS::IoT::TopicRule").values()
        self.payload = rule["TopicRulePayload"]

    @property
    def groups(self) -> list[str]:
        canaries = [self.environment.canary_group] if self.environment.canaries else []
        return [self.environment.thing_group, *canaries]

    def rule(self, topic: str, client: str, message: Mapping[str, Any]) -> str | None:
        """What the topic rule hands on, as IoT SQL has it."""
        sql = re.fullmatch(
            r"SELECT (?P<members>[\w, ]+), clientid\(\) AS (?P<client>\w+), timestamp\(\) AS (?P<time>\w+) "
            r"FROM '(?P<topic>[^']+)' WHERE regexp_matches\(clientid\(\), '(?P<pattern>[^']+)'\)",
            self.payload["Sql"],
        )
        assert sql is not None, self.payload["Sql"]
        if topic != sql["topic"] or re.search(sql["pattern"], client) is None:
            return None
        selected = {name: message[name] for name in sql["members"].split(", ") if name in message}
        return json.dumps({**selected, sql["client"]: client, sql["time"]: message["Timestamp"] * 1000})

    def variables(self, handler: str) -> dict[str, str]:
        """The environment variables of the function with that handler."""
        functions = of_type(self.template, "AWS::Lambda::Function").values()
        (found,) = (one for one in functions if one["Handler"] == f"edge_constructs.{handler}")
        return {name: self._text(value) for name, value in found["Environment"]["Variables"].items()}

    def send(self, device: Device, second: float = 0.0) -> None:
        """A heartbeat, from the agent's code to the metrics."""
        bodies = [self.rule(HEARTBEAT_TOPIC, device.name, one) for one in device.beats("fleet", second)]
        records = [{"messageId": str(number), "body": body} for number, body in enumerate(bodies)]
        assert None not in bodies
        clients = {name: client for name, client in self.cloud.clients.items() if name != "iot"}
        settings = heartbeat_handler.Settings.read(self.variables("heartbeat_handler.on_messages"))
        answer = heartbeat_handler.Intake(settings, **clients).take({"Records": records})
        assert answer == {"batchItemFailures": []}

    def count(self, second: float = 60.0) -> None:
        """A census."""
        settings = census_handler.Settings.read(self.variables("census_handler.on_schedule"))
        census_handler.Census(settings, **self.cloud.clients).take(NOW + second)

    def alarm(self, kind: str, group: str) -> dict[str, Any]:
        alarms = of_type(self.template, "AWS::CloudWatch::Alarm").values()
        (found,) = (one for one in alarms if one["AlarmName"] == f"{group}-{kind}")
        return dict(found)

    def value(self, alarm: Mapping[str, Any]) -> float | None:
        """What the alarm compares, over all that was put."""
        if "MetricName" in alarm:
            return self._sum(alarm)
        (expression,) = (one["Expression"] for one in alarm["Metrics"] if "Expression" in one)
        stats = {one["Id"]: one["MetricStat"] for one in alarm["Metrics"] if "MetricStat" in one}
        assert {stat["Stat"] for stat in stats.values()} == {"Sum"}
        return evaluate(expression, {id_: self._sum(stat["Metric"]) for id_, stat in stats.items()})

    def breaches(self, kind: str, group: str) -> bool:
        alarm = self.alarm(kind, group)
        value = self.value(alarm)
        return value is not None and compare(value, alarm["ComparisonOperator"], alarm["Threshold"])

    def _sum(self, metric: Mapping[str, Any]) -> float:
        assert metric["Namespace"] == f"EdgeManager/{self.environment.namespace}"
        dimensions = [one["Value"] for one in metric["Dimensions"]]
        assert [one["Name"] for one in metric["Dimensions"]] == ["Fleet", "Group"]
        return self.cloud.sums()[metric["MetricName"], *dimensions]  # KeyError: the alarm watches what nobody puts

    def _text(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        return str(self.template["Resources"][value["Ref"]]["Properties"]["TableName"])


@pytest.fixture(scope="session")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Environment, dict[str, Template]]:
    """prod with a canary, whatever its file says."""
    named = '["device-2"]'
    outdir = tmp_path_factory.mktemp("canaries") / "cdk.out"
    build_app(outdir=str(outdir), context={"env": "prod", "prod.canaries": named}).synth()
    environment = load_environment(ENVIRONMENTS / "prod.toml", overrides={"canaries": named}, variables={})
    return environment, read_templates(outdir / "assembly-prod")


@pytest.fixture(params=["dev", "staging", "prod", "canaries"])
def walk(request: pytest.FixtureRequest, templates_of: Callable[[str], dict[str, Template]]) -> Walk:
    name: str = request.param
    if name == "canaries":
        return Walk(*request.getfixturevalue("canaries"))
    environment = load_environment(ENVIRONMENTS / f"{name}.toml", variables={})
    return Walk(environment, templates_of(name))


def healthy(walk: Walk, group: str) -> Device:
    environment = walk.environment
    name = environment.canary_things[0] if group == environment.canary_group else environment.fleet_things[0]
    walk.cloud.groups[group] = [name]
    return Device(name, {"captures_accepted": 100}, ModelMetrics(100, 0, 1.0, 0.02))


def unhealthy(walk: Walk, device: Device) -> dict[str, Device]:
    """A device that each alarm on what devices say is about."""
    alarms = walk.environment.alarms
    failed = ModelMetrics(50, 50, 0.5)
    slow = ModelMetrics(100, 0, 100 * alarms.latency_milliseconds / 1000 + 1)
    return {
        "load-failures": replace(device, counters={"load_failures_integrity": alarms.load_failures}),
        "capture-refusals": replace(device, counters={"captures_refused": alarms.refused_captures}),
        "error-rate": replace(device, model=failed),
        "latency": replace(device, model=slow),
        "other-digest": replace(device, digest="b" * 64),
    }


KINDS = ("silent-devices", "other-digest", "load-failures", "capture-refusals", "error-rate", "latency")


def test_a_healthy_fleet_raises_no_alarm(walk: Walk) -> None:
    for group in walk.groups:
        walk.send(healthy(walk, group))
    walk.count()
    for group in walk.groups:
        assert [kind for kind in KINDS if walk.breaches(kind, group)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_alarm_is_about_raises_it_and_no_other(kind: str, walk: Walk) -> None:
    for group in walk.groups:
        device = healthy(walk, group)
        walk.send(unhealthy(walk, device).get(kind, device))
    walk.count(60.0 if kind != "silent-devices" else walk.environment.alarms.silent_minutes * 60 + 1)
    for group in walk.groups:
        assert [one for one in KINDS if walk.breaches(one, group)] == [kind]


def test_thresholds_are_the_environments(walk: Walk) -> None:
    alarms = walk.environment.alarms
    for group in walk.groups:
        assert {kind: walk.alarm(kind, group)["Threshold"] for kind in KINDS} == {
            "silent-devices": alarms.silent_devices,
            "other-digest": alarms.other_digest_devices,
            "load-failures": alarms.load_failures,
            "capture-refusals": alarms.refused_captures,
            "error-rate": alarms.error_percentage,
            "latency": alarms.latency_milliseconds,
        }
        stats = [one["MetricStat"] for one in walk.alarm("latency", group)["Metrics"] if "MetricStat" in one]
        assert {stat["Period"] for stat in stats} == {alarms.window_minutes * 60}
    assert walk.variables("census_handler.on_schedule")["SILENT_SECONDS"] == str(alarms.silent_minutes * 60)


def test_every_alarm_is_of_a_group_or_of_the_queue_and_tells_whoever_listens(walk: Walk) -> None:
    alarms = of_type(walk.template, "AWS::CloudWatch::Alarm")
    (topic,) = of_type(walk.template, "AWS::SNS::Topic")
    undelivered = f"{walk.environment.thing_group}-undelivered-heartbeats"
    assert {one["AlarmName"] for one in alarms.values()} == {
        undelivered,
        *(f"{group}-{kind}" for group in walk.groups for kind in KINDS),
    }
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]
        assert alarm["ActionsEnabled"] is walk.environment.alarms.notify
    assert walk.template["Outputs"]["Notifications"]["Value"] == {"Ref": topic}


def test_missing_data_is_what_it_means(monitoring: Template) -> None:
    missing = {
        alarm["AlarmName"].removeprefix("dev-fleet-"): alarm["TreatMissingData"]
        for alarm in of_type(monitoring, "AWS::CloudWatch::Alarm").values()
    }
    assert missing == {
        "silent-devices": "breaching",  # nobody counts
        "other-digest": "ignore",
        "load-failures": "notBreaching",
        "capture-refusals": "notBreaching",
        "error-rate": "ignore",  # nothing is predicted
        "latency": "ignore",
        "undelivered-heartbeats": "notBreaching",
    }


def test_the_topic_is_the_agents_and_devices_may_publish_on_it(walk: Walk) -> None:
    recipe = json.loads((ROOT / "component_src/agent/recipe.json").read_text(encoding="utf-8"))
    defaults = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    assert defaults["HeartbeatTopic"] == HEARTBEAT_TOPIC
    (grant,) = defaults["accessControl"]["aws.greengrass.ipc.mqttproxy"].values()
    assert HEARTBEAT_TOPIC in grant["resources"]
    (policy,) = of_type(walk.fleet_template, "AWS::IoT::Policy").values()
    may = [s for s in policy["PolicyDocument"]["Statement"] if "iot:Publish" in s["Action"]]
    assert any(str(r).endswith(f":topic/{HEARTBEAT_TOPIC}") for statement in may for r in statement["Resource"])
    assert f"FROM '{HEARTBEAT_TOPIC}'" in walk.payload["Sql"]


def test_every_field_that_is_selected_is_one_that_the_agent_writes(walk: Walk) -> None:
    (beat,) = healthy(walk, walk.groups[0]).beats("fleet", 0.0)
    assert set(MEMBERS) <= set(beat)
    written = {metric["MetricName"] for metric in beat["AgentMetrics"]}
    assert set(AGENT_COUNTERS) <= written


@pytest.mark.parametrize("client", ["n/a", "other-device-1", "x-{namespace}-device-1"])
def test_messages_of_others_do_not_pass_the_rule(client: str, walk: Walk) -> None:
    (beat,) = healthy(walk, walk.groups[0]).beats("fleet", 0.0)
    namespace = walk.environment.namespace
    assert walk.rule(HEARTBEAT_TOPIC, f"{namespace}-device-1", beat) is not None
    assert walk.rule(HEARTBEAT_TOPIC, client.format(namespace=namespace), beat) is None


def test_the_rule_feeds_the_queue_that_feeds_the_function(walk: Walk) -> None:
    ((queue_id, queue),) = (
        (id_, one) for id_, one in of_type(walk.template, "AWS::SQS::Queue").items() if "RedrivePolicy" in one
    )
    (action,) = walk.payload["Actions"]
    assert action["Sqs"]["QueueUrl"] == {"Ref": queue_id}
    assert action["Sqs"]["UseBase64"] is False
    (mapping,) = of_type(walk.template, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": [queue_id, "Arn"]}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    function = walk.template["Resources"][mapping["FunctionName"]["Ref"]]["Properties"]
    assert function["Handler"] == "edge_constructs.heartbeat_handler.on_messages"
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]
    # What the function gives up on is what the last alarm watches.
    (undelivered,) = queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][:1]
    alarm = walk.alarm("undelivered-heartbeats", walk.groups[0])
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": [undelivered, "QueueName"]}}]
    for id_ in (queue_id, undelivered):
        assert walk.template["Resources"][id_]["Properties"]["SqsManagedSseEnabled"] is True
    refused = [
        statement["Condition"]
        for policy in of_type(walk.template, "AWS::SQS::QueuePolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
    ]
    assert refused == [{"Bool": {"aws:SecureTransport": "false"}}] * 2


def test_every_metric_of_the_dashboard_is_one_that_is_put(walk: Walk) -> None:
    (dashboard,) = of_type(walk.template, "AWS::CloudWatch::Dashboard").values()
    text = json.dumps(dashboard["DashboardBody"])
    names = set(re.findall(r'MetricName=\\+"(\w+)', text))
    names |= set(re.findall(rf'\\+"EdgeManager/{walk.environment.namespace}\\+",\\+"(\w+)', text))
    assert names - {*GROUP_METRICS, *CENSUS_METRICS, REFUSED, SLOWEST} == set()
    assert {"Heartbeats", "SilentDevices", "Predictions", "LoadFailuresIntegrity"} <= names


def test_the_census_counts_the_groups_that_there_are_every_five_minutes(walk: Walk) -> None:
    groups = {one["ThingGroupName"] for one in of_type(walk.fleet_template, "AWS::IoT::ThingGroup").values()}
    assert set(walk.variables("census_handler.on_schedule")["THING_GROUPS"].split()) == groups
    (rule,) = of_type(walk.template, "AWS::Events::Rule").values()
    assert rule["ScheduleExpression"] == "rate(5 minutes)"


def test_packaging_says_what_is_declared_where_the_functions_read_it(walk: Walk) -> None:
    models = walk.models_template
    parameters = {one["Name"]: one["Value"] for one in of_type(models, "AWS::SSM::Parameter").values()}
    for handler in ("heartbeat_handler.on_messages", "census_handler.on_schedule"):
        variables = walk.variables(handler)
        assert {variables["DECLARED_MODELS"] + name for name in variables["MODELS"].split()} == set(parameters)
    for value in parameters.values():
        text, jobs = _joined(value)
        assert set(json.loads(text)) == {"ModelDigest", "ModelVersion"}
        assert all(models["Resources"][job]["Type"] == "Custom::EdgePackagingJob" for job in jobs)


def _joined(value: Mapping[str, Any]) -> tuple[str, list[str]]:
    parts = value["Fn::Join"][1]
    return "".join(p if isinstance(p, str) else "x" for p in parts), [
        p["Fn::GetAtt"][0] for p in parts if not isinstance(p, str)
    ]


def test_a_release_changes_nothing_here(monitoring: Template) -> None:
    text = json.dumps(monitoring)
    assert "96c1e2c3" not in text, "a model's digest"
    assert "ImportValue" not in text


ROLES = {"intake": "HeartbeatsHandlerRole", "census": "CensusHandlerRole", "rule": "HeartbeatsRuleRole"}


def role(template: Template, who: str) -> str:
    (found,) = (id_ for id_ in of_type(template, "AWS::IAM::Role") if id_.startswith(ROLES[who]))
    return found


TABLE_OF = "<HeartbeatsTableFFB59E43.Arn>"
DECLARED = "arn:<AWS::Partition>:ssm:us-east-1:111122223333:parameter/edge-manager/dev/models/digits"
GROUP = "arn:<AWS::Partition>:iot:us-east-1:111122223333:thinggroup/dev-fleet"


@pytest.mark.parametrize(
    ("who", "action", "resource"),
    [
        ("intake", "dynamodb:BatchGetItem", TABLE_OF),
        ("intake", "dynamodb:PutItem", TABLE_OF),
        ("intake", "ssm:GetParameterHistory", DECLARED),
        ("census", "dynamodb:Scan", TABLE_OF),
        ("census", "dynamodb:PutItem", TABLE_OF),
        ("census", "dynamodb:DeleteItem", TABLE_OF),
        ("census", "iot:ListThingsInThingGroup", GROUP),
        ("census", "ssm:GetParameterHistory", DECLARED),
        ("rule", "sqs:SendMessage", "<HeartbeatsQueueD81ADA2B.Arn>"),
    ],
)
def test_a_role_can(who: str, action: str, resource: str, monitoring: Template, allows: Any) -> None:
    resource = resource.replace("<AWS::Partition>", "aws")
    assert allows(monitoring, role(monitoring, who), action, resource)


@pytest.mark.parametrize(
    ("who", "action", "resource"),
    [
        ("intake", "dynamodb:Scan", TABLE_OF),
        ("intake", "dynamodb:DeleteItem", TABLE_OF),
        ("intake", "dynamodb:PutItem", "arn:aws:dynamodb:us-east-1:111122223333:table/prod-heartbeats"),
        ("intake", "sqs:SendMessage", "<HeartbeatsQueueD81ADA2B.Arn>"),
        ("intake", "sqs:ReceiveMessage", "<HeartbeatsUndelivered5A530207.Arn>"),
        ("intake", "iot:Publish", "*"),
        ("intake", "ssm:PutParameter", DECLARED),
        ("intake", "ssm:GetParameterHistory", DECLARED.replace("/dev/", "/prod/")),
        ("intake", "cloudwatch:PutMetricData", "*"),  # without the namespace
        ("census", "cloudwatch:PutMetricData", "*"),
        ("census", "iot:ListThingsInThingGroup", GROUP.replace("dev-fleet", "prod-fleet")),
        ("census", "iot:DeleteThing", "*"),
        ("census", "ssm:PutParameter", DECLARED),
        ("rule", "sqs:ReceiveMessage", "<HeartbeatsQueueD81ADA2B.Arn>"),
        ("rule", "sqs:SendMessage", "<HeartbeatsUndelivered5A530207.Arn>"),
    ],
)
def test_a_role_cannot(who: str, action: str, resource: str, monitoring: Template, allows: Any) -> None:
    resource = resource.replace("<AWS::Partition>", "aws")
    assert not allows(monitoring, role(monitoring, who), action, resource)


def test_metrics_are_put_into_the_environments_namespace_alone(monitoring: Template) -> None:
    statements = [
        statement
        for policy in of_type(monitoring, "AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Action"] == "cloudwatch:PutMetricData"
    ]
    assert [statement["Condition"] for statement in statements] == [
        {"StringEquals": {"cloudwatch:namespace": "EdgeManager/dev"}}
    ] * 2


def test_every_alarm_has_its_page_and_every_page_its_alarm(
    templates_of: Callable[[str], dict[str, Template]],
) -> None:
    described = [
        alarm["AlarmDescription"]
        for environment in ("dev", "staging", "prod")
        for alarm in of_type(templates_of(environment)["Monitoring"], "AWS::CloudWatch::Alarm").values()
    ]
    named = {text.rpartition(" ")[2] for text in described}
    assert named == {path.relative_to(ROOT).as_posix() for path in RUNBOOKS.glob("*.md") if path.stem != "README"}


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("[!R]*.md")), ids=lambda path: path.stem)
def test_a_page_tells_what_to_do(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["What it means", "How to see it", "Likely causes", "What to do", "How to know that it is over"]
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    assert f"({path.name})" in index
    known = {*GROUP_METRICS, *CENSUS_METRICS, REFUSED, SLOWEST, *DEFAULTS, "Agent", "AgentMetrics", "SignedBy"}
    assert set(re.findall(r"`([A-Z][A-Za-z]+)`", text)) <= known, "a metric or parameter that is no more"
    settings = set(TypeAdapter(Alarms).json_schema()["properties"])
    assert set(re.findall(r"`alarms\.(\w+)`", text)) <= settings


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"alarms.silent_minutes": "5", "heartbeat.period_seconds": "300"}, "alarms.silent_minutes: at least two"),
        ({"alarms.window_minutes": "5", "heartbeat.period_seconds": "300"}, "alarms.window_minutes: at least two"),
        ({"alarms.silent_minutes": "1"}, "alarms.silent_minutes: should be greater than or equal to 5"),
        ({"alarms.window_minutes": "7"}, "multiple of 5"),
        ({"alarms.error_percentage": "100"}, "less than 100"),
        ({"alarms.latency_milliseconds": "0"}, "greater than 0"),
    ],
)
def test_an_alarm_that_cannot_work_is_refused(overrides: dict[str, str], expected: str) -> None:
    with pytest.raises(EnvironmentFileError, match=expected):
        load_environment(ENVIRONMENTS / "dev.toml", overrides=overrides, variables={})


def test_a_former_digest_is_good_for_as_long_as_a_release_may_take(walk: Walk) -> None:
    overrides = {
        "devices": json.dumps([f"device-{number}" for number in range(100)]),
        "rollout.maximum_per_minute": "7",
        "rollout.in_progress_minutes": "20",
        "verification.wait_minutes": "10",
    }
    environment = load_environment(ENVIRONMENTS / "dev.toml", overrides=overrides, variables={})
    assert environment.longest_rollout_minutes == 15 + 2 * 20 + 10
    seconds = walk.environment.longest_rollout_minutes * 60
    assert walk.variables("census_handler.on_schedule")["ROLLOUT_SECONDS"] == str(seconds)

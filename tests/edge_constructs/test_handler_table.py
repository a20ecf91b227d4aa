# SPDX-License-Identifier: Apache-2.0
"""Every handler in every situation of a custom resource's life, driven as the provider framework drives it.

The table has a cell for each handler, request and situation: what comes of it, or why there is no such case. A run
that does not end within a few polls fails: nothing may leave CloudFormation waiting.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from edge_constructs import (
    group_membership_handler,
    packaging_job_handler,
    published_artifact_handler,
    signing_key_handler,
)
from edge_constructs.handler_kernel import ResourceError

HANDLERS = ("packaging", "compilation", "sagemaker packaging", "membership", "artifact", "signing keys")
REQUESTS = ("Create", "Update", "Delete")
SITUATIONS = (
    "success",
    "in progress",
    "failed",
    "preset failed",
    "duplicate",
    "throttled",
    "not found",
    "retired",
    "time-out",
    "rollback",
    "failed create",
    "replayed",
)
ASYNCHRONOUS = ("compilation", "sagemaker packaging")
POLLS = 5
FAILED_CREATE = "AWSCDK::CustomResourceProviderFramework::CREATE_FAILED"
RETIRED = "We are retiring Amazon Sagemaker Edge on April 26th, 2024"
OK = "ok"

# There is no such case, and why.
NONE: Mapping[tuple[str, str], str] = {
    **{(h, "in progress"): "the work is done when on_event returns" for h in HANDLERS if h not in ASYNCHRONOUS},
    **{(h, "preset failed"): "no preset deployment" for h in HANDLERS if h != "sagemaker packaging"},
    **{(h, "retired"): "no call to a service that is retired" for h in HANDLERS if h not in ASYNCHRONOUS},
    ("membership", "time-out"): "one call, which boto3 bounds",
    ("signing keys", "time-out"): "one call for each of a few keys, which boto3 bounds",
}
# What comes of Create and Update; Delete ends well but for the cells below.
OUTCOMES: Mapping[tuple[str, str], str] = {
    ("packaging", "failed"): "cannot be packaged",
    ("packaging", "duplicate"): "packages are never overwritten",
    ("packaging", "throttled"): "SlowDown",
    ("packaging", "not found"): "a model source is expected, there is none",
    ("packaging", "time-out"): "not done within the handler's time",
    **{(h, "failed"): r"is FAILED: no such operator" for h in ASYNCHRONOUS},
    ("sagemaker packaging", "preset failed"): r"dev\.model 1\.0\.0 exists already.*make lock",
    **{(h, "duplicate"): "exists with other properties" for h in ASYNCHRONOUS},
    **{(h, "throttled"): "ThrottlingException" for h in ASYNCHRONOUS},
    **{(h, "not found"): "is gone: was it deleted" for h in ASYNCHRONOUS},
    **{(h, "retired"): r'26 April 2024.*edge_manager = "open"' for h in ASYNCHRONOUS},
    **{(h, "time-out"): "still INPROGRESS after 1800 seconds: it was stopped" for h in ASYNCHRONOUS},
    ("membership", "failed"): "InvalidRequestException",
    ("membership", "duplicate"): OK,
    ("membership", "throttled"): "ThrottlingException",
    ("membership", "not found"): "ResourceNotFoundException",
    ("artifact", "failed"): "the asset changed; deploy again",
    ("artifact", "duplicate"): "artifacts are never overwritten",
    ("artifact", "throttled"): "SlowDown",
    ("artifact", "not found"): "NoSuchKey",
    ("artifact", "time-out"): "not done within the handler's time",
    ("signing keys", "failed"): "a key ECC_NIST_P256 for SIGN_VERIFY is expected",
    ("signing keys", "duplicate"): OK,
    ("signing keys", "throttled"): "ThrottlingException",
    ("signing keys", "not found"): "NotFoundException",
    **{(h, "success"): OK for h in HANDLERS},
    **{(h, "replayed"): OK for h in HANDLERS},
    **{(h, "in progress"): OK for h in ASYNCHRONOUS},
}
DELETE_FAILS: Mapping[tuple[str, str], str] = {
    **{(h, "throttled"): "ThrottlingException" for h in (*ASYNCHRONOUS, "membership")},
    ("membership", "failed"): "InvalidRequestException",
}


def _zip(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@dataclasses.dataclass
class Resource:
    """A handler's entry points on services in memory.

    `change` are the properties of an update; `arrange` brings a situation about; `state` is all that the services keep;
    `progress` is what happens between two polls.
    """

    module: Any
    properties: Mapping[str, Any]
    change: Mapping[str, Any]
    arrange: Callable[[str], None]
    state: Callable[[], Any]
    progress: Callable[[str], None] = lambda _physical_id: None
    context: Any = None

    def run(
        self, type_: str, physical_id: str | None = None, old: Mapping[str, Any] | None = None, **changes: Any
    ) -> str:
        """One request to its end, as the framework: on_event, then polls; returns the physical id."""
        event: dict[str, Any] = {
            "RequestType": type_,
            "LogicalResourceId": "Resource",
            "ResourceProperties": {"ServiceToken": "arn", **self.properties, **changes},
            **({"PhysicalResourceId": physical_id} if physical_id else {}),
            **({"OldResourceProperties": dict(old)} if old is not None else {}),
        }
        answer = self.module.on_event(event, self.context)
        json.dumps(answer)
        id_ = str(answer["PhysicalResourceId"])
        if not hasattr(self.module, "is_complete"):
            return id_
        for _ in range(POLLS):
            if self.module.is_complete({**event, "PhysicalResourceId": id_}, self.context)["IsComplete"]:
                return id_
            self.progress(id_)
        raise AssertionError("CloudFormation would still be waiting")


@dataclasses.dataclass(frozen=True)
class World:
    """The services in memory, and what puts handlers on them."""

    bucket: Any
    kms: Any
    make_client: Any
    make_case: Any
    service_error: Any
    patch: pytest.MonkeyPatch

    def raises(self, code: str, status: int) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """An operation that answers with an error."""

        def operation(_asked: Mapping[str, Any]) -> dict[str, Any]:
            raise self.service_error(code, status, "Rate exceeded")

        return operation


def out_of_time(resource: Resource) -> None:
    resource.context = SimpleNamespace(get_remaining_time_in_millis=lambda: 0)


def of_bucket(world: World, handler: Any, resource: Resource, situation: str) -> None:
    """The situations that every handler of objects meets alike."""
    if situation == "throttled":
        world.patch.setattr(world.bucket, "_get", world.raises("SlowDown", 503))
        world.patch.setattr(handler, "_s3", world.bucket.client)
    elif situation == "not found":
        world.bucket.objects.clear()
    elif situation == "time-out":
        out_of_time(resource)


def packaging(world: World) -> Resource:
    bucket, kms, monkeypatch = world.bucket, world.kms, world.patch
    kms.add("alias/k")
    for name in ("one", "two"):
        bucket.objects[f"assets/{name}.zip"] = _zip({"model.onnx": name.encode()})
    job = packaging_job_handler.EdgePackagingJob(bucket.client, kms.client)
    monkeypatch.setattr(packaging_job_handler, "_handler", lambda: job)

    def arrange(situation: str) -> None:
        if situation == "failed":
            bucket.objects |= {f"assets/{name}.zip": b"no zip" for name in ("one", "two")}
        elif situation == "duplicate":
            bucket.objects |= {f"artifacts/{name}.tar.gz": b"another's" for name in ("one", "two")}
        else:
            of_bucket(world, job, resource, situation)

    resource = Resource(
        packaging_job_handler,
        {
            "EdgePackagingJobName": "digits-1-0",
            "ModelName": "digits",
            "ModelVersion": "1.0",
            "ModelSource": "s3://assets/one.zip",
            "ModelArtifact": "s3://artifacts/one.tar.gz",
            "SigningKeys": ["alias/k"],
        },
        {"ModelSource": "s3://assets/two.zip", "ModelArtifact": "s3://artifacts/two.tar.gz"},
        arrange,
        lambda: (dict(bucket.objects), dict(bucket.uploads)),
    )
    return resource


def artifact(world: World) -> Resource:
    bucket, monkeypatch = world.bucket, world.patch
    contents = {"one": b"one" * 1000, "two": b"two" * 1000}
    bucket.objects |= {f"assets/{name}.zip": content for name, content in contents.items()}
    handler = published_artifact_handler.PublishedArtifact(bucket.client)
    monkeypatch.setattr(published_artifact_handler, "_handler", lambda: handler)

    def of(name: str) -> dict[str, str]:
        sha256 = hashlib.sha256(contents[name]).hexdigest()
        return {"SourceKey": f"{name}.zip", "TargetKey": f"components/{name}.zip", "Sha256": sha256}

    def arrange(situation: str) -> None:
        if situation == "failed":
            bucket.objects |= {f"assets/{name}.zip": b"changed" for name in contents}
        elif situation == "duplicate":
            bucket.objects |= {f"artifacts/components/{name}.zip": b"another's" for name in contents}
        else:
            of_bucket(world, handler, resource, situation)

    fixed = {"SourceBucket": "assets", "TargetBucket": "artifacts"}
    module = published_artifact_handler
    resource = Resource(module, {**fixed, **of("one")}, of("two"), arrange, lambda: dict(bucket.objects))
    return resource


def membership(world: World) -> Resource:
    service_error, monkeypatch = world.service_error, world.patch
    members: set[tuple[str, str]] = set()
    errors: list[tuple[str, int]] = []

    def add(asked: Mapping[str, Any]) -> dict[str, Any]:
        if errors:
            raise service_error(*errors[0])
        members.add((asked["thingGroupName"], asked["thingName"]))
        return {}

    def remove(asked: Mapping[str, Any]) -> dict[str, Any]:
        if errors:
            raise service_error(*errors[0])
        members.discard((asked["thingGroupName"], asked["thingName"]))
        return {}

    def arrange(situation: str) -> None:
        codes = {
            "failed": ("InvalidRequestException", 400),
            "throttled": ("ThrottlingException", 429),
            "not found": ("ResourceNotFoundException", 404),
        }
        if situation in codes:
            errors.append(codes[situation])
        elif situation == "duplicate":
            members.update({("fleet", "device-1"), ("fleet", "device-2")})

    client = world.make_client("iot", {"AddThingToThingGroup": add, "RemoveThingFromThingGroup": remove})
    handler = group_membership_handler.GroupMembership(client)
    monkeypatch.setattr(group_membership_handler, "_handler", lambda: handler)
    properties = {"ThingGroupName": "fleet", "ThingName": "device-1"}
    change = {"ThingName": "device-2"}
    return Resource(group_membership_handler, properties, change, arrange, lambda: set(members))


def signing_keys(world: World) -> Resource:
    kms, monkeypatch = world.kms, world.patch
    for name in ("one", "two"):
        kms.add(f"alias/{name}")
    handler = signing_key_handler.SigningKeys(kms.client)
    monkeypatch.setattr(signing_key_handler, "_handler", lambda: handler)

    def arrange(situation: str) -> None:
        if situation == "failed":
            monkeypatch.setattr(kms, "_public", lambda _a: {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"})
            monkeypatch.setattr(handler, "_kms", kms.client)
        elif situation == "throttled":
            monkeypatch.setattr(kms, "_public", world.raises("ThrottlingException", 400))
            monkeypatch.setattr(handler, "_kms", kms.client)
        elif situation == "not found":
            kms.keys.clear()
        elif situation == "duplicate":
            kms.keys["alias/two"] = kms.keys["alias/one"]

    properties, change = {"SigningKeys": ["alias/one"]}, {"SigningKeys": ["alias/two", "alias/one"]}
    return Resource(signing_key_handler, properties, change, arrange, lambda: sorted(kms.signed))


def job(world: World, kind: str) -> Resource:
    case = world.make_case(kind)
    calls = [f"Create{kind}Job", f"Describe{kind}Job"]
    reason = "FailureReason" if kind == "Compilation" else "EdgePackagingJobStatusMessage"
    polls = itertools.count(1)

    def fail(*error: Any) -> None:
        case.jobs.errors |= {call: [error] * 9 for call in calls}

    def taken() -> None:
        other = {"InputConfig": {**case.properties.get("InputConfig", {}), "S3Uri": "s3://b/x.tar.gz"}}
        found = case.jobs.jobs.pop(resource.run("Create"))
        case.jobs.stranger = {**found, **(other if kind == "Compilation" else {"ModelVersion": "9.9"})}

    def later(name: str) -> None:
        case.jobs.jobs[name][case.status] = "INPROGRESS"
        case.jobs.minutes += 16

    refused = {"Type": "GreengrassV2Component", "Status": "FAILED", "StatusMessage": "already exists"}
    progress: dict[str, Callable[[str], None]] = {
        "failed": lambda name: case.end(name, "FAILED", **{reason: "no such operator"}),
        "preset failed": lambda name: case.end(name, PresetDeploymentOutput=refused),
        "not found": lambda _name: case.jobs.jobs.clear(),
        "time-out": later,
        "in progress": lambda name: case.end(name) if next(polls) == POLLS - 1 else None,
    }
    at_once: dict[str, Callable[[], None]] = {
        "duplicate": taken,
        "throttled": lambda: fail("ThrottlingException", 400, "slow"),
        "retired": lambda: fail("ValidationException", 400, RETIRED),
    }

    def arrange(situation: str) -> None:
        at_once.get(situation, lambda: None)()
        resource.progress = progress.get(situation, case.end)

    resource = Resource(
        case.module,
        case.properties,
        {"JobName": "dev-digits-2-0"},
        arrange,
        lambda: {name: found[case.status] for name, found in case.jobs.jobs.items()},
        case.end,
    )
    return resource


MAKERS: Mapping[str, Callable[[World], Resource]] = {
    "packaging": packaging,
    "artifact": artifact,
    "membership": membership,
    "signing keys": signing_keys,
    "compilation": lambda world: job(world, "Compilation"),
    "sagemaker packaging": lambda world: job(world, "EdgePackaging"),
}


@pytest.fixture
def make_resource(request: pytest.FixtureRequest) -> Callable[[str], Resource]:
    names = ("bucket", "kms", "make_client", "make_case", "service_error", "monkeypatch")
    world = World(*(request.getfixturevalue(name) for name in names))
    return lambda handler: MAKERS[handler](world)


def cells() -> list[Any]:
    """Every cell of the table that there is a case of."""
    return [
        pytest.param(handler, request, situation, id=f"{handler}-{request}-{situation}")
        for handler, request, situation in itertools.product(HANDLERS, REQUESTS, SITUATIONS)
        if situation not in {"rollback", "failed create"} and (handler, situation) not in NONE
    ]


def test_the_table_has_no_hole() -> None:
    for handler, situation in itertools.product(HANDLERS, SITUATIONS):
        told = [
            (handler, situation) in NONE,
            (handler, situation) in OUTCOMES,
            situation in {"rollback", "failed create"},
        ]
        assert told.count(True) == 1, (handler, situation)


@pytest.mark.parametrize(("handler", "request_type", "situation"), cells())
def test_a_request_ends_as_the_table_says(
    handler: str, request_type: str, situation: str, make_resource: Callable[[str], Resource]
) -> None:
    resource = make_resource(handler)
    outcome = OUTCOMES[handler, situation]
    if request_type == "Delete":
        outcome = DELETE_FAILS.get((handler, situation), OK)
    physical_id = None if request_type == "Create" else resource.run("Create")
    changes = resource.change if request_type == "Update" else {}
    resource.arrange(situation)

    def run() -> str:
        return resource.run(request_type, physical_id, resource.properties, **changes)

    if outcome != OK:
        with pytest.raises((ResourceError, ClientError), match=outcome) as failure:
            run()
        assert len(str(failure.value)) < 4096, "CloudFormation takes no longer answer"
        return
    answered = run()
    if situation == "replayed":
        before = resource.state()
        assert run() == answered
        assert resource.state() == before
    if request_type == "Update":
        assert answered != physical_id, "other properties are another resource"


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_rollback_to_the_old_properties_finds_what_they_stood_for(
    handler: str, make_resource: Callable[[str], Resource]
) -> None:
    resource = make_resource(handler)
    first = resource.run("Create")
    kept = resource.state()
    updated = {**resource.properties, **resource.change}
    second = resource.run("Update", first, resource.properties, **resource.change)
    assert resource.run("Update", second, updated) == first
    # CloudFormation deletes what the rolled back update had made, with its properties.
    resource.run("Delete", second, **resource.change)
    after = resource.state()
    if isinstance(after, tuple):
        after, kept = after[0], kept[0]
    assert all(after[key] == kept[key] for key in kept) if isinstance(kept, dict) else after == kept


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("situation", ["failed", "throttled", "not found"])
def test_what_a_failed_create_left_is_deleted(
    handler: str, situation: str, make_resource: Callable[[str], Resource]
) -> None:
    resource = make_resource(handler)
    before = resource.state()
    resource.arrange(situation)
    with pytest.raises((ResourceError, ClientError)):
        resource.run("Create")
    resource.run("Delete", FAILED_CREATE)
    if handler == "membership":
        assert resource.state() == before

# SPDX-License-Identifier: Apache-2.0
"""The Greengrass API and the devices' reports, through boto3 as its users see them."""

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from local.aws.server import EmbeddedAws

CONTENT = b"print('hello')\n"
_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"com.example.Component{next(_numbers)}"


@pytest.fixture
def greengrass(aws: EmbeddedAws) -> Any:
    return aws.client("greengrassv2")


@pytest.fixture
def artifact(aws: EmbeddedAws, name: str) -> str:
    """URI of an object in the local S3."""
    s3 = aws.client("s3")
    bucket = name.lower().replace("com.example.", "artifacts-")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="components/hello.zip", Body=CONTENT)
    return f"s3://{bucket}/components/hello.zip"


@pytest.fixture
def fleet(aws: EmbeddedAws, name: str) -> Iterator[str]:
    """A thing that is in a group; both have the test's name."""
    iot = aws.client("iot")
    thing = name.rpartition(".")[2]
    iot.create_thing(thingName=thing)
    iot.create_thing_group(thingGroupName=thing)
    iot.add_thing_to_thing_group(thingName=thing, thingGroupName=thing)
    yield thing
    iot.delete_thing(thingName=thing)


def recipe(name: str, version: str = "1.0.0", *uris: str, **more: Any) -> bytes:
    manifest = {
        "Platform": {"os": "linux", "runtime": "*"},
        "Lifecycle": {"run": "true"},
        "Artifacts": [{"Uri": uri, "Unarchive": "ZIP"} for uri in uris],
    }
    if not uris:
        del manifest["Artifacts"]
    document = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "Manifests": [manifest],
        **more,
    }
    return json.dumps(document).encode()


def group_arn(aws: EmbeddedAws, group: str) -> str:
    return f"arn:aws:iot:{aws.region}:{aws.account}:thinggroup/{group}"


def publish(aws: EmbeddedAws, topic: str, message: object) -> None:
    aws.client("iot-data").publish(topic=topic, qos=1, payload=json.dumps(message).encode())


def health(thing: str, **changes: Any) -> dict[str, Any]:
    message = {
        "thing": thing,
        "ggcVersion": "2.14.0",
        "platform": "linux",
        "architecture": "amd64",
        "sequenceNumber": 1,
        "overallDeviceStatus": "HEALTHY",
        "components": [
            {"componentName": "com.example.Root", "componentVersion": "1.0.0", "status": "RUNNING", "isRoot": True},
            {"componentName": "com.example.Needed", "componentVersion": "2.0.0", "status": "FINISHED"},
        ],
    }
    return {**message, **changes}


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


class TestComponents:
    def test_a_version_is_stored_with_the_digest_of_its_artifacts(
        self, greengrass: Any, name: str, artifact: str
    ) -> None:
        created = greengrass.create_component_version(inlineRecipe=recipe(name, "1.0.0", artifact), tags={"a": "b"})
        assert created["arn"].endswith(f":components:{name}:versions:1.0.0")
        assert greengrass.describe_component(arn=created["arn"])["status"]["componentState"] == "DEPLOYABLE"
        answer = greengrass.get_component(arn=created["arn"])
        stored = json.loads(answer["recipe"])
        digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
        expected = {"Uri": artifact, "Unarchive": "ZIP", "Digest": digest, "Algorithm": "SHA-256"}
        assert stored["Manifests"][0]["Artifacts"] == [expected]
        assert answer["tags"] == {"a": "b"}

    def test_an_existing_version_is_a_conflict(self, greengrass: Any, name: str) -> None:
        greengrass.create_component_version(inlineRecipe=recipe(name))
        with pytest.raises(
            greengrass.exceptions.ConflictException, match=f"{name} already has a version 1.0.0"
        ) as error:
            greengrass.create_component_version(inlineRecipe=recipe(name))
        assert code_of(error) == ("ConflictException", 409)

    def test_a_missing_artifact_is_named(self, greengrass: Any, name: str, artifact: str) -> None:
        missing = artifact + ".missing"
        with pytest.raises(greengrass.exceptions.ValidationException, match=missing):
            greengrass.create_component_version(inlineRecipe=recipe(name, "1.0.0", artifact, missing))
        with pytest.raises(greengrass.exceptions.ResourceNotFoundException):
            greengrass.list_component_versions(arn=f"arn:aws:greengrass:us-east-1:111122223333:components:{name}")

    @pytest.mark.parametrize(
        ("document", "message"),
        [
            (b"{", "not JSON"),
            (b"[]", "expected an object"),
            (recipe("a", "1"), "ComponentVersion of the recipe is '1'"),
            (recipe("a b"), "ComponentName of the recipe is 'a b'"),
            (recipe("a", RecipeFormatVersion="2"), "RecipeFormatVersion of the recipe is '2'"),
            (recipe("a", Manifests=[]), "a list of at least one manifest"),
            (recipe("a", "1.0.0", "https://example.com/a"), "not of the form s3://bucket/key"),
            (recipe("a", ComponentDescription="x" * 16_000), "at most 16000 are allowed"),
        ],
    )
    def test_a_recipe_that_is_none_is_refused(self, greengrass: Any, document: bytes, message: str) -> None:
        with pytest.raises(greengrass.exceptions.ValidationException, match=message):
            greengrass.create_component_version(inlineRecipe=document)

    def test_versions_are_listed_newest_first_and_deleted(self, greengrass: Any, name: str) -> None:
        for version in ("1.0.0", "1.1.0"):
            greengrass.create_component_version(inlineRecipe=recipe(name, version))
        components = {item["componentName"]: item for item in greengrass.list_components()["components"]}
        assert components[name]["latestVersion"]["componentVersion"] == "1.1.0"
        versions = greengrass.list_component_versions(arn=components[name]["arn"])["componentVersions"]
        assert [version["componentVersion"] for version in versions] == ["1.1.0", "1.0.0"]
        greengrass.delete_component(arn=versions[0]["arn"])
        with pytest.raises(greengrass.exceptions.ResourceNotFoundException, match=r"1\.1\.0"):
            greengrass.get_component(arn=versions[0]["arn"])


class TestDeployments:
    def deploy(self, aws: EmbeddedAws, fleet: str, name: str, version: str = "1.0.0", **more: Any) -> str:
        greengrass = aws.client("greengrassv2")
        if not any(item["componentName"] == name for item in greengrass.list_components()["components"]):
            greengrass.create_component_version(inlineRecipe=recipe(name, version))
        components = {
            name: {"componentVersion": version, **more},
            "aws.greengrass.Nucleus": {"componentVersion": "2.14.0"},
        }
        answer = greengrass.create_deployment(
            targetArn=group_arn(aws, fleet), deploymentName="test", components=components
        )
        return str(answer["deploymentId"])

    def effective(self, aws: EmbeddedAws, thing: str) -> list[dict[str, Any]]:
        answer = aws.client("greengrassv2").list_effective_deployments(coreDeviceThingName=thing)
        found: list[dict[str, Any]] = answer["effectiveDeployments"]
        return found

    def report(self, aws: EmbeddedAws, thing: str, status: str, **details: str) -> None:
        job = self.effective(aws, thing)[0]["iotJobId"]
        publish(aws, f"$aws/things/{thing}/jobs/{job}/update", {"status": status, "statusDetails": details})

    def test_is_complete_when_the_device_says_so(self, aws: EmbeddedAws, fleet: str, name: str) -> None:
        greengrass = aws.client("greengrassv2")
        deployment = self.deploy(aws, fleet, name, configurationUpdate={"merge": '{"a": 1}'})
        assert self.effective(aws, fleet)[0]["coreDeviceExecutionStatus"] == "QUEUED"
        self.report(aws, fleet, "IN_PROGRESS")
        assert greengrass.get_deployment(deploymentId=deployment)["deploymentStatus"] == "ACTIVE"
        self.report(aws, fleet, "SUCCEEDED")
        found = greengrass.get_deployment(deploymentId=deployment)
        assert found["deploymentStatus"] == "COMPLETED"
        assert found["components"][name]["configurationUpdate"] == {"merge": '{"a": 1}'}
        assert self.effective(aws, fleet)[0]["coreDeviceExecutionStatus"] == "SUCCEEDED"

    def test_waits_for_every_device_of_the_group(self, aws: EmbeddedAws, fleet: str, name: str) -> None:
        deployment = self.deploy(aws, fleet, name)
        self.report(aws, fleet, "SUCCEEDED")
        second = f"{fleet}-second"
        iot, greengrass = aws.client("iot"), aws.client("greengrassv2")
        iot.create_thing(thingName=second)
        iot.add_thing_to_thing_group(thingName=second, thingGroupName=fleet)
        assert greengrass.get_deployment(deploymentId=deployment)["deploymentStatus"] == "ACTIVE"
        self.report(aws, second, "SUCCEEDED")
        assert greengrass.get_deployment(deploymentId=deployment)["deploymentStatus"] == "COMPLETED"

    def test_fails_with_the_devices_reason(self, aws: EmbeddedAws, fleet: str, name: str) -> None:
        deployment = self.deploy(aws, fleet, name)
        details = {
            "deployment-failure-cause": "digest differs",
            "deployment-error-stack": "[DEPLOYMENT_FAILURE, ARTIFACT_CHECKSUM_MISMATCH]",
            "deployment-error-types": "[COMPONENT_ERROR]",
        }
        self.report(aws, fleet, "FAILED", **details)
        execution = self.effective(aws, fleet)[0]
        assert execution["coreDeviceExecutionStatus"] == "FAILED"
        assert execution["reason"] == "digest differs"
        assert execution["statusDetails"] == {
            "errorStack": ["DEPLOYMENT_FAILURE", "ARTIFACT_CHECKSUM_MISMATCH"],
            "errorTypes": ["COMPONENT_ERROR"],
        }
        assert aws.client("greengrassv2").get_deployment(deploymentId=deployment)["deploymentStatus"] == "FAILED"

    def test_a_finished_execution_does_not_change(self, aws: EmbeddedAws, fleet: str, name: str) -> None:
        self.deploy(aws, fleet, name)
        self.report(aws, fleet, "SUCCEEDED")
        with pytest.raises(ClientError, match="SUCCEEDED already") as error:
            self.report(aws, fleet, "IN_PROGRESS")
        assert code_of(error) == ("InvalidStateTransitionException", 409)

    def test_a_status_that_devices_cannot_give_is_refused(self, aws: EmbeddedAws, fleet: str, name: str) -> None:
        self.deploy(aws, fleet, name)
        with pytest.raises(ClientError, match="'COMPLETED', expected one of FAILED, IN_PROGRESS"):
            self.report(aws, fleet, "COMPLETED")

    def test_a_job_that_is_not_greengrasss_stays_ministacks_to_answer(self, aws: EmbeddedAws, fleet: str) -> None:
        with pytest.raises(ClientError, match="restricted topic"):
            publish(aws, f"$aws/things/{fleet}/jobs/none/update", {"status": "SUCCEEDED"})

    def test_a_new_revision_supersedes_the_one_before(self, aws: EmbeddedAws, fleet: str, name: str) -> None:
        greengrass = aws.client("greengrassv2")
        first, second = self.deploy(aws, fleet, name), self.deploy(aws, fleet, name)
        assert [item["deploymentId"] for item in self.effective(aws, fleet)] == [second]
        assert greengrass.get_deployment(deploymentId=first)["deploymentStatus"] == "INACTIVE"
        listed = greengrass.list_deployments(targetArn=group_arn(aws, fleet))["deployments"]
        assert [(item["deploymentId"], item["revisionId"]) for item in listed] == [(second, "2")]
        everything = greengrass.list_deployments(targetArn=group_arn(aws, fleet), historyFilter="ALL")["deployments"]
        assert [item["isLatestForTarget"] for item in everything] == [True, False]

    def test_is_cancelled_before_it_is_deleted(self, aws: EmbeddedAws, fleet: str, name: str) -> None:
        greengrass = aws.client("greengrassv2")
        deployment = self.deploy(aws, fleet, name)
        with pytest.raises(greengrass.exceptions.ConflictException, match="cancel it before"):
            greengrass.delete_deployment(deploymentId=deployment)
        greengrass.cancel_deployment(deploymentId=deployment)
        assert self.effective(aws, fleet)[0]["coreDeviceExecutionStatus"] == "CANCELED"
        with pytest.raises(greengrass.exceptions.ConflictException, match="only ACTIVE"):
            greengrass.cancel_deployment(deploymentId=deployment)
        greengrass.delete_deployment(deploymentId=deployment)
        assert self.effective(aws, fleet) == []

    def test_an_unknown_component_version_or_target_is_refused(self, aws: EmbeddedAws, fleet: str, name: str) -> None:
        greengrass = aws.client("greengrassv2")
        unknown = {name: {"componentVersion": "9.9.9"}}
        with pytest.raises(greengrass.exceptions.ResourceNotFoundException, match=f"{name}:9.9.9"):
            greengrass.create_deployment(targetArn=group_arn(aws, fleet), components=unknown)
        for target in (group_arn(aws, "none"), group_arn(aws, fleet).replace(aws.region, "eu-west-1")):
            with pytest.raises(greengrass.exceptions.ResourceNotFoundException, match=target):
                greengrass.create_deployment(targetArn=target)

    @pytest.mark.parametrize("merge", ["{", "[]"])
    def test_a_configuration_that_is_no_object_is_refused(
        self, aws: EmbeddedAws, fleet: str, name: str, merge: str
    ) -> None:
        with pytest.raises(ClientError, match=r"configurationUpdate\.merge") as error:
            self.deploy(aws, fleet, name, configurationUpdate={"merge": merge})
        assert code_of(error) == ("ValidationException", 400)


class TestCoreDevices:
    def test_a_thing_becomes_a_core_device_with_its_first_message(
        self, aws: EmbeddedAws, greengrass: Any, fleet: str
    ) -> None:
        with pytest.raises(greengrass.exceptions.ResourceNotFoundException, match=fleet):
            greengrass.get_core_device(coreDeviceThingName=fleet)
        publish(aws, f"$aws/things/{fleet}/greengrassv2/health/json", health(fleet))
        device = greengrass.get_core_device(coreDeviceThingName=fleet)
        assert (device["status"], device["coreVersion"], device["platform"]) == ("HEALTHY", "2.14.0", "linux")
        listed = greengrass.list_core_devices(thingGroupArn=group_arn(aws, fleet), status="HEALTHY")["coreDevices"]
        assert [item["coreDeviceThingName"] for item in listed] == [fleet]
        roots = greengrass.list_installed_components(coreDeviceThingName=fleet)["installedComponents"]
        assert [item["componentName"] for item in roots] == ["com.example.Root"]
        everything = greengrass.list_installed_components(coreDeviceThingName=fleet, topologyFilter="ALL")
        states = {item["componentName"]: item["lifecycleState"] for item in everything["installedComponents"]}
        assert states == {"com.example.Root": "RUNNING", "com.example.Needed": "FINISHED"}

    def test_a_deleted_core_device_is_one_again_with_its_next_message(
        self, aws: EmbeddedAws, greengrass: Any, fleet: str
    ) -> None:
        topic = f"$aws/things/{fleet}/greengrassv2/health/json"
        publish(aws, topic, health(fleet))
        greengrass.delete_core_device(coreDeviceThingName=fleet)
        with pytest.raises(greengrass.exceptions.ResourceNotFoundException, match=fleet):
            greengrass.delete_core_device(coreDeviceThingName=fleet)
        publish(aws, topic, health(fleet))
        assert greengrass.get_core_device(coreDeviceThingName=fleet)["status"] == "HEALTHY"

    def test_a_partial_message_changes_what_it_names(self, aws: EmbeddedAws, greengrass: Any, fleet: str) -> None:
        topic = f"$aws/things/{fleet}/greengrassv2/health/json"
        publish(aws, topic, health(fleet))
        broken = [{"componentName": "com.example.Needed", "componentVersion": "2.0.0", "status": "BROKEN"}]
        partial = {"messageType": "PARTIAL", "overallDeviceStatus": "UNHEALTHY", "components": broken}
        publish(aws, topic, health(fleet, **partial))
        installed = greengrass.list_installed_components(coreDeviceThingName=fleet, topologyFilter="ALL")
        states = {item["componentName"]: item["lifecycleState"] for item in installed["installedComponents"]}
        assert states == {"com.example.Root": "RUNNING", "com.example.Needed": "BROKEN"}
        assert greengrass.get_core_device(coreDeviceThingName=fleet)["status"] == "UNHEALTHY"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"thing": "other"}, "thing of the fleet status message is 'other'"),
            ({"overallDeviceStatus": "FINE"}, "expected HEALTHY or UNHEALTHY"),
            ({"components": [{"componentName": "a"}]}, "a list of objects with componentName"),
            ({"ggcVersion": None}, "the nucleus version"),
        ],
    )
    def test_a_message_that_is_none_is_refused(
        self, aws: EmbeddedAws, fleet: str, change: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ClientError, match=message):
            publish(aws, f"$aws/things/{fleet}/greengrassv2/health/json", {**health(fleet), **change})


def test_an_operation_that_is_not_there_is_named(greengrass: Any) -> None:
    with pytest.raises(ClientError, match="does not have greengrassv2:GetServiceRoleForAccount") as error:
        greengrass.get_service_role_for_account()
    assert code_of(error) == ("UnsupportedOperationException", 501)


def test_responses_have_the_shape_of_the_service_model(
    aws: EmbeddedAws, greengrass: Any, fleet: str, name: str, artifact: str
) -> None:
    target = group_arn(aws, fleet)
    described = recipe(name, "1.0.0", artifact, ComponentPublisher="us", ComponentDescription="Says hello")
    created = greengrass.create_component_version(inlineRecipe=described)
    publish(aws, f"$aws/things/{fleet}/greengrassv2/health/json", health(fleet, runtime="aws_nucleus_classic"))
    components = {name: {"componentVersion": "1.0.0"}}
    answers = {
        "CreateComponentVersion": created,
        "GetComponent": greengrass.get_component(arn=created["arn"]),
        "DescribeComponent": greengrass.describe_component(arn=created["arn"]),
        "ListComponents": greengrass.list_components(),
        "ListComponentVersions": greengrass.list_component_versions(arn=created["arn"].rpartition(":versions:")[0]),
        "CreateDeployment": (deployment := greengrass.create_deployment(targetArn=target, components=components)),
        "GetDeployment": greengrass.get_deployment(deploymentId=deployment["deploymentId"]),
        "ListDeployments": greengrass.list_deployments(),
        "ListEffectiveDeployments": greengrass.list_effective_deployments(coreDeviceThingName=fleet),
        "GetCoreDevice": greengrass.get_core_device(coreDeviceThingName=fleet),
        "ListCoreDevices": greengrass.list_core_devices(),
        "ListInstalledComponents": greengrass.list_installed_components(coreDeviceThingName=fleet),
        "CancelDeployment": greengrass.cancel_deployment(deploymentId=deployment["deploymentId"]),
    }
    model = botocore.session.Session().get_service_model("greengrassv2")
    for operation, answer in answers.items():
        del answer["ResponseMetadata"]
        shape: Any = model.operation_model(operation).output_shape
        assert answer, operation
        report = ParamValidator().validate(answer, shape)
        assert not report.has_errors(), f"{operation}: {report.generate_report()}"
        # Members that the model does not require, and without which no user could do anything.
        optional = {"nextToken", "tags", "message", "deploymentPolicies", "iotJobConfiguration", "parentTargetArn"}
        absent = set(shape.members) - set(answer) - optional - {"deploymentName"}
        assert not absent, f"{operation} lacks {absent}"


class TestRoleAliases:
    def test_live_their_life(self, aws: EmbeddedAws, name: str) -> None:
        iot, role = aws.client("iot"), "arn:aws:iam::111122223333:role/SageMaker-device"
        alias = name.replace(".", "-")
        created = iot.create_role_alias(roleAlias=alias, roleArn=role, credentialDurationSeconds=900)
        assert created["roleAliasArn"] == f"arn:aws:iot:us-east-1:111122223333:rolealias/{alias}"
        with pytest.raises(iot.exceptions.ResourceAlreadyExistsException, match=alias):
            iot.create_role_alias(roleAlias=alias, roleArn=role)
        iot.update_role_alias(roleAlias=alias, credentialDurationSeconds=1800)
        described = iot.describe_role_alias(roleAlias=alias)["roleAliasDescription"]
        assert (described["roleArn"], described["credentialDurationSeconds"]) == (role, 1800)
        assert alias in iot.list_role_aliases()["roleAliases"]
        iot.delete_role_alias(roleAlias=alias)
        with pytest.raises(iot.exceptions.ResourceNotFoundException, match=alias):
            iot.describe_role_alias(roleAlias=alias)

    def test_a_duration_out_of_range_is_refused(self, aws: EmbeddedAws, name: str) -> None:
        iot, role = aws.client("iot"), "arn:aws:iam::111122223333:role/SageMaker-device"
        with pytest.raises(ClientError, match="50000, expected 900 to 43200"):
            iot.create_role_alias(roleAlias=name.replace(".", "-"), roleArn=role, credentialDurationSeconds=50_000)

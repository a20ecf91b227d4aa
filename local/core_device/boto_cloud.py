# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, BinaryIO

import boto3
import botocore.config
import botocore.exceptions

from local.core_device.authorization import device_may
from local.core_device.cloud import (
    CloudRefusedError,
    CloudUnreachableError,
    ComponentRequest,
    Credentials,
    Deployment,
    EffectiveDeployment,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from local.core_device.cloud import Cloud

# Short enough for a stop within 20 s; the endpoint is on this machine, so no proxy and no prefix before its host.
_CONFIG = botocore.config.Config(
    connect_timeout=3,
    read_timeout=6,
    retries={"mode": "standard", "total_max_attempts": 2},
    inject_host_prefix=False,
    proxies={},
)
_TRANSIENT = frozenset({"Throttling", "ThrottlingException", "RequestTimeout", "SlowDown", "ServiceUnavailable"})
_SERVER_ERROR = 500
# Not of AWS: the embedded one takes it for the name of the MQTT client that its HTTPS stands for.
MQTT_CLIENT_HEADER = "X-Local-Mqtt-Client"


class BotoCloud:
    """The cloud over boto3, endpoints and keys from the environment.

    A real device proves itself with its certificate; here the keys of the environment stand for it, except for the
    download of artifacts, which happens with the device role's credentials as on a real one.
    """

    def __init__(self, *, thing_name: str, region: str, iot_policy: str) -> None:
        self._thing_name = thing_name
        self._iot_policy = iot_policy
        session = boto3.Session(region_name=region)
        self._session = session
        self._greengrass = session.client("greengrassv2", config=_CONFIG)
        self._iot = session.client("iot", config=_CONFIG)
        self._iot_data = session.client("iot-data", config=_CONFIG)
        self._iot_data.meta.events.register("before-sign.iot-data.Publish", self._as_mqtt_client)
        self._sts = session.client("sts", config=_CONFIG)
        self._account = ""
        self._region = region

    def effective_deployments(self) -> Sequence[EffectiveDeployment]:
        """List the deployments that reach this device by its own name and its groups'."""
        result = []
        with _translated(f"listing the deployments of {self._thing_name}"):
            pages = self._greengrass.get_paginator("list_effective_deployments")
            for page in pages.paginate(coreDeviceThingName=self._thing_name):
                result += [
                    EffectiveDeployment(
                        id=item["deploymentId"],
                        target=item["targetArn"],
                        job_id=item.get("iotJobId", ""),
                        status=item["coreDeviceExecutionStatus"],
                        created=item["creationTimestamp"].timestamp(),
                    )
                    for item in page.get("effectiveDeployments", [])
                ]
        return result

    def deployment(self, deployment_id: str) -> Deployment:
        """Fetch a deployment's content."""
        with _translated(f"fetching deployment {deployment_id}"):
            answer = self._greengrass.get_deployment(deploymentId=deployment_id)
        components = {}
        for name, item in answer.get("components", {}).items():
            update = item.get("configurationUpdate", {})
            try:
                merge = json.loads(update.get("merge") or "{}")
            except json.JSONDecodeError as error:
                raise CloudRefusedError(
                    f"deployment {deployment_id}: the configuration to merge into {name} is no JSON: {error}"
                ) from None
            components[name] = ComponentRequest(
                version=item["componentVersion"], merge=merge, reset=tuple(update.get("reset", ()))
            )
        policies = answer.get("deploymentPolicies", {})
        asking = policies.get("componentUpdatePolicy", {})
        return Deployment(
            id=deployment_id,
            target=answer["targetArn"],
            components=components,
            rollback=policies.get("failureHandlingPolicy", "ROLLBACK") == "ROLLBACK",
            notify=asking.get("action", "NOTIFY_COMPONENTS") == "NOTIFY_COMPONENTS",
            notify_seconds=asking.get("timeoutInSeconds", 60),
        )

    def component_versions(self, name: str) -> Sequence[str]:
        """List the versions of a component, none if there is no such component."""
        try:
            with _translated(f"listing the versions of component {name}"):
                pages = self._greengrass.get_paginator("list_component_versions").paginate(arn=self._component(name))
                return [item["componentVersion"] for page in pages for item in page.get("componentVersions", [])]
        except CloudRefusedError as error:
            if _code(error.__cause__) == "ResourceNotFoundException":
                return []
            raise

    def recipe(self, name: str, version: str) -> bytes:
        """Fetch a component version's recipe as JSON, its artifacts' digests in it."""
        with _translated(f"fetching the recipe of component {name} {version}"):
            answer = self._greengrass.get_component(
                arn=f"{self._component(name)}:versions:{version}", recipeOutputFormat="JSON"
            )
        return answer["recipe"]

    def download(self, uri: str, target: BinaryIO, credentials: Credentials) -> None:
        """Copy an object of S3 with the device role's credentials."""
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        # A client of its own for each download: a handful in a deployment, and never with outdated credentials.
        s3 = self._session.client(
            "s3",
            config=_CONFIG,
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.token,
        )
        with _translated(f"downloading {uri} with the device role"), contextlib.closing(s3):
            body = s3.get_object(Bucket=bucket, Key=key)["Body"]
            target.writelines(body.iter_chunks(1 << 20))

    def role_credentials(self, role_alias: str) -> Credentials:
        """Fetch credentials of the role behind an alias, if the device's AWS IoT policy lets it."""
        policy = self.policy_document(self._iot_policy)
        with _translated(f"assuming the role of role alias {role_alias}"):
            alias = self._iot.describe_role_alias(roleAlias=role_alias)["roleAliasDescription"]
            arn = alias["roleAliasArn"]
            if not device_may(policy, action="iot:AssumeRoleWithCertificate", resource=arn):
                raise CloudRefusedError(
                    f"the AWS IoT policy {self._iot_policy} does not allow iot:AssumeRoleWithCertificate on {arn}"
                )
            answer = self._sts.assume_role(
                RoleArn=alias["roleArn"],
                RoleSessionName=self._thing_name[:64],
                DurationSeconds=alias.get("credentialDurationSeconds", 3600),
            )["Credentials"]
        return Credentials(
            access_key_id=answer["AccessKeyId"],
            secret_access_key=answer["SecretAccessKey"],
            token=answer["SessionToken"],
            expiration=answer["Expiration"],
        )

    def policy_document(self, name: str) -> Mapping[str, Any]:
        """Fetch an AWS IoT policy."""
        with _translated(f"fetching the AWS IoT policy {name}"):
            document = self._iot.get_policy(policyName=name)["policyDocument"]
        result: dict[str, Any] = json.loads(document)
        return result

    def publish(self, topic: str, payload: bytes, *, qos: int) -> None:
        """Publish a message to AWS IoT Core."""
        with _translated(f"publishing to {topic}"):
            self._iot_data.publish(topic=topic, payload=payload, qos=qos)

    def _as_mqtt_client(self, request: Any, **_: object) -> None:
        # A nucleus publishes over MQTT, where its client has the thing's name, as topic rules see it.
        request.headers[MQTT_CLIENT_HEADER] = self._thing_name

    def _component(self, name: str) -> str:
        if not self._account:
            self._account = self._sts.get_caller_identity()["Account"]
        return f"arn:aws:greengrass:{self._region}:{self._account}:components:{name}"


def _code(error: BaseException | None) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, botocore.exceptions.ClientError) else ""


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except botocore.exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = CloudUnreachableError if status >= _SERVER_ERROR or _code(error) in _TRANSIENT else CloudRefusedError
        raise kind(f"{doing}: {error}") from error
    except botocore.exceptions.BotoCoreError as error:
        raise CloudUnreachableError(f"{doing}: {error}") from error


def _is_a_cloud(cloud: BotoCloud) -> Cloud:
    return cloud  # mypy holds the class to the protocol here

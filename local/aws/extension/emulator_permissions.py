# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SLF001 - private names of ministack are what this module is for
"""Who may do what is checked from the start on, and every call is recorded with who made it."""

import http
import json
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator, responses, router
from ministack.services import kms

from local.aws.extension.call_log import ALLOWED, CallLog

Handler = Callable[..., Any]


def install(log: CallLog) -> None:
    """Enforces the IAM policies of every caller but the root, and writes every call into ``log``."""
    # ministack does not know the service.
    iam_actions.SERVICE_TO_IAM_NAMESPACE["greengrass"] = "greengrass"
    iam_actions._BOTOCORE_SERVICE_MAP["greengrass"] = ["greengrassv2"]
    app.SERVICE_HANDLERS["s3"] = _hiding_missing_objects(app.SERVICE_HANDLERS["s3"])
    iam_actions.request_tag_context = _with_metric_namespace(iam_actions.request_tag_context)
    iam_actions.extract_resource_arn = _with_greengrass_resources(iam_actions.extract_resource_arn)
    iam_evaluator._resolve_condition_key = _with_role_as_principal(iam_evaluator._resolve_condition_key)
    _enforce()
    _record(log)


def _with_role_as_principal(inner: Callable[..., Any]) -> Callable[..., Any]:
    """As in AWS, `aws:PrincipalArn` is the role of who assumed one; ministack says which session of it."""

    def resolve(key: str, context: Any) -> Any:
        value = inner(key, context)
        session = re.fullmatch(r"arn:aws:sts::(\d{12}):assumed-role/([^/]+)/.+", str(value))
        if key.lower() != "aws:principalarn" or session is None:
            return value
        return f"arn:aws:iam::{session[1]}:role/{session[2]}"

    return resolve


def _with_greengrass_resources(inner: Callable[..., str]) -> Callable[..., str]:
    """Names what a request to Greengrass is about, where its operation takes a resource: its path tells."""

    def resource(service: str, *request: Any) -> str:
        if service != "greengrass":
            return inner(service, *request)
        _method, path, *_content, region, account = request
        kind, _, name = urllib.parse.unquote(path).removeprefix("/greengrass/v2/").partition("/")
        name = name.removesuffix("/effectiveDeployments").removesuffix("/installedComponents").removesuffix("/cancel")
        if kind not in {"coreDevices", "deployments"} or not name:
            return "*"
        return f"arn:aws:greengrass:{region}:{account}:{kind}:{name}"

    return resource


def _with_metric_namespace(inner: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Adds the condition key by which AWS bounds PutMetricData, which knows no resources; ministack lacks it."""

    def context(service: str, action: str, body: bytes, parameters: Any) -> dict[str, Any]:
        found = inner(service, action, body, parameters)
        if action != "cloudwatch:PutMetricData":
            return found
        if body[:1] == b"{":
            namespace = json.loads(body).get("Namespace", "")
        else:
            namespace = urllib.parse.parse_qs(body.decode()).get("Namespace", [""])[0]
        return {**found, "cloudwatch:namespace": namespace}

    return context


def _enforce() -> None:
    """Checks the IAM policies of every caller but the root.

    The loopback stands for TLS: it is served in plain HTTP, which a bucket that takes TLS alone would refuse, and the
    CDK's bootstrap bucket is one.
    """
    pin = app.pin_request_origin
    app.pin_request_origin = lambda address, _secure: pin(address, True)  # noqa: FBT003 - ministack's signature
    app.AUTH = True


def _record(log: CallLog) -> None:
    enforce, authenticate_only = iam_evaluator.enforce, app._authenticate_only

    def enforce_and_record(
        access_key: str, action: str, service: str, region: str, *, resource_arn: str = "*", service_context: Any = None
    ) -> Any:
        if service == "kms" and ":alias/" in resource_arn:
            resource_arn, service_context = _key_of_alias(resource_arn, service_context)
        refusal = enforce(
            access_key, action, service, region, resource_arn=resource_arn, service_context=service_context
        )
        unknown = isinstance(refusal, iam_evaluator.AuthError)
        log.add(
            principal="" if unknown else _principal(access_key),
            service=service,
            action=action,
            resource=resource_arn,
            context=service_context or {},
            outcome=ALLOWED if refusal is None else refusal.code if unknown else refusal.decision,
        )
        return refusal

    def authenticate_and_record(service: str, headers: Any, query: Any, request_id: str) -> Any:
        """For the requests that ministack knows no action of."""
        failure = authenticate_only(service, headers, query, request_id)
        principal = "" if failure else _principal(router.extract_access_key_id(headers, query))
        outcome = "AuthenticationFailed" if failure else ALLOWED
        log.add(principal=principal, service=service, action=None, resource="*", context={}, outcome=outcome)
        return failure

    iam_evaluator.enforce = enforce_and_record
    app._authenticate_only = authenticate_and_record


def _key_of_alias(alias_arn: str, context: Any) -> tuple[str, Any]:
    """As in AWS, policies name keys, and the alias that a request used stands in a condition key."""
    alias = alias_arn.rpartition(":")[2]
    key = kms._resolve_key(alias_arn)
    arn = alias_arn if key is None else key["Arn"]
    return arn, {**(context or {}), "kms:RequestAlias": alias}


def _principal(access_key: str) -> str:
    found = iam_evaluator.resolve_principal(access_key or "", responses.get_account_id())
    return "" if isinstance(found, iam_evaluator.AuthError) else str(found.arn)


def _hiding_missing_objects(inner: Handler) -> Handler:
    """As in AWS, only who may list a bucket is told that an object is not there; to others it is a denied one."""

    async def handler(method: str, path: str, headers: Any, body: bytes, query: dict[str, Any]) -> Any:
        response = await inner(method, path, headers, body, query)
        bucket, _, key = path.strip("/").partition("/")
        missing = response[0] == http.HTTPStatus.NOT_FOUND and method in {"GET", "HEAD"} and bucket and key
        if not missing:
            return response
        access_key, region = router.extract_access_key_id(headers, query), router.extract_region(headers, query)
        listing = f"arn:aws:s3:::{bucket}"
        refusal = iam_evaluator.enforce(access_key, "s3:ListBucket", "s3", region, resource_arn=listing)
        if not isinstance(refusal, iam_evaluator.EvalResult):
            return response
        request_id = response[1].get("x-amz-request-id", "")
        return iam_actions.access_denied_response("s3", "s3:ListBucket", refusal.principal_arn, request_id)

    return handler

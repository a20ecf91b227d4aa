# SPDX-License-Identifier: Apache-2.0
"""What the extension takes for granted: private names of the pinned ministack. An upgrade that moves one fails here."""

import json
import re
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from local.aws.inventory import EMULATED_TYPES
from local.aws.server import INTERPRETER, ROOT

PINNED = "1.5.33"

# name -> kind, and for functions the parameters by position or name with which the extension and ministack call them
EXPECTED = {
    "ministack.app.AUTH": "bool",
    "ministack.app._authenticate_only": "function(service, headers, query_params, request_id)",
    "ministack.app.pin_request_origin": "function(source_ip, secure_transport)",
    "ministack.app.SERVICE_HANDLERS": "dict",
    "ministack.app.main": "function()",
    "ministack.core.iam_actions.SERVICE_TO_IAM_NAMESPACE": "dict",
    "ministack.core.iam_actions._BOTOCORE_SERVICE_MAP": "dict",
    "ministack.core.iam_actions.access_denied_response": "function(service, action, principal_arn, request_id, "
    "error_code, message, headers, resource_arn, explicit_deny, resource_policy_arn)",
    "ministack.core.iam_actions.extract_resource_arn": "function(service, method, path, headers, body, query_params, "
    "region, account_id)",
    "ministack.core.iam_actions.request_tag_context": "function(service, iam_action, body, params)",
    "ministack.core.iam_evaluator.AuthError": "type(code, message, details)",
    "ministack.core.iam_evaluator.EvalResult": "type(decision, principal_arn, matched_sid, reason, "
    "resource_policy_arn)",
    "ministack.core.iam_evaluator._resolve_condition_key": "function(key, ctx)",
    "ministack.core.iam_evaluator.enforce": "function(access_key_id, iam_action, service, region, resource_arn, "
    "service_context)",
    "ministack.core.iam_evaluator.resolve_principal": "function(access_key_id, account_id, credential)",
    "ministack.core.responses.get_account_id": "function()",
    "ministack.core.responses.get_region": "function()",
    "ministack.core.responses.request_scope": "function(account_id, region)",
    "ministack.core.router.SERVICE_PATTERNS": "dict",
    "ministack.core.router.extract_access_key_id": "function(headers, query_params)",
    "ministack.core.router.extract_region": "function(headers, query_params)",
    "ministack.core.lambda_runtime.reset": "function()",
    "ministack.core.lambda_runtime._worker_class_for": "function(config)",
    "ministack.core.lambda_runtime.ProvidedWorker": "type(func_name, config, code_zip)",
    "ministack.services.s3._get_object_data": "function(bucket_name, key, version_id)",
    "ministack.services.iot.broker_publish": "function(account_id, region, topic, payload, qos, retain, properties, "
    "client_id, principal)",
    "ministack.services.iot._things": "AccountRegionScopedDict",
    "ministack.services.iot._thing_groups": "AccountRegionScopedDict",
    "ministack.services.lambda_svc._execute_function_warm": "function(func, event, request_id)",
    "ministack.services.lambda_svc._execute_function_provided_warm": "function(func, event, request_id)",
    "ministack.services.cloudwatch._metrics": "AccountRegionScopedDict",
    "ministack.services.cloudwatch._calc_stats": "function(points)",
    "ministack.services.cloudwatch._dims_from_list": "function(dimensions)",
    "ministack.services.cloudwatch._dims_key": "function(dims)",
    "ministack.services.cloudwatch._dispatch_alarm_actions": "function(alarm, old_state, new_state, reason)",
    "ministack.services.cloudwatch._evaluate_alarm": "function(alarm)",
    "ministack.services.cloudwatch._record_history": "function(alarm_name, old_state, new_state, reason, alarm_type, "
    "reason_data)",
    "ministack.services.cloudwatch._stat_value": "function(stats, stat_name, points)",
    "ministack.services.cloudformation.provisioners._cw_metric_alarm_record": "function(name, props)",
    "ministack.services.cloudformation._change_sets": "AccountRegionScopedDict",
    "ministack.services.cloudformation.provisioners.s3_bucket_name_conflict": "function(name)",
    "ministack.services.cloudformation.provisioners._RESOURCE_HANDLERS": "dict",
    "ministack.services.cloudformation.provisioners._REPLACING_PROPERTIES": "dict",
}

PROBE = """
import importlib, importlib.metadata, inspect, json, sys

def shape(name):
    module, _, attribute = name.rpartition(".")
    value = getattr(importlib.import_module(module), attribute, None)
    kind = type(value).__name__
    if kind in ("function", "type"):
        kind += "(" + ", ".join(inspect.signature(value).parameters) + ")"
    return kind

names = json.loads(sys.argv[1])
found = {name: shape(name) for name in names}
from ministack import app
from ministack.core import router
from ministack.services.cloudformation import provisioners
SIGNED = "AWS4-HMAC-SHA256 Credential=111122223333/20261122/us-east-1/greengrass/aws4_request, Signature=0"
before = sorted(provisioners._RESOURCE_HANDLERS)
handlers = {key: sorted(provisioners._RESOURCE_HANDLERS[key]) for key in ("AWS::IoT::Thing", "AWS::S3::Bucket")}
from local.aws.extension import emulator
from local.aws.extension.call_log import CallLog
emulator.install(CallLog(sys.stderr))
print(json.dumps({
    "version": importlib.metadata.version("ministack"),
    "names": found,
    "services": sorted(app.SERVICE_HANDLERS),
    "handlers": handlers,
    "added": sorted(set(provisioners._RESOURCE_HANDLERS) - set(before)),
    "handler": inspect.iscoroutinefunction(app.SERVICE_HANDLERS["s3"]),
    "routed": router.detect_service("GET", "/greengrass/v2/components", {"authorization": SIGNED}, {}),
    "catalogue": router._KNOWN_AWS_SERVICE_NAMES is not None,
}))
"""


@pytest.fixture(scope="module")
def found() -> Mapping[str, Any]:
    command = [str(INTERPRETER), "-c", PROBE, json.dumps(list(EXPECTED))]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    document: Mapping[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return document


def test_the_pinned_version_is_installed(found: Mapping[str, Any]) -> None:
    assert found["version"] == PINNED
    assert f"ministack=={PINNED}" in (ROOT / "local" / "aws" / "requirements.in").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_private_name_has_the_shape_that_the_extension_uses(found: Mapping[str, Any], name: str) -> None:
    assert found["names"][name] == EXPECTED[name]


def test_the_services_that_are_wrapped_are_there_and_answer_asynchronously(found: Mapping[str, Any]) -> None:
    assert {"iot", "iot-data", "s3"} <= set(found["services"])
    assert found["handler"] is True


def test_resource_handlers_have_the_keys_that_ours_have(found: Mapping[str, Any]) -> None:
    for keys in found["handlers"].values():
        assert {"create", "update", "delete"} <= set(keys)


def test_the_types_that_are_labelled_as_emulated_are_those_that_ministack_lacks(found: Mapping[str, Any]) -> None:
    assert set(found["added"]) == EMULATED_TYPES


def test_a_greengrass_request_is_routed_without_the_catalogue_of_all_services(found: Mapping[str, Any]) -> None:
    assert (found["routed"], found["catalogue"]) == ("greengrass", False)


def test_no_other_module_than_the_emulators_knows_ministack() -> None:
    folder = ROOT / "local" / "aws" / "extension"
    knowing = {
        path.name
        for path in folder.glob("*.py")
        if re.search(r"^from ministack|^import ministack", path.read_text(), re.MULTILINE)
    }
    assert knowing == {"emulator.py", "emulator_alarms.py", "emulator_functions.py", "emulator_permissions.py"}

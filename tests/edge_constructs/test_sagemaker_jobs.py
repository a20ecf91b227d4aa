# SPDX-License-Identifier: Apache-2.0
"""The compilation and packaging jobs of SageMaker, through their entry points, against services in memory."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from edge_constructs import sagemaker_packaging_handler
from edge_constructs.handler_kernel import ResourceError

# The fixture's kind of thing: see conftest.py.
Case = Any
RETIRED = "We are retiring Amazon Sagemaker Edge on April 26th, 2024"


def test_a_job_starts_is_watched_and_gives_its_attributes(case: Case) -> None:
    job = case.create()
    for status in ("STARTING", "INPROGRESS"):
        case.jobs.jobs[job][case.status] = status
        assert case.poll(job) == {"IsComplete": False}
    case.end(job)
    answer = case.poll(job)
    assert answer["IsComplete"] is True
    assert all(isinstance(value, str) and value for value in answer["Data"].values())


def test_a_replayed_event_finds_the_job_that_it_started(case: Case) -> None:
    assert case.create() == case.create()
    assert len(case.jobs.jobs) == 1


def test_a_completed_job_whose_output_went_is_run_again(case: Case) -> None:
    job = case.create()
    case.end(job)
    assert case.create() == job
    case.jobs.gone = {"compiled/digits-rasp4b.tar.gz", "models/digits-1.0.tar.gz"}
    assert case.create() == f"{job}-2"


@pytest.mark.parametrize("case", ["Compilation"], indirect=True)
@pytest.mark.parametrize("value", [{}, {"S3Uri": ""}, {"S3Uri": ["s3://artifacts/x"]}])
def test_an_input_without_an_address_is_named(value: dict[str, Any], case: Case) -> None:
    with pytest.raises(ResourceError, match=r"property InputConfig\.S3Uri: an s3:// address is expected"):
        case.create(InputConfig=value)


def test_a_replay_beside_this_event_is_the_same_job(case: Case) -> None:
    case.jobs.errors[f"Create{case.kind}Job"] = [("ResourceInUse", 400, "in use")]
    assert case.create().startswith("dev-digits-1-0-")


def test_an_update_is_another_job_and_a_rollback_finds_the_former(case: Case) -> None:
    first = case.create()
    case.end(first)
    change = {"JobName": "dev-digits-2-0"}
    second = str(case.module.on_event(case.event("Update", first, **change), None)["PhysicalResourceId"])
    assert second != first
    assert case.module.on_event(case.event("Update", second), None)["PhysicalResourceId"] == first
    assert case.poll(first, "Update")["IsComplete"] is True
    case.module.on_event(case.event("Delete", second, **change), None)
    assert case.jobs.stopped == [second]


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_a_failed_job_fails_with_its_reason_and_the_next_try_has_another_name(status: str, case: Case) -> None:
    job = case.create()
    reason = "FailureReason" if case.kind == "Compilation" else "EdgePackagingJobStatusMessage"
    case.end(job, status, **{reason: "no such operator"})
    with pytest.raises(ResourceError, match=f"{job} is {status}: no such operator"):
        case.poll(job)
    assert case.create() == f"{job}-2"


def test_a_job_that_is_being_stopped_is_not_waited_for_by_the_next_creation(case: Case) -> None:
    job = case.create()
    case.end(job, "STOPPING")
    assert case.create() == f"{job}-2"


def test_names_run_out_with_a_reason(case: Case) -> None:
    for _ in range(9):
        case.end(case.create(), "FAILED")
    with pytest.raises(ResourceError, match="9 jobs of this name failed"):
        case.create()


@pytest.mark.parametrize(
    "passing", [("ThrottlingException", 400), ("InternalFailure", 500), ("ServiceUnavailable", 503)]
)
def test_a_poll_asks_again_after_what_passes_and_any_other_error_fails(passing: tuple[str, int], case: Case) -> None:
    job = case.create()
    case.jobs.errors[f"Describe{case.kind}Job"] = [(*passing, "not now")]
    assert case.poll(job) == {"IsComplete": False}
    case.jobs.errors[f"Describe{case.kind}Job"] = [("AccessDeniedException", 400, "no")]
    with pytest.raises(ClientError, match="AccessDenied"):
        case.poll(job)


def test_a_throttled_start_fails_with_its_reason(case: Case) -> None:
    case.jobs.errors[f"Create{case.kind}Job"] = [("ThrottlingException", 400, "slow down")]
    with pytest.raises(ClientError, match="slow down"):
        case.create()


def test_a_job_that_went_is_said_to_be_gone(case: Case) -> None:
    job = case.create()
    case.jobs.jobs.clear()
    with pytest.raises(ResourceError, match="is gone"):
        case.poll(job)


@pytest.mark.parametrize("operation", ["Create", "Describe"])
def test_a_retired_service_names_the_way_out(operation: str, case: Case) -> None:
    case.jobs.errors[f"{operation}{case.kind}Job"] = [("ValidationException", 400, RETIRED)]
    with pytest.raises(ResourceError, match=r'26 April 2024.*edge_manager = "open"'):
        case.create()


def test_a_job_that_does_not_end_is_stopped_and_fails(case: Case) -> None:
    job = case.create()
    case.jobs.minutes = 29
    assert case.poll(job) == {"IsComplete": False}
    case.jobs.minutes = 31
    with pytest.raises(ResourceError, match="still STARTING after 1800 seconds: it was stopped"):
        case.poll(job)
    assert case.jobs.stopped == [job]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "STOPPED", "STOPPING"])
def test_delete_leaves_a_job_that_ended(status: str, case: Case) -> None:
    job = case.create()
    case.end(job, status)
    case.module.on_event(case.event("Delete", job), None)
    assert case.poll(job, "Delete") == {"IsComplete": True}
    assert case.jobs.stopped == []


@pytest.mark.parametrize("code", ["ValidationException", "ResourceNotFound"])
def test_delete_stops_a_job_that_runs_even_when_it_ends_meanwhile(code: str, case: Case) -> None:
    job = case.create()
    case.jobs.errors[f"Stop{case.kind}Job"] = [(code, 400, "it ended")]
    case.module.on_event(case.event("Delete", job), None)
    case.module.on_event(case.event("Delete", job), None)
    assert case.jobs.stopped == [job]


@pytest.mark.parametrize(
    "physical_id", ["AWSCDK::CustomResourceProviderFramework::CREATE_FAILED", "never-created", "gone"]
)
def test_delete_after_a_failed_create_or_of_what_is_gone_succeeds(physical_id: str, case: Case) -> None:
    case.module.on_event(case.event("Delete", physical_id), None)
    case.jobs.errors[f"Describe{case.kind}Job"] = [("ValidationException", 400, RETIRED)]
    case.module.on_event(case.event("Delete", physical_id), None)
    assert case.jobs.stopped == []


@pytest.mark.parametrize("case", ["EdgePackaging"], indirect=True)
def test_a_completed_job_whose_component_failed_is_a_failure(case: Case) -> None:
    job = case.create()
    failed = {"Type": "GreengrassV2Component", "Status": "FAILED", "StatusMessage": "access denied"}
    case.end(job, PresetDeploymentOutput=failed)
    with pytest.raises(ResourceError, match="is COMPLETED, but its Greengrass component is not made: access denied"):
        case.poll(job)


@pytest.mark.parametrize("case", ["EdgePackaging"], indirect=True)
def test_a_component_version_that_exists_is_recognised(case: Case) -> None:
    job = case.create()
    failed = {"Type": "GreengrassV2Component", "Status": "FAILED", "StatusMessage": "Component already exists"}
    case.end(job, PresetDeploymentOutput=failed)
    with pytest.raises(ResourceError, match=r"dev\.model 1\.0\.0 exists already.*make lock"):
        case.poll(job)
    again = case.create()  # once that version is deleted, as the reason says
    assert again == f"{job}-2"
    case.end(again)
    assert case.poll(again)["IsComplete"] is True


@pytest.mark.parametrize("case", ["EdgePackaging"], indirect=True)
def test_a_package_tells_its_digest_and_a_completed_job_without_one_fails(
    case: Case, make_client: Any, service_error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = case.create()
    case.end(job)
    assert case.poll(job)["Data"]["PackageSha256"] == hashlib.sha256(b"package").hexdigest()

    def missing(_asked: Any) -> Any:
        raise service_error("NoSuchKey", 404)

    services = (
        make_client("sagemaker", case.jobs.operations("EdgePackaging")),
        make_client("s3", {"GetObject": missing}),
    )
    handler = sagemaker_packaging_handler.packaging_job(*services, now=case.jobs.now)
    monkeypatch.setattr(sagemaker_packaging_handler, "_handler", lambda: handler)
    with pytest.raises(
        ResourceError, match=r"is COMPLETED, but there is no s3://artifacts/models/digits-1\.0\.tar\.gz"
    ):
        case.poll(job)
    assert case.create() == f"{job}-2", "deploying again, as the reason says, packages again"


@pytest.mark.parametrize("case", ["EdgePackaging"], indirect=True)
def test_a_completed_job_whose_component_is_on_its_way_is_not_done(case: Case) -> None:
    job = case.create()
    case.end(job, PresetDeploymentOutput={"Type": "GreengrassV2Component"})
    assert case.poll(job) == {"IsComplete": False}


@pytest.mark.parametrize("case", ["EdgePackaging"], indirect=True)
def test_a_job_of_that_name_with_other_properties_is_not_taken_for_ours(case: Case) -> None:
    job = case.create()
    case.jobs.jobs[job]["ModelVersion"] = "9.9"
    with pytest.raises(ResourceError, match="exists with other properties"):
        case.create()

# SPDX-License-Identifier: Apache-2.0
"""Twelve changes, each made in a clone of the project, and what the command says of it.

Most run in this process, where synthesis is warm. Those that change the stacks' own code run as a process from it.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.change_report.conftest import Clone, Told

AGENT = "com.edgemanager.Agent"
DIGITS = "com.edgemanager.model.digits"
ENVIRONMENTS = ("dev", "prod", "staging")


def leaves(told: Told, environment: str, part: str) -> dict[str, tuple[str | None, str | None]]:
    found = told.environment(environment)[part]
    return {".".join(leaf["path"]): (leaf["before"], leaf["after"]) for leaf in found}


def statuses(told: Told) -> dict[str, str]:
    return {one["name"]: one["status"] for one in told.report["environments"] if one["name"] in ENVIRONMENTS}


def resources(told: Told, environment: str) -> dict[str, str]:
    return {one["id"]: one["action"] for one in told.environment(environment)["resources"]}


def permissions(told: Told, environment: str) -> list[tuple[str, str]]:
    return [(one["direction"], one["text"]) for one in told.environment(environment)["permissions"]]


def test_nothing(clone: Clone) -> None:
    told = clone.report()
    assert told.code == 0
    assert told.report["verdict"] == "Nothing changes"
    assert statuses(told) == dict.fromkeys(ENVIRONMENTS, "unchanged")
    for part in ("components", "models", "pins", "assets", "decisions", "notes", "alike"):
        assert told.report[part] == []
    assert all(one["cost"]["before"] == one["cost"]["after"] for one in told.report["environments"])


def test_a_role_widened(clone: Clone) -> None:
    source = "constructs/edge_constructs/token_exchange.py"
    clone.edit(
        source, '/{prefix}/*")\n        self._allow("WriteCaptures"', '/*")\n        self._allow("WriteCaptures"'
    )
    clone.edit(source, '"WriteCaptures", ["s3:PutObject"]', '"WriteCaptures", ["s3:PutObject", "s3:GetObject"]')
    told = clone.report_by_own_code()
    assert told.code == 3
    bucket = "arn:aws:s3:::sagemaker-dev-captures-111122223333-us-east-1"
    assert ("widened", f"TokenExchangeRole may s3:GetObject, s3:PutObject on {bucket}/*") in permissions(told, "dev")
    assert ("narrowed", f"TokenExchangeRole may s3:PutObject on {bucket}/sme-capture/*") not in permissions(told, "dev")
    assert {kind for kind, _ in told.decisions()} == {"privilege widened"}
    assert {tuple(one["environments"]) for one in told.report["decisions"]} == {(name,) for name in ENVIRONMENTS}
    assert [sorted(names) for names in told.report["alike"]] == [list(ENVIRONMENTS)]
    assert resources(told, "dev") == {"TokenExchangeRoleDefaultPolicy": "changed"}


def test_a_bucket_replaced(clone: Clone) -> None:
    clone.edit(
        "stacks/environment/settings.py", 'f"edge-{self.namespace}-artifacts-', 'f"edge-{self.namespace}-packages-'
    )
    told = clone.report_by_own_code()
    assert told.code == 3
    artifacts = next(one for one in told.environment("prod")["resources"] if one["id"] == "Artifacts")
    assert (artifacts["action"], artifacts["kept"]) == ("replaced", True)
    assert [leaf["path"] for leaf in artifacts["leaves"]] == [["BucketName"]]
    lost = [text for kind, text in told.decisions() if kind == "state replaced"]
    assert len(lost) == 3
    assert (
        "S3 Bucket Artifacts (edge-dev-artifacts-111122223333-us-east-1) is replaced because of BucketName" in lost[0]
    )
    assert "its objects stay where they are; the former one is kept" in lost[0]


def test_a_model_version_bump(clone: Clone) -> None:
    labels = clone.root / "models" / "digits" / "labels.txt"
    labels.write_text(labels.read_text(encoding="utf-8").replace("7", "seven"), encoding="utf-8")
    clone.edit("models/digits/model.toml", 'version = "1.0"', 'version = "1.1"')
    clone.edit("models/digits/model.toml", "accuracy = 0.9778", "accuracy = 0.9801")
    versions = clone.lock(DIGITS)
    told = clone.report()
    assert told.code == 0, told.decisions()
    (model,) = told.report["models"]
    before, after = model["before"], model["after"]
    assert (before["version"], after["version"]) == ("1.0", "1.1")
    assert before["digest"] != after["digest"]
    assert after["size"] - before["size"] == 4
    assert (before["evaluation"]["accuracy"], after["evaluation"]["accuracy"]) == (0.9778, 0.9801)
    assert [(file["path"], file["before"], file["after"]) for file in model["files"]] == [("labels.txt", 20, 24)]
    assert model["unevaluated"] == ""
    assert model["notes"] == []
    assert leaves(told, "dev", "deployment")[f"Release.dev.{DIGITS}.ComponentVersion"] == versions
    # The packaging job writes the new package, and no longer the former: neither wider nor narrower.
    assert {direction for direction, _ in permissions(told, "dev")} == {"moved"}


def test_a_model_file_changed_under_an_old_version(clone: Clone) -> None:
    labels = clone.root / "models" / "digits" / "labels.txt"
    labels.write_text(labels.read_text(encoding="utf-8").replace("7", "seven"), encoding="utf-8")
    code, _, err = clone.run("--base", "HEAD")
    assert code == 1, "a failure: there is nothing to tell of yet"
    assert DIGITS in err
    assert "stands for other content" in err
    assert "run `make lock`" in err
    clone.lock(DIGITS)
    told = clone.report()
    assert told.code == 3
    assert told.decisions() == [
        (
            "model without evaluation",
            "model digits: labels.txt changed under the same version 1.0, whose [evaluation] is of the former file",
        )
    ]


def test_only_a_comment_changed_in_agent_code(clone: Clone) -> None:
    comment = "\n# As the contract has it.\n"
    source = clone.root / "component_src" / "agent" / "edge_agent" / "loader.py"
    source.write_text(source.read_text(encoding="utf-8") + comment, encoding="utf-8")
    before, after = clone.lock(AGENT)
    told = clone.report()
    assert told.code == 0
    (component,) = told.report["components"]
    assert (component["name"], component["before"], component["after"]) == (AGENT, before, after)
    assert component["size_after"] - component["size_before"] == len(comment)
    (file,) = component["files"]
    assert (file["path"], file["same_program"]) == ("edge_agent/loader.py", True)
    assert f"Agent {before} → {after} (comments and layout only)" in told.report["summary"]
    assert sorted(name for names in told.report["alike"] for name in names) == list(ENVIRONMENTS)
    assert len(told.report["alike"]) < len(ENVIRONMENTS), "told of together"
    assert resources(told, "dev")["AgentVersion"] == "replaced"
    assert told.report["assets"] == ["Publisher/AgentArtifactAsset"]


def test_a_rollout_rate(clone: Clone) -> None:
    clone.edit("environments/prod.toml", "maximum_per_minute = 5", "maximum_per_minute = 50")
    told = clone.report()
    assert told.code == 0
    assert statuses(told) == {"dev": "unchanged", "prod": "changed", "staging": "unchanged"}
    rollout = leaves(told, "prod", "rollout")
    assert rollout
    assert set(rollout.values()) == {("5", "50")}
    assert all(name.endswith("JobExecutionsRolloutConfig.MaximumPerMinute") for name in rollout)
    assert leaves(told, "prod", "settings") == {"rollout.maximum_per_minute": ("5", "50")}
    for part in ("resources", "permissions", "deployment", "alarms"):
        assert told.environment("prod")[part] == []


@pytest.mark.usefixtures("remembered")
def test_a_new_environment(clone: Clone) -> None:
    folder = clone.root / "environments"
    shutil.copy2(folder / "staging.toml", folder / "field.toml")
    told = clone.report()
    assert told.code == 0, told.decisions()
    assert statuses(told) == dict.fromkeys(ENVIRONMENTS, "unchanged")
    field = told.environment("field")
    assert (field["status"], field["like"], field["permissions"]) == ("new", "staging", [])
    assert {one["action"] for one in field["resources"]} == {"added"}
    assert field["cost"]["before"] == 0 < field["cost"]["after"]
    _, out, _ = clone.run("--base", "HEAD")
    assert f"A new environment: {len(field['resources'])} resources, all added" in out
    assert "Its permissions are staging's under its own names, and nothing beyond them." in out
    assert len(out.splitlines()) < 60, "summarised, not listed endlessly"


def test_a_device_added(clone: Clone) -> None:
    clone.edit("environments/dev.toml", 'devices = ["device-1"]', 'devices = ["device-1", "device-9"]')
    told = clone.report()
    assert told.code == 0
    assert leaves(told, "dev", "settings") == {"devices": (None, "device-9")}
    dev = told.environment("dev")
    added = {(one["type"], one["action"]) for one in dev["resources"]}
    assert added == {("AWS::IoT::Thing", "added"), ("Custom::ThingGroupMembership", "added")}
    assert dev["permissions"] == []
    quantities = {line["what"]: (line["before"], line["after"]) for line in dev["cost"]["lines"]}
    assert quantities["active core devices"] == (1, 2)
    assert quantities["device connection minutes"] == (43800, 87600)
    assert dev["cost"]["after"] > dev["cost"]["before"]


def test_a_dependency_bump(clone: Clone) -> None:
    path = "component_src/agent/requirements.txt"
    lines = (clone.root / path).read_text(encoding="utf-8").splitlines()
    pin = next(line for line in lines if line.startswith("grpcio==") and line.count("grpcio==") == 1)
    version = pin.removeprefix("grpcio==").split()[0]
    clone.edit(path, pin, pin.replace(version, "9.9.9"))
    _, after = clone.lock(AGENT)
    told = clone.report()
    assert told.code == 0
    (component,) = told.report["components"]
    assert (component["name"], component["after"]) == (AGENT, after)
    (file,) = component["files"]
    assert file["path"] == "requirements.txt"
    (moved,) = file["pins"]
    assert moved["path"] == ["grpcio"]
    assert version in moved["before"]
    assert "9.9.9" in moved["after"]
    assert "comments and layout only" not in told.report["summary"]


def test_a_topic_renamed(clone: Clone) -> None:
    topic = "factory/results"
    clone.edit("environments/dev.toml", "interval_seconds = 60", f'interval_seconds = 60\ntopic = "{topic}"')
    told = clone.report()
    assert told.code == 3
    former = "gg/sageMakerEdgeManager/image-classification"
    arn = "arn:aws:iot:us-east-1:111122223333:topic"
    component = "dev.com.edgemanager.ImageClassification on the device may aws.greengrass#PublishToIoTCore on"
    assert set(permissions(told, "dev")) == {
        ("widened", f"{component} {topic}"),
        ("narrowed", f"{component} {former}"),
        ("widened", f"DevicePolicy device certificates may iot:Publish, iot:Receive on {arn}/{topic}"),
        ("narrowed", f"DevicePolicy device certificates may iot:Publish, iot:Receive on {arn}/{former}"),
    }
    assert leaves(told, "dev", "settings") == {"inference.topic": (former, topic)}
    merged = leaves(told, "dev", "deployment")
    assert (former, topic) in merged.values()
    assert statuses(told) == {"dev": "changed", "prod": "unchanged", "staging": "unchanged"}


def test_a_capture_budget_doubled(clone: Clone) -> None:
    clone.edit(
        "component_src/agent/recipe.json", '"CaptureSpoolMaxBytes": "268435456"', '"CaptureSpoolMaxBytes": "536870912"'
    )
    clone.lock(AGENT)
    told = clone.report()
    assert told.code == 0
    (component,) = told.report["components"]
    recipe = {tuple(leaf["path"]): (leaf["before"], leaf["after"]) for leaf in component["recipe"]}
    path = ("ComponentConfiguration", "DefaultConfiguration", "CaptureSpoolMaxBytes")
    assert recipe == {path: ("268435456", "536870912")}
    assert component["files"] == []
    # Whether devices that have the component get it is the deployment's doing: merged, reset, or not at all.
    kept = component["kept_defaults"]
    assert kept in ([], ["CaptureSpoolMaxBytes in dev, prod, staging"])
    assert bool(kept) == any("reaches new devices only" in note for note in told.report["notes"])


@pytest.mark.usefixtures("remembered")
def test_a_component_of_which_there_are_variants(clone: Clone) -> None:
    classifier = "com.edgemanager.ImageClassification"
    recipe = clone.root / "component_src" / "image_classification" / "recipe.json"
    told_before = json.loads(recipe.read_text(encoding="utf-8"))
    recipe.write_text(json.dumps({**told_before, "ComponentDescription": "Another one"}), encoding="utf-8")
    before, after = clone.lock(f"{classifier}@sagemaker")
    assert before != after
    told = clone.report()
    found = {one["name"]: (one["before"], one["after"]) for one in told.report["components"]}
    assert set(found) == {classifier, f"{classifier}@sagemaker"}
    assert found[f"{classifier}@sagemaker"] == (before, after)
    assert f"ImageClassification@sagemaker {before} → {after}" in told.report["summary"]
    _, out, _ = clone.run("--base", "HEAD")
    assert "made by an environment's settings" in out


def test_an_approval_and_a_verification_that_go(clone: Clone) -> None:
    clone.edit("delivery.toml", '["dev", "staging", "prod"]', '["dev", "staging"]')
    clone.edit("delivery.toml", 'approval = ["prod"]', 'approval = ["staging"]')
    clone.snapshots()
    clone.git("commit", "--quiet", "--all", "--message=staging waits")
    clone.edit("delivery.toml", 'approval = ["staging"]', "approval = []")
    canaries = re.search(
        r"^canaries = .*\n", (clone.root / "environments/staging.toml").read_text("utf-8"), re.MULTILINE
    )
    assert canaries is not None
    clone.edit("environments/staging.toml", canaries[0], "")
    told = clone.report()
    assert told.code == 3
    lost = {text for _, text in permissions(told, "") if "lets releases" in text}
    gone = ("Approve-staging", "ChangeReport-staging", "Rollout.VerifyCanaries-staging")
    assert lost == {f"Pipeline lets releases into staging without {name}" for name in gone}
    assert lost <= {text for _, text in told.decisions()}


def test_a_new_model_that_was_not_measured(clone: Clone) -> None:
    folder = clone.root / "models"
    shutil.copytree(folder / "digits", folder / "letters")
    clone.edit("models/letters/model.toml", 'name = "digits"', 'name = "letters"')
    clone.edit("models/letters/model.toml", "images = 360", "images = 0")
    told = clone.report()
    assert told.code == 3
    assert told.decisions() == [
        ("model without evaluation", "model letters: it was measured on no images: [evaluation] has none")
    ]
    assert told.report["decisions"][0]["text"] in told.report["summary"]


def test_another_version_of_what_the_app_is_built_with(clone: Clone) -> None:
    version = re.search(r'"aws-cdk": "([\d.]+)"', (clone.root / "package.json").read_text(encoding="utf-8"))
    assert version is not None
    clone.edit("package.json", version[0], '"aws-cdk": "9.9.9"')
    told = clone.report()
    assert told.code == 0
    assert [(leaf["path"], leaf["before"], leaf["after"]) for leaf in told.report["pins"]] == [
        (["aws-cdk"], version[1], "9.9.9")
    ]
    assert "1 package that it is built with moved" in told.report["summary"]


def test_a_model_whose_files_lie_in_a_bucket_is_told_of_by_its_digest(clone: Clone) -> None:
    folder = clone.root / "models" / "letters"
    shutil.copytree(clone.root / "models" / "digits", folder)
    (folder / "model.onnx").unlink()
    clone.edit("models/letters/model.toml", 'name = "digits"', 'name = "letters"')
    with (folder / "model.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[source]\nuri = "s3://weights/letters/"\ndigest = "{"ab" * 32}"\n')
    (model,) = clone.report().report["models"]
    assert (model["name"], model["after"]["digest"], model["unevaluated"]) == ("letters", "ab" * 32, "")

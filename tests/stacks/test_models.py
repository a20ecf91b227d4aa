# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge_constructs.model_folder import load_model_folder
from edge_package import make_manifest
from stacks.application import build_app
from stacks.components import ROOT
from tests.stacks.minimal import MINIMAL

ARTIFACTS = "edge-dev-artifacts-111122223333-us-east-1"


def test_the_job_declares_the_digest_of_the_models_files(templates: dict[str, Any], resources: Any) -> None:
    (job,) = resources(templates["Models"], "Custom::EdgePackagingJob").values()
    properties = job["Properties"]
    folder = ROOT / "models" / "digits"
    files = {name: (folder / name).read_bytes() for name in ("model.onnx", "labels.txt")}
    digest = make_manifest(model_name="digits", model_version="1.0", files=files).digest
    assert properties["ModelDigest"] == digest
    assert properties["ModelArtifact"] == f"s3://{ARTIFACTS}/models/digits/{digest}/digits-1.0.tar.gz"
    assert properties["SigningKeys"] == ["arn:aws:kms:us-east-1:111122223333:alias/dev-model-signing-1"]
    assert int(properties["ServiceTimeout"]) <= 3600


def test_the_job_writes_its_package_and_nothing_else(templates: dict[str, Any], resources: Any, allows: Any) -> None:
    template = templates["Models"]
    (job,) = resources(template, "Custom::EdgePackagingJob").values()
    (role,) = (id_ for id_ in resources(template, "AWS::IAM::Role") if "HandlerRole" in id_)
    package = job["Properties"]["ModelArtifact"].replace("s3://", "arn:aws:s3:::")
    source = job["Properties"]["ModelSource"].replace("s3://", "arn:aws:s3:::")
    assert allows(template, role, "s3:PutObject", package)
    assert allows(template, role, "s3:PutObject", f"{package}.sig")
    assert allows(template, role, "s3:GetObject", source)
    statements = template["Resources"].values()
    (signing,) = (
        statement
        for policy in statements
        if policy["Type"] == "AWS::IAM::Policy"
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == ["kms:Sign", "kms:Verify"]
    )
    assert signing["Condition"] == {"StringEquals": {"kms:RequestAlias": ["alias/dev-model-signing-1"]}}
    for action, resource in (
        ("s3:PutObject", f"arn:aws:s3:::{ARTIFACTS}/models/other"),
        ("s3:PutObject", f"arn:aws:s3:::{ARTIFACTS}/components/x"),
        ("s3:DeleteObject", package),
        ("s3:GetObject", f"{source.rpartition('/')[0]}/other.zip"),
        ("s3:PutObject", source),
        ("greengrass:CreateComponentVersion", "*"),
    ):
        assert not allows(template, role, action, resource), (action, resource)


def test_a_model_that_lies_in_s3_is_packaged_from_there(tmp_path: Path, allows: Any, resources: Any) -> None:
    folder = tmp_path / "models" / "digits"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "models" / "digits" / "labels.txt", folder)
    digest = load_model_folder(ROOT / "models" / "digits").digest
    text = (ROOT / "models" / "digits" / "model.toml").read_text()
    (folder / "model.toml").write_text(f'{text}\n[source]\nuri = "s3://weights/digits/"\ndigest = "{digest}"\n')
    for name in ("cdk.json", "component_src", "components.lock", "environments"):
        (tmp_path / name).symlink_to(ROOT / name)
    build_app(outdir=str(tmp_path / "cdk.out"), context={"env": "dev"}, root=tmp_path).synth()
    (path,) = (tmp_path / "cdk.out" / "assembly-dev").glob("*Models*.template.json")
    template = json.loads(path.read_text())
    (job,) = (r["Properties"] for r in resources(template, "Custom::EdgePackagingJob").values())
    assert (job["ModelSource"], job["ModelDigest"]) == ("s3://weights/digits/", digest)
    assert job["Files"] == ["model.onnx", "labels.txt"]
    (role,) = (id_ for id_ in resources(template, "AWS::IAM::Role") if "HandlerRole" in id_)
    assert allows(template, role, "s3:GetObject", "arn:aws:s3:::weights/digits/model.onnx")
    assert not allows(template, role, "s3:GetObject", "arn:aws:s3:::weights/other/model.onnx")
    assert not allows(template, role, "s3:PutObject", "arn:aws:s3:::weights/digits/model.onnx")


def test_another_partition_has_its_own_arns(synthesise_texts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_TEST_REGION", "cn-north-1")
    (stacks,) = synthesise_texts(MINIMAL + '[compilation]\ntarget_device = "rasp4b"\n')
    for name, template in stacks.items():
        assert "arn:aws:" not in json.dumps(template), name
        if name in {"Fleet", "Models", "Release"}:
            assert "arn:aws-cn:s3:::" in json.dumps(template), name


def test_nothing_is_exported(templates: dict[str, Any]) -> None:
    outputs = [output for template in templates.values() for output in template.get("Outputs", {}).values()]
    assert outputs
    assert not [output for output in outputs if "Export" in output]

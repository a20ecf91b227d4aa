# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from edge_package import make_manifest
from stacks.components import ROOT

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


def test_nothing_is_exported(templates: dict[str, Any]) -> None:
    outputs = [output for template in templates.values() for output in template.get("Outputs", {}).values()]
    assert outputs
    assert not [output for output in outputs if "Export" in output]

# SPDX-License-Identifier: Apache-2.0
"""The pipeline's template: stages and their order, what each may do, and what other accounts are given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_constructs.pipeline_findings import REASONS
from local.aws.policies import Decision, Request, decide, statements_of
from stacks.application import build_app
from stacks.components import ROOT
from stacks.delivery_settings import load_delivery
from stacks.environment import EnvironmentFileError

Template = dict[str, Any]
# Three accounts and two regions, as an organisation has them.
ACCOUNTS = {
    "EDGE_DELIVERY_ACCOUNT": "444455556666",
    "EDGE_DELIVERY_CONNECTION": "arn:aws:codeconnections:us-east-1:444455556666:connection/" + "0" * 36,
    "EDGE_DEV_ACCOUNT": "444455556666",
    "EDGE_STAGING_ACCOUNT": "555566667777",
    "EDGE_PROD_ACCOUNT": "666677778888",
    "EDGE_PROD_REGION": "eu-west-1",
}


@pytest.fixture(scope="module")
def pipeline(assembly: Path) -> Template:
    return read(assembly / "Delivery.template.json")


@pytest.fixture(scope="module")
def abroad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The assembly of `ACCOUNTS`; a finding of cdk-nag's would fail it."""
    outdir = tmp_path_factory.mktemp("abroad") / "cdk.out"
    build_app(outdir=str(outdir), variables=ACCOUNTS).synth()
    return outdir


def read(path: Path) -> Template:
    template: Template = json.loads(path.read_text(encoding="utf-8"))
    return template


def of_type(template: Template, type_: str) -> dict[str, Any]:
    return {id_: item["Properties"] for id_, item in template["Resources"].items() if item["Type"] == type_}


def actions(template: Template) -> dict[str, list[Any]]:
    """The actions of each stage in the order in which they run."""
    (made,) = of_type(template, "AWS::CodePipeline::Pipeline").values()
    return {stage["Name"]: sorted(stage["Actions"], key=lambda item: item["RunOrder"]) for stage in made["Stages"]}


def project_of(template: Template, action: Any) -> Any:
    return of_type(template, "AWS::CodeBuild::Project")[action["Configuration"]["ProjectName"]["Ref"]]


def named(template: Template, stage: str, name: str) -> Any:
    (found,) = (action for action in actions(template)[stage] if action["Name"] == name)
    return found


def specification(project: Any) -> Any:
    return json.loads(text(project["Source"]["BuildSpec"]))


def commands(project: Any) -> list[str]:
    return [line for phase in specification(project)["phases"].values() for line in phase.get("commands", [])]


def variables(project: Any) -> dict[str, str]:
    return {item["Name"]: item["Value"] for item in project["Environment"].get("EnvironmentVariables", [])}


def text(value: Any) -> str:
    """A value of a template as text, `<id.attribute>` for what is not known yet."""
    if isinstance(value, Mapping):
        ((function, argument),) = value.items()
        if function == "Fn::Join":
            return str(argument[0]).join(text(part) for part in argument[1])
        return f"<{'.'.join(argument) if isinstance(argument, list) else argument}>"
    return str(value)


def statements(template: Template, role: str) -> list[Any]:
    """All statements of a role's policies, resources as text."""
    return [
        {**statement, "Resource": [text(item) for item in as_list(statement["Resource"])]}
        for policy in of_type(template, "AWS::IAM::Policy").values()
        if {"Ref": role} in policy["Roles"]
        for statement in statements_of(policy["PolicyDocument"])
    ]


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def test_stages_come_in_the_order_of_promotion(pipeline: Template) -> None:
    assert list(actions(pipeline)) == ["Source", "Build", "UpdatePipeline", "Assets", "dev", "staging", "prod"]
    (made,) = of_type(pipeline, "AWS::CodePipeline::Pipeline").values()
    assert (made["PipelineType"], made["RestartExecutionOnUpdate"]) == ("V2", True)


def test_the_source_is_a_whole_clone(pipeline: Template) -> None:
    (source,) = actions(pipeline)["Source"]
    assert source["ActionTypeId"]["Provider"] == "CodeStarSourceConnection"
    assert source["Configuration"]["OutputArtifactFormat"] == "CODEBUILD_CLONE_REF"
    assert source["Configuration"]["BranchName"] == "main"


def test_one_synth_follows_the_checks_and_everything_is_deployed_from_it(pipeline: Template) -> None:
    (synth,) = actions(pipeline)["Build"]
    project = project_of(pipeline, synth)
    assert commands(project) == ["make --no-print-directory setup", "make --no-print-directory check"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^check: (.* )?synth( |$)", makefile, re.MULTILINE), "check ends with the synth"
    assert makefile.count("cdk synth") == makefile.count("cdk synth '**'") == 1
    assert specification(project)["artifacts"]["base-directory"] == "cdk.out"
    (assembly,) = synth["OutputArtifacts"]
    for stage in ("dev", "staging", "prod"):
        deployed = [action for action in actions(pipeline)[stage] if action["Name"].endswith(".Prepare")]
        assert {action["InputArtifacts"][0]["Name"] for action in deployed} == {assembly["Name"]}
        assert all(
            action["Configuration"]["TemplatePath"].startswith(f"{assembly['Name']}::assembly-{stage}/")
            for action in deployed
        )


def test_the_synth_knows_where_everything_lies(abroad: Path) -> None:
    template = read(abroad / "Delivery.template.json")
    (synth,) = actions(template)["Build"]
    told = variables(project_of(template, synth))
    regions = {f"EDGE_{name}_REGION": "us-east-1" for name in ("DELIVERY", "DEV", "STAGING")}
    assert told == {**ACCOUNTS, **regions}


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("dev", ["Fleet", "Models", "Release", "Verify-dev"]),
        ("staging", ["Fleet", "Models", "Release", "Rollout.VerifyCanaries-staging", "Rollout", "Verify-staging"]),
        (
            "prod",
            [
                "ChangeReport-prod",
                "Approve-prod",
                *("Fleet", "Models", "Release", "Rollout.VerifyCanaries-prod", "Rollout", "Verify-prod"),
            ],
        ),
    ],
)
def test_a_release_is_verified_before_it_goes_on(pipeline: Template, stage: str, expected: list[str]) -> None:
    found = [action["Name"] for action in actions(pipeline)[stage]]
    steps = [name.removesuffix(".Deploy") for name in found if not name.endswith(".Prepare")]
    order = [name for name in steps if name in expected]
    assert order == expected
    orders = [action["RunOrder"] for action in actions(pipeline)[stage] if action["Name"] in expected]
    assert len(set(orders)) == len(orders), "none of them runs beside another one"


@pytest.mark.parametrize(("name", "option"), [("Rollout.VerifyCanaries-prod", "--first"), ("Verify-prod", "--record")])
def test_a_verification_restores_and_the_last_one_records(pipeline: Template, name: str, option: str) -> None:
    action = named(pipeline, "prod", name)
    verify, *after = commands(project_of(pipeline, action))
    assert verify == f"make --no-print-directory verify ENV=prod OPTIONS='--assume-roles --restore {option}'"
    if option == "--record":
        assert after == [
            'aws ssm put-parameter --name /edge-delivery/prod/commit --type String --overwrite --value "$COMMIT"'
        ]
        (commit,) = json.loads(action["Configuration"]["EnvironmentVariables"])
        assert (commit["name"], commit["value"].endswith(".CommitId}")) == ("COMMIT", True)


def test_a_verification_has_time_to_wait_and_to_restore(pipeline: Template) -> None:
    # Two groups in prod, and a restore, of 30 minutes each.
    assert project_of(pipeline, named(pipeline, "prod", "Verify-prod"))["TimeoutInMinutes"] >= 90


@pytest.mark.refusal("Delivery", "a verification that would be cut off")
def test_a_verification_is_not_cut_off_by_the_build_s_own_limit(tmp_path: Path, refusal: Callable[..., None]) -> None:
    with pytest.raises(EnvironmentFileError) as caught:
        build_app(outdir=str(tmp_path), variables={}, context={"prod.verification.wait_minutes": "151"})
    says = ("prod.toml: verification.wait_minutes", "at most 150 is expected", "got 151", "wait for less")
    refusal(str(caught.value), says)


def test_prod_waits_for_a_person_who_sees_the_report(pipeline: Template) -> None:
    report, approval = (named(pipeline, "prod", name) for name in ("ChangeReport-prod", "Approve-prod"))
    assert report["RunOrder"] < approval["RunOrder"] < named(pipeline, "prod", "Fleet.Prepare")["RunOrder"]
    assert approval["ActionTypeId"]["Category"] == "Approval"
    configuration = approval["Configuration"]
    assert configuration["CustomData"] == f"#{{{report['Namespace']}.CHANGE_SUMMARY}}"
    project = project_of(pipeline, report)
    assert specification(project)["env"]["exported-variables"] == ["CHANGE_SUMMARY"]
    *_, write, export = commands(project)
    key = "reports/prod/%s.html"
    (bucket,) = of_type(pipeline, "AWS::S3::Bucket")
    assert f"--to s3://<{bucket}>/{key % '$EXECUTION'}" in write
    assert "--base-parameter /edge-delivery/prod/commit --base HEAD~1" in write
    assert export == 'export CHANGE_SUMMARY="$(cat build/change/summary.txt)"'
    link = text(configuration["ExternalEntityLink"])
    assert link == (
        f"https://us-east-1.console.aws.amazon.com/s3/object/<{bucket}>?region=us-east-1"
        f"&prefix={key % '#{codepipeline.PipelineExecutionId}'}"
    )
    assert variables(project) == {}, "snapshots are compared, and those are of no account"
    approvals = [
        item for stage in actions(pipeline).values() for item in stage if item["ActionTypeId"]["Category"] == "Approval"
    ]
    assert approvals == [approval], "only prod waits"


def test_the_pipeline_changes_itself_with_the_pinned_cli(pipeline: Template) -> None:
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    (mutate,) = actions(pipeline)["UpdatePipeline"]
    install, deploy = commands(project_of(pipeline, mutate))
    assert install == f"npm install -g aws-cdk@{package['devDependencies']['aws-cdk']}"
    assert deploy.startswith("cdk -a . deploy Delivery --require-approval=never")


def test_assets_are_published_with_the_pinned_tool(assembly: Path) -> None:
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    (specification,) = assembly.glob("buildspec-*-FileAsset.yaml")
    assert f"cdk-assets@{package['config']['cdk-assets']}" in specification.read_text(encoding="utf-8")


# --- least privilege ------------------------------------------------------------------------------------------------
def roles_of_projects(template: Template) -> Iterator[tuple[str, str]]:
    for stage in actions(template).values():
        for action in stage:
            if action["ActionTypeId"]["Provider"] == "CodeBuild":
                yield action["Name"], project_of(template, action)["ServiceRole"]["Fn::GetAtt"][0]


def can(template: Template, role: str, action: str, resource: str) -> bool:
    plain = [item for item in statements(template, role) if "Condition" not in item]
    return decide(plain, Request(action, resource)) is Decision.ALLOW


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_a_verification_acts_in_its_own_environment_alone(abroad: Path, name: str) -> None:
    template = read(abroad / "Delivery.template.json")
    role = dict(roles_of_projects(template))[f"Verify-{name}"]
    assert of_type(template, "AWS::IAM::Role")[role]["RoleName"] == f"edge-delivery-verify-{name}"
    account = ACCOUNTS[f"EDGE_{name.upper()}_ACCOUNT"]
    own = {f"arn:<AWS::Partition>:iam::{account}:role/{name}-{kind}" for kind in ("verifier", "restorer")}
    assumed = {
        resource
        for statement in statements(template, role)
        if "sts:AssumeRole" in as_list(statement["Action"])
        for resource in statement["Resource"]
    }
    assert {item.replace("arn:aws:", "arn:<AWS::Partition>:") for item in assumed} == own
    place = f"arn:aws:ssm:us-east-1:444455556666:parameter/edge-delivery/{name}/commit"
    assert can(template, role, "ssm:PutParameter", place)
    assert not can(template, role, "ssm:PutParameter", place.replace(name, "other"))
    assert not can(template, role, "s3:PutObject", "<Artifacts82DD59A1.Arn>/reports/prod/x.html")


def test_a_report_is_written_where_reports_are_and_nowhere_else(pipeline: Template) -> None:
    role = dict(roles_of_projects(pipeline))["ChangeReport-prod"]
    (bucket,) = of_type(pipeline, "AWS::S3::Bucket")
    assert can(pipeline, role, "s3:PutObject", f"<{bucket}.Arn>/reports/prod/1.html")
    assert not can(pipeline, role, "s3:PutObject", f"<{bucket}.Arn>/edge-delivery/Source/1")
    parameter = "arn:aws:ssm:us-east-1:111122223333:parameter/edge-delivery/prod/commit"
    assert can(pipeline, role, "ssm:GetParameter", parameter)
    assert not can(pipeline, role, "ssm:PutParameter", parameter)
    assert not can(pipeline, role, "sts:AssumeRole", "arn:aws:iam::111122223333:role/prod-restorer")


def test_no_role_may_do_everything_with_anything(pipeline: Template) -> None:
    for role in of_type(pipeline, "AWS::IAM::Role"):
        for statement in statements(pipeline, role):
            assert not {"*", "s3:*", "iam:*", "sts:*", "kms:*"} & set(as_list(statement["Action"]))
            if "*" in statement["Resource"]:
                allowed = {"cloudformation:DescribeStacks", "s3:ListBucket", "sts:AssumeRole"}
                assert set(as_list(statement["Action"])) <= allowed, statement
            if "sts:AssumeRole" in as_list(statement["Action"]) and any("*" in item for item in statement["Resource"]):
                tags = statement["Condition"]["ForAnyValue:StringEquals"]
                assert set(tags) == {"iam:ResourceTag/aws-cdk:bootstrap-role"}, "only what the CDK bootstrapped"


def test_every_user_of_the_connection_may_use_it_under_its_present_name(pipeline: Template) -> None:
    users = [
        role
        for role in of_type(pipeline, "AWS::IAM::Role")
        if any("codestar-connections:UseConnection" in as_list(item["Action"]) for item in statements(pipeline, role))
    ]
    connection = load_delivery(ROOT / "delivery.toml", variables={}).connection
    assert len(users) >= 6
    assert all(can(pipeline, role, "codeconnections:UseConnection", connection) for role in users)


def test_each_reason_for_a_finding_is_needed(abroad: Path, assembly: Path) -> None:
    found = set()
    for outdir in (abroad, assembly):
        for plugin in read(outdir / "validation-report.json")["pluginReports"]:
            for violation in plugin.get("suppressedViolations", []):
                found.add(violation["reason"])
    assert set(REASONS.values()) - found == set(), "accepted, but found nowhere: remove it"


# --- other accounts and regions -------------------------------------------------------------------------------------
def principals(statement: Mapping[str, Any]) -> str:
    return json.dumps([text(item) for item in as_list(statement["Principal"].get("AWS", []))])


@pytest.mark.parametrize("account", ["555566667777", "666677778888"])
def test_other_accounts_may_read_artifacts_with_the_key(abroad: Path, account: str) -> None:
    region = "eu-west-1" if account == ACCOUNTS["EDGE_PROD_ACCOUNT"] else "us-east-1"
    template = read(
        next(
            path for path in abroad.glob("*.template.json") if ("cross-region" in path.name) is (region != "us-east-1")
        )
    )
    (policy,) = of_type(template, "AWS::S3::BucketPolicy").values()
    reading = [item for item in policy["PolicyDocument"]["Statement"] if account in principals(item)]
    assert reading
    for item in reading:
        assert item["Effect"] == "Allow"
        roles = {text(one) for one in as_list(item["Principal"]["AWS"])}
        known = "444455556666|555566667777|666677778888"
        assert all(re.search(rf"iam::({known}):role/cdk-hnb659fds-deploy-role-", role) for role in roles), roles
    (key,) = of_type(template, "AWS::KMS::Key").values()
    decrypting = [item for item in key["KeyPolicy"]["Statement"] if account in principals(item)]
    assert any("kms:Decrypt" in as_list(item["Action"]) for item in decrypting)


def test_artifacts_take_tls_alone_and_are_encrypted_with_a_key_that_turns(pipeline: Template) -> None:
    (bucket,) = of_type(pipeline, "AWS::S3::Bucket").values()
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    (key,) = of_type(pipeline, "AWS::KMS::Key").values()
    assert key["EnableKeyRotation"] is True
    (policy,) = of_type(pipeline, "AWS::S3::BucketPolicy").values()
    denied = [item for item in policy["PolicyDocument"]["Statement"] if item["Effect"] == "Deny"]
    assert {"aws:SecureTransport": "false"} in [item["Condition"].get("Bool") for item in denied]


def test_deployments_abroad_are_made_with_the_environment_s_own_roles(abroad: Path) -> None:
    template = read(abroad / "Delivery.template.json")
    deploy = named(template, "prod", "Fleet.Prepare")
    assert deploy["Region"] == "eu-west-1"
    assert text(deploy["RoleArn"]).endswith(":iam::666677778888:role/cdk-hnb659fds-deploy-role-666677778888-eu-west-1")
    (made,) = of_type(template, "AWS::CodePipeline::Pipeline").values()
    assert {store["Region"] for store in made["ArtifactStores"]} == {"us-east-1", "eu-west-1"}


# --- the roles of an environment ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def prod_fleet(abroad: Path) -> Template:
    return next(
        template
        for path in (abroad / "assembly-prod").glob("*Fleet*.template.json")
        if "Resources" in (template := read(path))
    )


def role_named(template: Template, name: str) -> tuple[str, Any]:
    ((id_, role),) = (
        (id_, role) for id_, role in of_type(template, "AWS::IAM::Role").items() if role.get("RoleName") == name
    )
    return id_, role


@pytest.mark.parametrize("kind", ["verifier", "restorer"])
def test_an_environment_trusts_the_one_role_that_verifies_it(prod_fleet: Template, kind: str) -> None:
    _, role = role_named(prod_fleet, f"prod-{kind}")
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert text(statement["Principal"]["AWS"]).endswith(":iam::444455556666:root")
    trusted = "arn:aws:iam::444455556666:role/edge-delivery-verify-prod"
    assert statement["Condition"] == {"ArnEquals": {"aws:PrincipalArn": trusted}}


PLACE = "eu-west-1:666677778888"
MAY = [
    ("verifier", "cloudformation:DescribeStacks", f"arn:aws:cloudformation:{PLACE}:stack/prod-Release/1", True),
    ("verifier", "cloudformation:DescribeStacks", f"arn:aws:cloudformation:{PLACE}:stack/other/1", False),
    ("verifier", "greengrass:GetDeployment", f"arn:aws:greengrass:{PLACE}:deployments:1", True),
    ("verifier", "greengrass:CreateDeployment", "*", False),
    ("verifier", "greengrass:CancelDeployment", f"arn:aws:greengrass:{PLACE}:deployments:1", False),
    ("verifier", "dynamodb:BatchGetItem", f"arn:aws:dynamodb:{PLACE}:table/prod-heartbeats", True),
    ("verifier", "dynamodb:PutItem", f"arn:aws:dynamodb:{PLACE}:table/prod-heartbeats", False),
    ("verifier", "ssm:GetParameter", f"arn:aws:ssm:{PLACE}:parameter/prod/edge-manager/last-good", True),
    ("verifier", "ssm:PutParameter", f"arn:aws:ssm:{PLACE}:parameter/prod/edge-manager/last-good", False),
    ("verifier", "iot:CreateJob", f"arn:aws:iot:{PLACE}:thinggroup/prod-fleet", False),
    ("restorer", "ssm:PutParameter", f"arn:aws:ssm:{PLACE}:parameter/prod/edge-manager/last-good", True),
    ("restorer", "ssm:PutParameter", f"arn:aws:ssm:{PLACE}:parameter/prod/edge-manager/other", False),
    ("restorer", "ssm:DeleteParameter", f"arn:aws:ssm:{PLACE}:parameter/prod/edge-manager/last-good", False),
    ("restorer", "greengrass:CreateDeployment", "*", True),
    ("restorer", "greengrass:DeleteDeployment", f"arn:aws:greengrass:{PLACE}:deployments:1", False),
    ("restorer", "iot:CreateJob", f"arn:aws:iot:{PLACE}:thinggroup/prod-fleet", True),
    ("restorer", "iot:CreateJob", f"arn:aws:iot:{PLACE}:thinggroup/prod-canary", True),
    ("restorer", "iot:CreateJob", f"arn:aws:iot:{PLACE}:thinggroup/dev-fleet", False),
    ("restorer", "iot:CreateJob", f"arn:aws:iot:{PLACE}:thing/prod-device-1", False),
    ("restorer", "s3:GetObject", "arn:aws:s3:::edge-prod-artifacts-666677778888-eu-west-1/x", False),
]


@pytest.mark.parametrize(("kind", "action", "resource", "expected"), MAY)
def test_the_environment_s_roles_may_this_and_not_that(
    prod_fleet: Template,
    kind: str,
    action: str,
    resource: str,
    expected: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    role, _ = role_named(prod_fleet, f"prod-{kind}")
    found = [
        {**item, "Resource": [one.replace("<AWS::Partition>", "aws") for one in item["Resource"]]}
        for item in statements(prod_fleet, role)
    ]
    assert (decide(found, Request(action, resource)) is Decision.ALLOW) is expected


def test_the_verifier_reads_only(prod_fleet: Template) -> None:
    role, _ = role_named(prod_fleet, "prod-verifier")
    asked = {action for item in statements(prod_fleet, role) for action in as_list(item["Action"])}
    assert all(re.match(r"[a-z]+:(Get|List|Describe|BatchGet)", action) for action in asked)


def test_an_account_without_a_pipeline_trusts_nobody(tmp_path: Path) -> None:
    build_app(outdir=str(tmp_path), variables={"EDGE_DEV_ACCOUNT": "444455556666"}, context={"env": "dev"}).synth()
    template = next(read(path) for path in (tmp_path / "assembly-dev").glob("*Fleet*.template.json"))
    names = {role.get("RoleName") for role in of_type(template, "AWS::IAM::Role").values()}
    assert not {"dev-verifier", "dev-restorer"} & names
    assert not (tmp_path / "Delivery.template.json").exists(), "one environment alone has no pipeline"


# --- delivery.toml --------------------------------------------------------------------------------------------------
@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """delivery.toml with a change, beside the environments."""
    (tmp_path / "environments").mkdir()
    for path in (ROOT / "environments").glob("*.toml"):
        (tmp_path / "environments" / path.name).touch()

    def make(before: str, after: str) -> Path:
        original = (ROOT / "delivery.toml").read_text(encoding="utf-8")
        assert before in original
        path = tmp_path / "delivery.toml"
        path.write_text(original.replace(before, after), encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"your-organisation/edge-manager"', '"edge-manager"', "repository: should match pattern"),
        ('["dev", "staging", "prod"]', "[]", "environments: .*at least 1 item"),
        ('["dev", "staging", "prod"]', '["dev", "dev"]', "environments: dev stands twice; each is delivered to once"),
        ('["dev", "staging", "prod"]', '["dev", "live"]', "some of dev, prod, staging are expected, got live"),
        ('approval = ["prod"]', 'approval = ["live"]', "approval: some of environments are expected, got live"),
        (
            'approval = ["prod"]',
            'approval = ["dev"]',
            "approval: prod is expected among them, .*got dev: name it there",
        ),
        ('branch = "main"', "branch = 1", "branch: should be a valid string; got 1; write it in quotes"),
        ('branch = "main"', 'branchs = "main"', "branchs: no such key; known here are account, approval, branch,"),
        ('branch = "main"', 'account = "1"', "account: not set here: they come from EDGE_DELIVERY_ACCOUNT"),
        ('branch = "main"', "branch =", "a TOML file with the pipeline is expected"),
        ('report_base = "HEAD~1"', "", "report_base: expected, but missing; add it"),
    ],
)
def test_a_wrong_file_is_refused(write: Callable[[str, str], Path], before: str, after: str, message: str) -> None:
    with pytest.raises(EnvironmentFileError, match=message):
        load_delivery(write(before, after), variables={})


def test_a_connection_that_is_none_is_refused(write: Callable[[str, str], Path]) -> None:
    with pytest.raises(EnvironmentFileError, match=r"the ARN of a connection is expected, .*, got 'github'"):
        load_delivery(write("main", "main"), variables={"EDGE_DELIVERY_CONNECTION": "github"})


def in_regions(delivery: str, **regions: str) -> dict[str, str]:
    """`ACCOUNTS` with the pipeline and each environment in a region."""
    told = {f"EDGE_{name.upper()}_REGION": region for name, region in regions.items()}
    return {**ACCOUNTS, "EDGE_DELIVERY_REGION": delivery, **told}


CHINA = in_regions("cn-north-1", dev="cn-north-1", staging="cn-north-1", prod="cn-northwest-1")


def test_a_pipeline_of_another_partition_is_trusted_by_its_arn_there(tmp_path: Path) -> None:
    build_app(outdir=str(tmp_path), variables=CHINA).synth()
    (fleet,) = (tmp_path / "assembly-staging").glob("*Fleet*.template.json")
    text = fleet.read_text(encoding="utf-8")
    trusted = set(re.findall(r"arn:[a-z-]+:iam::\d+:role/edge-delivery-verify-[a-z]+", text))
    assert trusted == {"arn:aws-cn:iam::444455556666:role/edge-delivery-verify-staging"}


@pytest.mark.parametrize("context", [{}, {"env": "prod"}])
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            in_regions("us-east-1", dev="us-east-1", staging="us-east-1", prod="cn-north-1"),
            r"partition are expected, aws, as .* us-east-1, but there is prod in cn-north-1 \(aws-cn\): .*take it out",
        ),
        (
            in_regions("us-gov-west-1", dev="us-gov-west-1", staging="us-gov-east-1", prod="eu-west-1"),
            r"expected, aws-us-gov, .* but there is prod in eu-west-1 \(aws\)",
        ),
    ],
)
def test_an_environment_of_another_partition_is_refused(
    variables: dict[str, str], message: str, context: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentFileError, match=message):
        build_app(context=context, outdir=str(tmp_path), variables=variables)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk as cdk
import aws_cdk.aws_codebuild as codebuild
import aws_cdk.aws_iam as iam
import aws_cdk.aws_s3 as s3
from aws_cdk import pipelines
from constructs import Construct

from edge_constructs.arns import regional_arn

SUMMARY_VARIABLE = "CHANGE_SUMMARY"
_EXECUTION = "#{codepipeline.PipelineExecutionId}"  # the variables of CodePipeline itself


class ChangeApproval(Construct):
    """The gate before an environment: a change report, then a person who is shown its summary and its address.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        environment: the environment's name.
        source: the repository, with its history.
        base: the git ref that the first report is held against.
        commit_parameter: SSM parameter with the commit that the environment runs, with its leading slash.
        bucket: where reports are kept, below `reports/`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: str,
        source: pipelines.CodePipelineSource,
        base: str,
        commit_parameter: str,
        bucket: s3.IBucket,
    ) -> None:
        super().__init__(scope, id_)
        stack = cdk.Stack.of(self)
        parameter = regional_arn(self, "ssm", f"parameter{commit_parameter}")
        prefix = f"reports/{environment}"
        console = f"https://{stack.region}.console.aws.amazon.com/s3/object/{bucket.bucket_name}"
        command = f".venv/bin/python -m operations change-report --base-parameter {commit_parameter} --base {base}"
        report = pipelines.CodeBuildStep(
            f"ChangeReport-{environment}",
            input=source,
            # And no accounts: the snapshots that it compares with are of none.
            env={"EXECUTION": _EXECUTION},
            install_commands=["make --no-print-directory setup"],
            commands=[
                f"{command} --to s3://{bucket.bucket_name}/{prefix}/$EXECUTION.html --out build/change",
                f'export {SUMMARY_VARIABLE}="$(cat build/change/summary.txt)"',
            ],
            role_policy_statements=[
                iam.PolicyStatement(sid="ReadCommit", actions=["ssm:GetParameter"], resources=[parameter]),
                iam.PolicyStatement(
                    sid="KeepReport", actions=["s3:PutObject"], resources=[bucket.arn_for_objects(f"{prefix}/*")]
                ),
            ],
            build_environment=codebuild.BuildEnvironment(compute_type=codebuild.ComputeType.MEDIUM),
        )
        approval = pipelines.ManualApprovalStep(
            f"Approve-{environment}",
            comment=report.exported_variable(SUMMARY_VARIABLE),
            review_url=f"{console}?region={stack.region}&prefix={prefix}/{_EXECUTION}.html",
        )
        approval.add_step_dependency(report)
        self.steps = [report, approval]

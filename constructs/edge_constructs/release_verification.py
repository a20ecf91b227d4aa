# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
import aws_cdk.aws_codebuild as codebuild
import aws_cdk.aws_iam as iam
from aws_cdk import pipelines
from constructs import Construct

from edge_constructs.arns import regional_arn


class ReleaseVerification(Construct):
    """The verification of one environment in a pipeline: its CodeBuild projects' role, and the steps that have it.

    The role may assume the environment's verifier and restorer, and write down what commit passed; it has no
    permission of its own in the environment.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        environment: the environment's name.
        source: the repository.
        commit: of the repository, as a pipeline variable.
        role_name: the role's; the environment's roles trust it by this name.
        assumable: ARNs of the environment's roles.
        commit_parameter: SSM parameter that the commit is written to once the whole environment is verified, with its
            leading slash.
        variables: where the environment lies, for `python -m operations`.
        timeout: the most that a verification takes, with a restore after it.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: str,
        source: pipelines.CodePipelineSource,
        role_name: str,
        assumable: Sequence[str],
        commit_parameter: str,
        variables: Mapping[str, str],
        timeout: cdk.Duration,
    ) -> None:
        super().__init__(scope, id_)
        self._environment = environment
        self._source = source
        self._variables = variables
        self._timeout = timeout
        self._commit_parameter = commit_parameter
        self.role = iam.Role(
            self, "Role", role_name=role_name, assumed_by=iam.ServicePrincipal("codebuild.amazonaws.com")
        )
        for sid, actions, resources in (
            ("ActInTheEnvironment", ["sts:AssumeRole"], list(assumable)),
            (
                "RecordCommit",
                ["ssm:PutParameter"],
                [regional_arn(self, "ssm", f"parameter{commit_parameter}")],
            ),
        ):
            self.role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources))

    def first_group(self) -> pipelines.CodeBuildStep:
        """Verify the canaries, before the release goes any further."""
        return self._step("VerifyCanaries", "--first")

    def every_group(self) -> pipelines.CodeBuildStep:
        """Verify the whole environment; what passes is the last good release from then on."""
        record = f'aws ssm put-parameter --name {self._commit_parameter} --type String --overwrite --value "$COMMIT"'
        return self._step("Verify", "--record", record, commit=self._source.source_attribute("CommitId"))

    def _step(self, id_: str, option: str, *after: str, commit: str | None = None) -> pipelines.CodeBuildStep:
        verify = f"make --no-print-directory verify ENV={self._environment} OPTIONS='--assume-roles --restore {option}'"
        return pipelines.CodeBuildStep(
            f"{id_}-{self._environment}",
            input=self._source,
            env={**self._variables, **({"COMMIT": commit} if commit else {})},
            commands=[verify, *after],
            role=self.role,
            timeout=self._timeout,
            build_environment=codebuild.BuildEnvironment(compute_type=codebuild.ComputeType.SMALL),
        )

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from edge_constructs.model_folder import ModelFolder
from edge_constructs.packaging_job import EdgePackagingJob
from stacks.environment import Environment
from stacks.fleet import log_retention


class ModelsStack(cdk.Stack):
    """The jobs that turn models into packages. What changes is a synth-time literal, so nothing is exported."""

    def __init__(
        self, scope: Construct, id_: str, *, environment: Environment, models: Sequence[ModelFolder], **kwargs: Any
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        for model in models:
            job = EdgePackagingJob(
                self,
                f"Package-{model.name}",
                model=model,
                bucket=environment.artifact_bucket,
                log_retention=log_retention(environment),
            )
            suffix = "" if model is models[0] else model.name.capitalize()
            cdk.CfnOutput(self, f"ModelArtifact{suffix}", value=job.resource.get_att_string("ModelArtifact"))
            cdk.CfnOutput(self, f"ModelDigest{suffix}", value=job.resource.get_att_string("ModelDigest"))

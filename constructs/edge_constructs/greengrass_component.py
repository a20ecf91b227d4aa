# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Collection

import aws_cdk as cdk
import aws_cdk.aws_greengrassv2 as greengrass
from constructs import Construct

from edge_constructs.component_source import ComponentSource
from edge_recipe import render, serialize


class GreengrassComponent(Construct):
    """One version of one component.

    A version is immutable and outlives its resource: devices and former deployments still name it.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        source: what the component is.
        namespace: stands before the name.
        version: as `components.lock` allots it.
        artifact_base_uri: the `s3://` folder of its artifacts.
        own_components: names, without namespace, of all components that are deployed together.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        source: ComponentSource,
        namespace: str,
        version: str,
        artifact_base_uri: str,
        own_components: Collection[str],
    ) -> None:
        super().__init__(scope, id_)
        self.name = f"{namespace}.{source.name}"
        self.version = version
        self.recipe = render(
            source.template,
            namespace=namespace,
            version=version,
            artifact_base_uri=artifact_base_uri,
            own_components=own_components,
            artifacts=source.artifacts,
            source=f"recipe of {source.name}",
        )
        self.resource = greengrass.CfnComponentVersion(self, "Version", inline_recipe=serialize(self.recipe))
        self.resource.apply_removal_policy(cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)

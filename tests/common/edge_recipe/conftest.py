# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(name="recipe")
def _recipe() -> dict[str, Any]:
    """A recipe that both nuclei run; tests break it in one place."""
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "dev.com.example.App",
        "ComponentVersion": "1.2.3",
        "ComponentDescription": "An example",
        "ComponentPublisher": "Example",
        "ComponentConfiguration": {
            "DefaultConfiguration": {
                "Interval": "60",
                "Labels": ["a", "b"],
                "accessControl": {
                    "aws.greengrass.ipc.mqttproxy": {
                        "dev.com.example.App:mqtt:1": {
                            "policyDescription": "Results",
                            "operations": ["aws.greengrass#PublishToIoTCore"],
                            "resources": ["results/*"],
                        }
                    }
                },
            }
        },
        "ComponentDependencies": {
            "aws.greengrass.TokenExchangeService": {"VersionRequirement": ">=2.0.0 <3.0.0", "DependencyType": "HARD"}
        },
        "Manifests": [
            {
                "Name": "linux",
                "Platform": {"os": "linux", "runtime": "*"},
                "Lifecycle": {
                    "Setenv": {"A": "1", "B": "1"},
                    "install": {"Script": "sh {artifacts:decompressedPath}/app/install.sh", "Timeout": 600},
                    "run": {
                        "Script": 'exec ./app "$HOME" {configuration:/Interval} {iot:thingName}',
                        "RequiresPrivilege": False,
                        "Setenv": {"B": "2"},
                    },
                },
                "Artifacts": [
                    {
                        "Uri": "s3://bucket/app/1.2.3/app.zip",
                        "Unarchive": "ZIP",
                        "Permission": {"Read": "ALL", "Execute": "OWNER"},
                    }
                ],
            }
        ],
    }

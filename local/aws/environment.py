# SPDX-License-Identifier: Apache-2.0
"""The environment variables by which AWS SDKs and the CDK CLI see the embedded AWS, and nothing else."""

import os
from collections.abc import Mapping

HOST = "127.0.0.1"
# What would show a real account.
_FOREIGN = (
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)


def environment(*, account: str, region: str, port: int) -> dict[str, str]:
    """This process's environment without what shows a real account, and with the embedded AWS at ``port``."""
    return {**_without_foreign(os.environ), **_settings(account=account, region=region, port=port)}


def _without_foreign(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name not in _FOREIGN
        and not name.startswith(("AWS_ENDPOINT_URL", "PYTHON"))  # services' own endpoints, another Python
    }


def _settings(*, account: str, region: str, port: int) -> Mapping[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": account,  # ministack takes the account from the key
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",  # an address takes no prefix
        "CDK_DISABLE_CLI_TELEMETRY": "1",
        "NO_PROXY": f"{HOST},localhost",
        "no_proxy": f"{HOST},localhost",
    }

# SPDX-License-Identifier: Apache-2.0
"""The component's configuration, asked from the Greengrass nucleus over IPC."""

from __future__ import annotations

import concurrent.futures

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

from edge_agent.settings import SettingsError

_TIMEOUT_SECONDS = 30.0


def get_configuration() -> dict[str, object]:
    """Read the component's whole configuration.

    Raises:
        SettingsError: The nucleus did not answer in time, or has no configuration for this component.
    """
    try:
        client = GreengrassCoreIPCClientV2()
        try:
            answer = client.get_configuration_async(key_path=[]).result(timeout=_TIMEOUT_SECONDS)
        finally:
            client.close(executor_wait=False)
    except concurrent.futures.TimeoutError:
        raise SettingsError(f"configuration: the nucleus did not answer within {_TIMEOUT_SECONDS:g} s") from None
    except Exception as error:  # the library documents no common base
        raise SettingsError(f"configuration: the nucleus did not give it: {type(error).__name__}: {error}") from error
    return dict(answer.value or {})

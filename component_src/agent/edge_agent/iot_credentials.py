# SPDX-License-Identifier: Apache-2.0
"""AWS credentials for a device's X.509 certificate, from AWS IoT's credential provider."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from typing import TYPE_CHECKING, Any

import botocore.credentials
import botocore.exceptions
import botocore.session

if TYPE_CHECKING:
    from edge_agent.agent_file import IotCredentials

_TIMEOUT_SECONDS = 10.0
_LONGEST_ANSWER = 65536
_FIELDS = {
    "access_key": "accessKeyId",
    "secret_key": "secretAccessKey",
    "token": "sessionToken",
    "expiry_time": "expiration",
}


def make_session(source: IotCredentials, thing_name: str) -> Any:
    """Make a botocore session that gets credentials at the first need, and anew before they expire.

    Args:
        source: Where they come from.
        thing_name: The thing that the certificate is attached to.
    """
    session = botocore.session.get_session()
    # The session asks its component when it first needs credentials; one that is offline now must start all the same.
    session.register_component("credential_provider", _Resolver(source, thing_name))
    return session


class _Resolver:
    def __init__(self, source: IotCredentials, thing_name: str) -> None:
        self._source = source
        self._thing_name = thing_name

    def load_credentials(self) -> Any:
        return botocore.credentials.DeferredRefreshableCredentials(
            method="iot-credential-provider", refresh_using=lambda: fetch(self._source, self._thing_name)
        )


def fetch(source: IotCredentials, thing_name: str) -> dict[str, str]:
    """Ask the credential provider once.

    Returns:
        What botocore's refreshable credentials take.

    Raises:
        CredentialRetrievalError: It cannot be reached, or refuses.
    """
    parts = urllib.parse.urlsplit(source.endpoint)
    try:
        context = ssl.create_default_context(cafile=source.ca_file)
        context.load_cert_chain(source.certificate_file, source.key_file)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS, context=context
        )
        try:
            connection.request("GET", parts.path, headers={"x-amzn-iot-thingname": thing_name})
            answer = connection.getresponse()
            body = answer.read(_LONGEST_ANSWER)
        finally:
            connection.close()
        return _parse(answer.status, body)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise botocore.exceptions.CredentialRetrievalError(
            provider="iot-credential-provider", error_msg=f"{source.endpoint}: {error}"
        ) from error


def _parse(status: int, body: bytes) -> dict[str, str]:
    if status != http.client.OK:
        raise ValueError(f"status {status}: {body[:200]!r}")
    given = json.loads(body)["credentials"]
    return {field: str(given[name]) for field, name in _FIELDS.items()}

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime as dt
import hmac
import http.server
import json
import secrets
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from local.core_device.cloud import CloudRefusedError, CloudUnreachableError
from local.core_device.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.core_device.cloud import Cloud, Credentials

PATH = "/2016-11-01/credentialprovider/"
_RENEW_BEFORE = dt.timedelta(minutes=5)


class TokenExchangeService:
    """Credentials of the device role for components, over HTTP on 127.0.0.1, as botocore's container provider asks.

    A process asks with the token of its own that it got in its environment.
    """

    def __init__(self, cloud: Cloud, role_alias: str) -> None:
        self._cloud = cloud
        self._role_alias = role_alias
        self._lock = threading.Lock()
        self._cached: Credentials | None = None
        self._tokens: dict[str, str] = {}
        self._server: http.server.ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        if self._server is None:
            raise RuntimeError("the token exchange service is not open")
        return f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    def open(self) -> None:
        """Listen on a free port."""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="tes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def issue_token(self, component: str) -> str:
        """Make the token of a new process; the former one of the component is void from now on."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[component] = token
        return token

    def environment(self, component: str) -> Mapping[str, str]:
        """The variables by which AWS SDKs find this service."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self.issue_token(component),
        }

    def is_known(self, token: str) -> bool:
        """Tell whether a running process has this token."""
        with self._lock:
            return any(hmac.compare_digest(token.encode(), known.encode()) for known in self._tokens.values())

    def credentials(self) -> Credentials:
        """Give credentials that last for some minutes at least, from the cache if those do.

        Raises:
            CloudUnreachableError: and the cached ones are too old.
            CloudRefusedError: the role cannot be assumed.
        """
        with self._lock:
            now = dt.datetime.now(dt.UTC)
            if self._cached is None or self._cached.expiration - now < _RENEW_BEFORE:
                self._cached = self._cloud.role_credentials(self._role_alias)
                event(
                    "credentials_renewed", role_alias=self._role_alias, expiration=self._cached.expiration.isoformat()
                )
            return self._cached


def _handler(service: TokenExchangeService) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            token = self.headers.get("Authorization")
            if token is None:
                self._answer(HTTPStatus.UNAUTHORIZED, {"message": "an Authorization header with the token is needed"})
            elif not service.is_known(token):
                self._answer(HTTPStatus.FORBIDDEN, {"message": "the token belongs to no running component"})
            elif self.path.rstrip("/") != PATH.rstrip("/"):
                self._answer(HTTPStatus.NOT_FOUND, {"message": f"there is {PATH} only"})
            else:
                self._answer(*_credentials(service))

        def _answer(self, status: HTTPStatus, content: Mapping[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name in the base class
            event("credentials_asked", level=10, request=format % args)

    return Handler


def _credentials(service: TokenExchangeService) -> tuple[HTTPStatus, Mapping[str, Any]]:
    try:
        credentials = service.credentials()
    except CloudUnreachableError as error:
        return HTTPStatus.SERVICE_UNAVAILABLE, {"message": str(error)}
    except CloudRefusedError as error:
        return HTTPStatus.INTERNAL_SERVER_ERROR, {"message": str(error)}
    return HTTPStatus.OK, {
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.token,
        "Expiration": credentials.expiration.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }

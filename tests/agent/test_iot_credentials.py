# SPDX-License-Identifier: Apache-2.0
"""Credentials for a certificate, from a stand-in of AWS IoT's credential provider that speaks real mutual TLS."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import shutil
import ssl
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import pytest

from edge_agent.agent_file import IotCredentials
from edge_agent.iot_credentials import make_session

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority, and certificates of a server and a device."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("NOT TESTED: X.509 credentials, as openssl is not installed to make certificates")
    folder = tmp_path_factory.mktemp("keys")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "stranger"):
        run(
            "req",
            "-x509",
            *curve,
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
        )
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "device"):
        run("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        issuer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext")
        run("x509", "-req", "-in", f"{name}.csr", *issuer, "-days", "2", "-out", f"{name}.pem")
    return folder


class Provider:
    """What the credential provider was asked, and what it says."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str]] = []
        self.lifetime = 3600.0
        self.status = 200


@pytest.fixture
def provider(keys: Path) -> Iterator[Provider]:
    state = Provider()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers["x-amzn-iot-thingname"]))
            expiration = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=state.lifetime)
            given: dict[str, Any] = {
                "credentials": {
                    "accessKeyId": f"KEY{len(state.asked)}",
                    "secretAccessKey": "secret",
                    "sessionToken": "token",
                    "expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            }
            body = json.dumps(given if state.status == 200 else {"message": "Access Denied"}).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    context.load_verify_locations(keys / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # refused handshakes are what is tested
        server.socket = context.wrap_socket(server.socket, server_side=True)
        state.url = f"https://127.0.0.1:{server.server_port}/role-aliases/SageMakerEdge-dev/credentials"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def source(provider: Provider, keys: Path, **files: str) -> IotCredentials:
    names = {"ca_file": "ca.pem", "certificate_file": "device.pem", "key_file": "device.key", **files}
    return IotCredentials(endpoint=provider.url, **{field: str(keys / name) for field, name in names.items()})


def test_a_certificate_becomes_credentials_at_the_first_need(provider: Provider, keys: Path) -> None:
    session = boto3.session.Session(botocore_session=make_session(source(provider, keys), "thing-1"))
    credentials = session.get_credentials()
    assert credentials is not None
    assert provider.asked == []  # a device that is offline when it starts must start all the same
    frozen = credentials.get_frozen_credentials()
    assert (frozen.access_key, frozen.secret_key, frozen.token) == ("KEY1", "secret", "token")
    assert provider.asked == [("/role-aliases/SageMakerEdge-dev/credentials", "thing-1")]
    assert credentials.get_frozen_credentials().access_key == "KEY1"


def test_they_are_renewed_before_they_expire(provider: Provider, keys: Path) -> None:
    provider.lifetime = 60.0
    credentials = make_session(source(provider, keys), "thing-1").get_credentials()
    assert credentials.get_frozen_credentials().access_key == "KEY1"
    assert credentials.get_frozen_credentials().access_key == "KEY2"


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({}, 403),
        ({"ca_file": "stranger.pem"}, 200),  # somebody else answers
        ({"certificate_file": "stranger.pem", "key_file": "stranger.key"}, 200),  # we are somebody else
        ({"certificate_file": "absent.pem"}, 200),
        ({"key_file": "server.key"}, 200),  # of another certificate
    ],
)
def test_what_goes_wrong_names_the_endpoint(provider: Provider, keys: Path, files: dict[str, str], status: int) -> None:
    provider.status = status
    credentials = make_session(source(provider, keys, **files), "thing-1").get_credentials()
    with pytest.raises(botocore.exceptions.CredentialRetrievalError, match=provider.url):
        credentials.get_frozen_credentials()
    assert bool(provider.asked) == (status == 403)  # where TLS refuses, nothing is asked

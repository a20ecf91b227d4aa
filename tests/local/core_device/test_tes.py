# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime as dt
import http.client
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from local.core_device.tes import TokenExchangeService

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="cloud")
def _cloud(make_cloud: Any) -> Any:
    return make_cloud("device-1")


@pytest.fixture(name="service")
def _service(cloud: Any) -> Iterator[TokenExchangeService]:
    service = TokenExchangeService(cloud, "alias")
    service.open()
    yield service
    service.close()


def ask(service: TokenExchangeService, token: str | None, path: str | None = None) -> tuple[int, Any]:
    url = urlsplit(service.url)
    assert url.hostname == "127.0.0.1"
    connection = http.client.HTTPConnection(url.hostname, url.port or 0, timeout=5)
    connection.request("GET", path or url.path, headers={} if token is None else {"Authorization": token})
    answer = connection.getresponse()
    result = answer.status, json.loads(answer.read())
    connection.close()
    return result


def test_a_process_gets_credentials_for_its_token_alone(service: TokenExchangeService) -> None:
    token = service.issue_token("app")
    status, content = ask(service, token)
    assert status == 200
    assert content["AccessKeyId"] == "key-1"
    assert set(content) == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    assert ask(service, None)[0] == 401
    assert ask(service, "guessed")[0] == 403
    assert ask(service, token, "/latest/meta-data")[0] == 404


def test_the_token_of_a_process_that_was_followed_by_another_is_void(service: TokenExchangeService) -> None:
    old, new = service.issue_token("app"), service.issue_token("app")
    assert [ask(service, token)[0] for token in (old, new)] == [403, 200]


def test_credentials_are_cached_until_shortly_before_their_end(service: TokenExchangeService, cloud: Any) -> None:
    token = service.issue_token("app")
    assert [ask(service, token)[1]["AccessKeyId"] for _ in range(2)] == ["key-1", "key-1"]
    assert service._cached is not None
    cloud.lifetime = dt.timedelta(minutes=4)
    service._cached = None
    assert [ask(service, token)[1]["AccessKeyId"] for _ in range(2)] == ["key-2", "key-3"]


def test_a_cloud_out_of_reach_is_a_503_and_a_refusal_a_500(service: TokenExchangeService, cloud: Any) -> None:
    token = service.issue_token("app")
    cloud.reachable = False
    assert ask(service, token) == (503, {"message": "no network"})
    cloud.reachable = True
    service._role_alias = "other"
    assert ask(service, token) == (500, {"message": "no role alias other"})


def test_boto3_in_a_component_finds_the_device_role_and_only_with_the_dependency(device: Any) -> None:
    code = "import botocore.session as s; c = s.get_session().get_credentials(); print(c and c.access_key)"
    run = f"exec {shlex.quote(sys.executable)} -I -c {shlex.quote(code)}"
    device.add("with", run=run, dependencies={"aws.greengrass.TokenExchangeService": "^2.0.0"})
    device.add("without", run=run)
    device.deploy_and_wait({"with": "1.0.0", "without": "1.0.0"})
    device.wait(lambda: device.log("with") == "key-1\n")
    device.wait(lambda: device.log("without") == "None\n")

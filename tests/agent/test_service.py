# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging

import pytest

from edge_agent import errors, service
from edge_agent.log import JsonFormatter


def subclasses(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(subclasses(one) for one in kind.__subclasses__()))


def test_every_kind_of_refusal_has_a_status_of_its_own_and_finer_ones_share_it() -> None:
    kinds = errors.RefusedError.__subclasses__()
    codes = {service.refusal(kind("why"), rpc="Predict").code for kind in kinds}
    assert len(codes) == len(kinds)
    for kind in kinds:
        finer = {service.refusal(one("why"), rpc="Predict").code for one in subclasses(kind)}
        assert finer == {service.refusal(kind("why"), rpc="Predict").code}
    assert not codes & {service.Code.INTERNAL, service.Code.OK}


def test_a_defect_is_internal_and_told_by_an_id_that_the_log_explains(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ZeroDivisionError("secret internals")  # noqa: TRY301 # the log takes the exception being handled
    except ZeroDivisionError as error:
        answer = service.refusal(error, rpc="Predict")
    assert answer.code is service.Code.INTERNAL
    assert "secret" not in answer.details
    (record,) = caplog.records
    line = json.loads(JsonFormatter().format(record))
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["event"] == "internal_error"
    assert line["error_id"] in answer.details
    assert "secret internals" in line["traceback"]


def test_a_message_fits_into_a_header() -> None:
    assert len(service.refusal(errors.NotFoundError("x" * 100_000), rpc="Predict").details) == 2000


def test_a_librarys_record_is_one_line_of_json_too() -> None:
    record = logging.LogRecord("botocore", logging.WARNING, "f", 1, "line\n%s", ("two",), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "",
        "level": "WARNING",
        "event": "library",
        "logger": "botocore",
        "message": "line\ntwo",
    }

# SPDX-License-Identifier: Apache-2.0
"""What the kernel answers fits into the 4096 bytes that CloudFormation takes, whatever characters it is of."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_constructs.handler_kernel import Request, ResourceError, Response, handle

EVENT = {"RequestType": "Create", "LogicalResourceId": "It", "ResourceProperties": {}}
SUFFIX = " ... (the whole reason is in the handler's log)"


class Answering:
    """A handler that answers with some attribute, or fails for some reason."""

    def __init__(self, *, data: str = "", reason: str = "") -> None:
        self._data = data
        self._reason = reason

    def apply(self, _request: Request) -> Response:
        if self._reason:
            raise ResourceError(self._reason)
        return Response(PhysicalResourceId="it", Data={"Short": "x", "Long": self._data})

    def delete(self, _request: Request) -> None:
        raise AssertionError("nothing is deleted here")


@given(st.text(min_size=1, max_size=8), st.integers(1, 1500))
def test_a_reason_has_at_most_2000_bytes_as_json_escapes_it(text: str, times: int) -> None:
    reason = text * times
    with pytest.raises(ResourceError) as failure:
        handle(Answering(reason=reason), EVENT)
    shown = str(failure.value)
    assert len(json.dumps(shown)) <= 2000
    assert shown == reason or (shown.endswith(SUFFIX) and f"ResourceError: {reason}".startswith(shown[: -len(SUFFIX)]))


@pytest.mark.parametrize("character", ["x", "\u00e9", "\U0001f600", "\n"])
def test_attributes_that_cloudformation_would_not_take_are_a_short_error(character: str) -> None:
    assert handle(Answering(data=character * 200), EVENT)["PhysicalResourceId"] == "it"
    with pytest.raises(ResourceError, match=r"CloudFormation takes 3072: the longest is Long, of \d+ bytes"):
        handle(Answering(data=character * 3072), EVENT)

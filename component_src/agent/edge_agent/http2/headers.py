# SPDX-License-Identifier: Apache-2.0
"""What gRPC says in HTTP/2's headers: read from requests, written for answers."""

from __future__ import annotations

import functools
import re
import urllib.parse
from typing import TYPE_CHECKING, NamedTuple

import hpack

from edge_agent.http2.frames import ConnectionFaultError, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Longest list of headers, counted as RFC 9113 counts it; gRPC's own bound is 8 to 16 KiB.
LONGEST_LIST = 16 * 1024
_MOST_KNOWN = 64
_INDEXED = 0x80
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# What a percent-encoded message may hold as it is: printable ASCII but the percent sign.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class RequestHead(NamedTuple):
    """What a call's headers say.

    Attributes:
        method: POST, if it is gRPC.
        path: ``/service/rpc``.
        content_type: ``application/grpc``, if it is gRPC.
        encoding: How messages whose flag says so are compressed.
        timeout: Seconds; None when the caller waits for ever.
        malformed: What is wrong, empty when nothing is.
    """

    method: bytes = b""
    path: bytes = b""
    content_type: bytes = b""
    encoding: bytes = b"identity"
    timeout: float | None = None
    malformed: str = ""


class HeadReader:
    """Reads the header blocks of one connection, in their order, as each depends on those before it."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=LONGEST_LIST)
        self._known: dict[bytes, RequestHead] = {}

    def read(self, block: bytes) -> RequestHead:
        """Read a block.

        Raises:
            ConnectionFaultError: It cannot be read; no later one can be either.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        try:
            found = _request_head(self._decoder.decode(block, raw=True))
        except hpack.OversizedHeaderListError:
            raise ConnectionFaultError(
                ErrorCode.ENHANCE_YOUR_CALM, f"headers: expected at most {LONGEST_LIST} bytes, got more"
            ) from None
        # The library lets an IndexError out of some cut blocks.
        except (hpack.HPACKError, IndexError, ValueError) as error:
            raise ConnectionFaultError(ErrorCode.COMPRESSION_ERROR, f"headers: {error}") from None
        # A client's calls are alike, and their blocks soon consist of references to what it said before. Such a block
        # changes nothing, and means the same until one comes that does.
        if block and min(block) >= _INDEXED:
            if len(self._known) < _MOST_KNOWN:
                self._known[block] = found
        else:
            self._known.clear()
        return found


def _request_head(fields: Iterable[tuple[bytes, bytes]]) -> RequestHead:
    head = RequestHead()
    for name, value in fields:
        if name == b":path":
            head = head._replace(path=bytes(value))
        elif name == b":method":
            head = head._replace(method=bytes(value))
        elif name == b"content-type":
            head = head._replace(content_type=bytes(value))
        elif name == b"grpc-encoding":
            head = head._replace(encoding=bytes(value))
        elif name == b"grpc-timeout":
            match = _TIMEOUT.fullmatch(value)
            if match:
                head = head._replace(timeout=int(match[1]) * _SECONDS[match[2]])
            else:
                wrong = f"grpc-timeout: expected up to 8 digits and one of HMSmun, got {bytes(value)!r:.100}"
                head = head._replace(malformed=wrong)
        elif name != bytes(name).lower():
            head = head._replace(malformed=f"header {bytes(name)!r:.100}: expected it in lower case")
    return head


# Answers never refer to earlier ones, so their blocks depend on nothing; the first of a connection says so.
NO_TABLE = b"\x20"


def _block(*fields: tuple[bytes, bytes]) -> bytes:
    encoder = hpack.Encoder()
    return encoder.encode([(name, value, True) for name, value in fields], huffman=False)


_HEAD_FIELDS = ((b":status", b"200"), (b"content-type", b"application/grpc"))
#: Before a message.
ANSWER_HEAD = _block(*_HEAD_FIELDS)
#: After a message.
ANSWER_END = _block((b"grpc-status", b"0"))


def refusal(code: int, details: str) -> bytes:
    """A whole answer without a message.

    Args:
        code: gRPC's number.
        details: For the caller.
    """
    message = percent_encoded(details).encode("ascii")
    # Names the compressions that a caller whose compressed message was refused may use.
    accepted = (b"grpc-accept-encoding", b"identity")
    return _block(*_HEAD_FIELDS, (b"grpc-status", b"%d" % code), (b"grpc-message", message), accepted)


@functools.lru_cache(maxsize=8)
def http_refusal(status: int) -> bytes:
    """The answer to what is no gRPC call."""
    return _block((b":status", b"%d" % status))


def percent_encoded(text: str) -> str:
    """Write a text the way grpc-message has it."""
    return urllib.parse.quote(text.encode(errors="replace"), safe=_PLAIN)

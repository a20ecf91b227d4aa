# SPDX-License-Identifier: Apache-2.0
"""The formats: whatever is written is read, whatever is not a frame is refused."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from urllib.parse import unquote

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.http2 import frames, headers
from edge_agent.http2.frames import ConnectionFaultError, ErrorCode, Setting
from edge_agent.http2.source import Source

NAMES = st.sampled_from([b":path", b":method", b"content-type", b"grpc-timeout", b"user-agent", b"trace-bin", b"te"])
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([b"/a/B", b"POST", b"10S", b"5m", b"x", b"\xff\x00bin", b""])))


def in_pieces(content: bytes, sizes: Sequence[int]) -> Source:
    """A source that gets its bytes in pieces of these sizes, then of 7."""
    left = collections.deque([content])
    pieces = collections.deque(sizes)

    def receive_into(target: memoryview) -> int:
        size = min(len(target), len(left[0]), pieces.popleft() if pieces else 7)
        target[:size] = left[0][:size]
        left[0] = left[0][size:]
        return size

    return Source(receive_into)


class TestFrames:
    @given(
        st.integers(0, 2**24 - 1), st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**31 - 1), st.booleans()
    )
    def test_a_head_is_read_as_written(self, length: int, kind: int, flags: int, stream: int, reserved: bool) -> None:  # noqa: FBT001
        written = bytearray(frames.head(length, kind, flags, stream))
        written[5] |= 0x80 if reserved else 0  # a bit that receivers ignore
        assert frames.read_head(written) == (length, kind, flags, stream)

    @pytest.mark.parametrize("frame", [2**14, 2**24 - 1])
    def test_settings_at_their_bounds_are_read_as_written(self, frame: int) -> None:
        values = {Setting.INITIAL_WINDOW_SIZE: 2**31 - 1, Setting.MAX_FRAME_SIZE: frame, Setting.ENABLE_PUSH: 1}
        assert frames.read_settings(frames.settings(values)[9:]) == list(values.items())

    @pytest.mark.parametrize(
        ("payload", "code"),
        [
            (b"\0\4\x80\0\0\0", ErrorCode.FLOW_CONTROL_ERROR),
            (b"\0\5\0\0\x3f\xff", ErrorCode.PROTOCOL_ERROR),
            (b"\0\5\1\0\0\0", ErrorCode.PROTOCOL_ERROR),
            (b"\0\2\0\0\0\2", ErrorCode.PROTOCOL_ERROR),
            (b"\0\2\0", ErrorCode.FRAME_SIZE_ERROR),
        ],
    )
    def test_settings_beyond_their_bounds_are_refused(self, payload: bytes, code: ErrorCode) -> None:
        with pytest.raises(ConnectionFaultError) as caught:
            frames.read_settings(payload)
        assert caught.value.code is code

    @given(st.binary(max_size=40), st.binary(max_size=40), st.booleans(), st.booleans())
    def test_padding_and_priority_are_taken_off(self, block: bytes, padding: bytes, padded: bool, first: bool) -> None:  # noqa: FBT001
        flags = (frames.PADDED if padded else 0) | (frames.WITH_PRIORITY if first else 0)
        payload = (bytes([len(padding)]) if padded else b"") + (bytes(5) if first else b"") + block
        assert frames.header_block(payload + (padding if padded else b""), flags) == block

    @pytest.mark.parametrize(("payload", "flags"), [(b"", 8), (b"\2a", 8), (b"abc", 0x20), (b"\0", 0x28), (b"\xff", 8)])
    def test_padding_beyond_the_frame_is_refused(self, payload: bytes, flags: int) -> None:
        with pytest.raises(ConnectionFaultError):
            frames.header_block(payload, flags)


class TestSource:
    @given(st.lists(st.binary(max_size=200), max_size=8), st.lists(st.integers(1, 300), max_size=30), st.data())
    def test_pieces_of_any_size_make_the_same_frames(
        self, payloads: list[bytes], sizes: list[int], data: st.DataObject
    ) -> None:
        content = b"".join(frames.frame(number, 0, number, payload) for number, payload in enumerate(payloads))
        source = in_pieces(content, sizes)
        for number, payload in enumerate(payloads):
            whole = source.has_frame()
            assert source.head() == (len(payload), number, 0, number)
            if data.draw(st.booleans()):
                assert source.take(len(payload)) == payload
            else:
                target = bytearray(len(payload))
                source.read_into(memoryview(target))
                assert target == payload
            assert not whole or number < len(payloads)
        with pytest.raises(EOFError):
            source.take(1)

    def test_what_is_larger_than_the_buffer_is_read_past_it(self) -> None:
        content = bytes(range(256)) * 1000
        source = in_pieces(b"12345" + content + b"end", [3, 70_000, 10] + [50_000] * 9)
        assert source.take(5) == b"12345"
        target = bytearray(200_000)
        source.read_into(memoryview(target))
        assert target == content[:200_000]
        source.skip(len(content) - 200_000)
        assert source.take(3) == b"end"


class TestHeaders:
    @given(st.lists(FIELDS, min_size=1, max_size=12), st.booleans())
    def test_blocks_are_read_as_a_decoder_without_memory_of_them_reads_them(
        self,
        calls: list[list[tuple[bytes, bytes]]],
        repeat: bool,  # noqa: FBT001
    ) -> None:
        encoder, decoder, reader = hpack.Encoder(), hpack.Decoder(), headers.HeadReader()
        for fields in [*calls, *(calls * 3 if repeat else [])]:
            block = encoder.encode(fields)
            expected = {bytes(name): bytes(value) for name, value in decoder.decode(block, raw=True)}
            found = reader.read(block)
            assert found.path == expected.get(b":path", b"")
            assert found.method == expected.get(b":method", b"")
            assert found.content_type == expected.get(b"content-type", b"")

    @given(st.binary(max_size=60))
    def test_what_is_no_block_ends_the_connection(self, block: bytes) -> None:
        try:
            headers.HeadReader().read(block)
        except ConnectionFaultError as fault:
            assert fault.code in {ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM}  # noqa: PT017 # either is right

    def test_a_list_that_grows_without_end_is_refused(self) -> None:
        encoder = hpack.Encoder()
        encoder.encode([(b"x", b"y" * 1000)])
        with pytest.raises(ConnectionFaultError, match="at most"):
            headers.HeadReader().read(hpack.Encoder().encode([(b"x", b"y" * 1000)]) + b"\xbe" * 100)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [(b"1H", 3600), (b"2M", 120), (b"10S", 10), (b"250m", 0.25), (b"5u", 5e-6), (b"99999999n", 0.099999999)],
    )
    def test_timeouts_are_seconds(self, text: bytes, seconds: float) -> None:
        found = headers.HeadReader().read(hpack.Encoder().encode([(b"grpc-timeout", text)]))
        assert found.timeout == pytest.approx(seconds)
        assert not found.malformed

    @pytest.mark.parametrize("text", [b"", b"S", b"10", b"-1S", b"1.5S", b"123456789S", b"1s", b" 1S", b"\xd9\xa1S"])
    def test_malformed_timeouts_are_told(self, text: bytes) -> None:
        found = headers.HeadReader().read(hpack.Encoder().encode([(b"grpc-timeout", text)]))
        assert "grpc-timeout" in found.malformed

    @given(st.text())
    def test_messages_are_printable_and_come_back(self, text: str) -> None:
        encoded = headers.percent_encoded(text)
        assert all(0x20 <= ord(one) < 0x7F for one in encoded)
        assert unquote(encoded) == text.encode(errors="replace").decode()

    @given(st.integers(1, 16), st.text(max_size=50))
    def test_answers_are_blocks_that_leave_no_trace(self, code: int, details: str) -> None:
        decoder = hpack.Decoder()
        for _ in range(2):
            found = {
                bytes(a): bytes(b)
                for a, b in decoder.decode(headers.NO_TABLE + headers.refusal(code, details), raw=True)
            }
            assert (found[b":status"], found[b"grpc-status"]) == (b"200", b"%d" % code)
        assert len(decoder.header_table.dynamic_entries) == 0

"""Streams in one TLS connection: what one end writes, the other reads, whatever the framing."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.lab.joiner import CLOSE, DATA, OPEN, PING, UPDATE, framed, unframed

FRAMINGS = ("yamux", "websocket", "h2")
Message = tuple[int, int, bytes]


def read(framing: str, data: bytes, n: int) -> list[Message]:
    async def all_of_them() -> list[Message]:
        reader = asyncio.StreamReader(limit=1 << 20)
        reader.feed_data(data)
        reader.feed_eof()
        return [await unframed(framing, reader) for _ in range(n)]

    return asyncio.run(all_of_them())


@given(
    st.sampled_from(FRAMINGS),
    st.booleans(),
    st.lists(st.tuples(st.integers(1, 999), st.binary(min_size=1, max_size=300)), max_size=5),
)
def test_what_is_framed_is_read_again_in_order(
    framing: str, masks: bool, said: list[tuple[int, bytes]]
) -> None:
    sent = [(OPEN, 7, b"\0\x50"), *((DATA, stream, body) for stream, body in said)]
    data = b"".join(framed(framing, masks, *one) for one in sent)
    assert read(framing, data, len(sent)) == sent


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [125, 126, 32_768])
def test_long_messages_arrive_whole(framing: str, size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    assert read(framing, framed(framing, True, DATA, 3, body), 1) == [(DATA, 3, body)]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_messages_without_data_keep_their_kind(framing: str) -> None:
    kinds = (UPDATE, PING, CLOSE)
    data = b"".join(framed(framing, False, kind, 5, bytes(4)) for kind in kinds)
    assert [(kind, stream) for kind, stream, _ in read(framing, data, 3)] == [(k, 5) for k in kinds]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_message_that_is_cut_is_not_taken_for_one(framing: str) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        read(framing, framed(framing, True, DATA, 1, bytes(20))[:-1], 1)


def test_headers_are_those_of_their_specifications() -> None:
    assert framed("yamux", False, OPEN, 1, b"\0\x50")[:12] == bytes.fromhex(
        "00 00 0001 00000001 00000002"
    )
    assert framed("h2", False, DATA, 3, b"abc")[:9] == bytes.fromhex("000003 00 00 00000003")
    assert framed("websocket", False, DATA, 1, b"abc")[:2] == bytes.fromhex("8206")
    assert framed("websocket", True, DATA, 1, b"abc")[:2] == bytes.fromhex("8286")

"""Frames of packets in TLS: what one end writes, the other reads, whatever the framing."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.lab.carrier import OPENINGS, framed, unframed

KINDS = sorted(OPENINGS)


def read(kind: str, data: bytes, n: int) -> list[bytes]:
    async def all_of_them() -> list[bytes]:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return [await unframed(kind, reader) for _ in range(n)]

    return asyncio.run(all_of_them())


@given(st.sampled_from(KINDS), st.lists(st.binary(max_size=1500), min_size=1, max_size=6))
def test_what_is_framed_is_read_again_in_order(kind: str, packets: list[bytes]) -> None:
    data = b"".join(framed(kind, packet) for packet in packets)
    assert read(kind, data, len(packets)) == packets


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_that_is_cut_is_not_taken_for_a_packet(kind: str) -> None:
    data = framed(kind, b"\x45" + bytes(39))
    with pytest.raises(asyncio.IncompleteReadError):
        read(kind, data[:-1], 1)


def test_frames_have_the_headers_of_their_products() -> None:
    packet = b"\x45" + bytes(39)
    assert framed("sstp", packet)[:8] == bytes.fromhex("10000030 ff030021")
    assert framed("fortinet", packet)[:8] == bytes.fromhex("0030 5050 002a 0021")
    assert framed("cstp", packet)[:8] == b"STF\x01" + bytes.fromhex("0028 0000")
    assert framed("length", packet)[:2] == bytes.fromhex("0028")

"""Gzip through the standard library and through isal: the same bytes, the same failures."""

import gzip
import io
import sys

import numpy as np
import pytest

from classifier.wire.streams import Stream, open_stream

CONTENT = np.random.default_rng(1).integers(0, 40, 300_000, np.uint8).tobytes()
PACKED = gzip.compress(CONTENT, mtime=0)
CASES = {
    "whole": PACKED,
    "two members": PACKED + gzip.compress(CONTENT[:1000], mtime=0),
    "padded with zeros": PACKED + bytes(50),
    "cut in the header": PACKED[:8],
    "cut in the middle": PACKED[: len(PACKED) // 2],
    "cut before the checksum": PACKED[:-8],
    "wrong checksum": PACKED[:-8] + bytes(4) + PACKED[-4:],
    "damaged": PACKED[:50_000] + b"\xff" * 1000 + PACKED[51_000:],
}


def unpacked(data: bytes) -> tuple[bytes, bool]:
    stream: Stream = open_stream(io.BytesIO(data))
    out, view = bytearray(), memoryview(bytearray(1 << 16))
    while got := stream.readinto(view):
        out += view[:got]
    stream.close()
    return bytes(out), bool(stream.failure)


@pytest.mark.parametrize("case", CASES)
def test_both_readers_give_the_same(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("isal", reason="the extra fast is not installed")
    fast = unpacked(CASES[case])
    monkeypatch.setitem(sys.modules, "isal", None)
    assert unpacked(CASES[case]) == fast


def test_a_whole_file_is_unpacked_without_isal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    assert unpacked(PACKED) == (CONTENT, False)

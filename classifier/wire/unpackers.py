"""Unpacking where the standard classes leave something out: memory of xz, the end of zstd frames."""

import lzma
from typing import Any

__all__ = ["XZ_MEMORY_BYTES", "XzReader", "ZstdFrames"]

#: More than ``xz -9`` asks for (65 MiB); a header of a few bytes can ask for 4 GiB.
XZ_MEMORY_BYTES = 256 * 1024 * 1024
_CHUNK = 128 * 1024


class XzReader:
    """Reads xz streams one after the other, each within ``XZ_MEMORY_BYTES``.

    Parameters
    ----------
    packed : object with ``readinto``
    """

    def __init__(self, packed: Any) -> None:
        self._packed = packed
        self._chunk = memoryview(bytearray(_CHUNK))
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
        self._ahead = b""
        self._begun = False

    def readinto(self, view: memoryview) -> int:
        """Fill the view as far as one step gives; 0 at the end.

        Raises
        ------
        EOFError
            If the file ends within a stream.
        lzma.LZMAError
            If it is damaged, or needs too much memory.
        """
        while True:
            if self._unpacker.eof:
                self._ahead = (self._unpacker.unused_data or self._ahead).lstrip(b"\0")  # padding
                self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
                self._begun = False
            data = b""
            if self._unpacker.needs_input:
                data, self._ahead = self._ahead or self._read(), b""
                if not self._begun:
                    data = data.lstrip(b"\0")
                    if not data and self._at_end:
                        return 0
                if not data and self._at_end:
                    raise EOFError
            self._begun = self._begun or bool(data)
            out = self._unpacker.decompress(data, len(view))
            if out:
                view[: len(out)] = out
                return len(out)

    def _read(self) -> bytes:
        got = self._packed.readinto(self._chunk)
        self._at_end = got == 0
        return bytes(self._chunk[:got])

    _at_end = False

    def close(self) -> None:
        """Do nothing: what it reads from is closed by its owner."""


class ZstdFrames:
    """Follows the frames of a zstd file, RFC 8878 section 3.1, to see whether it ends in one.

    The library's reader ends at a block's border without a word. Only headers are looked at.
    """

    def __init__(self) -> None:
        self._skip = 0  # bytes to pass over
        self._need = b""  # the beginning of a header
        self._state = self._magic
        self._checksum = False

    @property
    def between(self) -> bool:
        """Whether what came so far is a number of whole frames."""
        return self._state == self._magic and not self._skip and not self._need

    def feed(self, data: memoryview) -> None:
        """Look at the next bytes of the file."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            self._need += bytes(data[at : at + 1])
            at += 1
            self._state()

    def _next(self, state: Any, skip: int) -> None:
        self._state, self._skip, self._need = state, skip, b""

    def _magic(self) -> None:
        if len(self._need) < 4:
            return
        magic = int.from_bytes(self._need, "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a skippable frame
            self._next(self._skippable, 0)
        else:
            self._next(self._descriptor, 0)

    def _skippable(self) -> None:
        if len(self._need) == 4:
            self._next(self._magic, int.from_bytes(self._need, "little"))

    def _descriptor(self) -> None:
        [descriptor] = self._need
        single, size = descriptor >> 5 & 1, descriptor >> 6
        self._checksum = bool(descriptor & 4)
        content = (single, 2, 4, 8)[size]
        self._next(self._block, (0, 1, 2, 4)[descriptor & 3] + content + (1 - single))

    def _block(self) -> None:
        if len(self._need) < 3:
            return
        header = int.from_bytes(self._need, "little")
        size = 1 if header >> 1 & 3 == 1 else header >> 3
        if header & 1:
            self._next(self._magic, size + 4 * self._checksum)
        else:
            self._next(self._block, size)

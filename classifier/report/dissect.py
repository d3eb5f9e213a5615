"""A second opinion: tshark's dissection of chosen frames, through pyshark."""

import asyncio
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from classifier.errors import ResourceError

__all__ = ["dissect_frames"]

_NOT_UNPACKED = (b"BZh", b"\xfd7zXZ\x00")


def dissect_frames(path: Path, frames: Sequence[int]) -> list[Any]:
    """Return pyshark packets of these frames of a capture.

    Parameters
    ----------
    path : pathlib.Path
    frames : sequence of int
        Frame numbers, from 1.

    Raises
    ------
    ResourceError
        If the tshark program is not installed, or cannot read the capture.
    """
    if shutil.which("tshark") is None:
        raise ResourceError(
            "the tshark program is not installed", path="tshark", remedy="apt-get install tshark"
        )
    with path.open("rb") as file:
        if file.read(6).startswith(_NOT_UNPACKED):
            problem = "tshark unpacks neither bzip2 nor xz"
            raise ResourceError(problem, path=str(path), remedy="unpack it first")
    # pyshark runs an event loop of its own, which a notebook's thread already has
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(_read, path, list(frames)).result()


def _read(path: Path, frames: list[int]) -> list[Any]:
    import pyshark

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    wanted = ",".join(str(frame) for frame in frames)
    try:
        capture = pyshark.FileCapture(
            str(path), display_filter=f"frame.number in {{{wanted}}}", eventloop=loop
        )
        capture.load_packets()
        found = list(capture)
        capture.close()
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return found

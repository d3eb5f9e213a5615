"""Bytes -> packet table: containers, links, IP, transport. The only room that opens captures."""

from classifier.wire.capture import Capture, Source, Stretch, open_capture, order_captures
from classifier.wire.fragments import Reassembly
from classifier.wire.frames import Frame, frames
from classifier.wire.reasons import REASONS, Reason

__all__ = [
    "REASONS",
    "Capture",
    "Frame",
    "Reason",
    "Reassembly",
    "Source",
    "Stretch",
    "frames",
    "open_capture",
    "order_captures",
]

"""Bytes -> packet table: containers, links, IP, transport. The only room that opens captures."""

from classifier.wire.capture import Capture, Source, Stretch, open_capture, order_captures
from classifier.wire.fragments import Held, Reassembly
from classifier.wire.frames import Frame, frames
from classifier.wire.reasons import REASONS, Reason

__all__ = [
    "REASONS",
    "Capture",
    "Frame",
    "Held",
    "Reason",
    "Reassembly",
    "Source",
    "Stretch",
    "frames",
    "open_capture",
    "order_captures",
]

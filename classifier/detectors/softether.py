r"""SoftEther behind a server that ends TLS: its HTTP request, and the server's greeting.

First lines of each side, in clear text where TLS has been taken off before the capture point::

    POST /vpnsvc/connect.cgi HTTP/1.1       body: a picture as watermark, or VPNCONNECT
    HTTP/1.1 200 OK                         body: a PACK with the elements hello, version, random

Sources
-------
SoftEther VPN, ``Cedar/Protocol.h`` and ``Cedar/Protocol.c`` (targets of the requests, elements of
the greeting), ``Mayaqua/Pack.c`` (names in a PACK are ASCII behind their length).

Strength
--------
Proof: the request, and an answer 200 that holds the greeting's elements ``hello`` and ``random``.
Strong: the request with no answer captured. Weak: the request, answered otherwise (a scan).

Mistaken for
------------
Scanners ask web servers for this path, so that an answer without greeting makes it weak.

Blind to
--------
SoftEther as it is mostly captured, inside TLS; its acceleration over UDP, whose payload is
encrypted without a header.
"""

import re

import numpy as np
from numpy.typing import NDArray

from classifier.detectors._columns import Exchange, begins_exchange, find_exchanges
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, FlowBatch

__all__ = ["DETECTOR"]

TCP = 6
_NAME = "softether"
_EXCHANGES = (
    Exchange(
        b"POST /vpnsvc/",
        re.compile(rb"POST /vpnsvc/(connect|vpn)\.cgi HTTP/1\.[01]\r\n"),
        re.compile(rb"HTTP/1\.[01] 200 (?=.*hello\x00)(?=.*random\x00)", re.DOTALL),
        "SoftEther's HTTP request",
    ),
)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with the request."""
    return begins_exchange(heads, _EXCHANGES)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find the request and its answer."""
    return find_exchanges(batch, _NAME, _NAME, _EXCHANGES)


DETECTOR = Detector(_NAME, _NAME, (TCP,), 2048, detect, select)

r"""GlobalProtect behind a server that ends TLS: its request for a tunnel and the go-ahead.

First bytes of each side, in clear text where TLS has been taken off before the capture point::

    GET /ssl-tunnel-connect.sslvpn?user=... HTTP/1.1
    START_TUNNEL

Sources
-------
OpenConnect, ``gpst.c`` (request, answer and the framing after them).

Strength
--------
Proof: the request and its answer. Strong: the request with no answer captured. Weak: the request,
answered otherwise (a scan).

Mistaken for
------------
Scanners ask for this path, so that another answer makes it weak.

Blind to
--------
The tunnel as it is mostly captured, inside TLS; its fast path is ESP in UDP, which ``ipsec-esp``
reports, as weak on the usual port 4501.
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
_NAME = "globalprotect"
_EXCHANGES = (
    Exchange(
        b"GET /ssl-tunnel-connect.sslvpn",
        re.compile(rb"GET /ssl-tunnel-connect\.sslvpn(\?\S*)? HTTP/1\.[01]\r\n"),
        re.compile(rb"START_TUNNEL"),
        "request for GlobalProtect's tunnel",
    ),
)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with the request."""
    return begins_exchange(heads, _EXCHANGES)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find the request and its answer."""
    return find_exchanges(batch, _NAME, _NAME, _EXCHANGES)


DETECTOR = Detector(_NAME, _NAME, (TCP,), 2048, detect, select)

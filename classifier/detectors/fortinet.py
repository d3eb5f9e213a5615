r"""FortiGate's SSL VPN behind a server that ends TLS: its request, then PPP in frames.

First bytes of each side, in clear text where TLS has been taken off before the capture point::

    GET /remote/sslvpn-tunnel HTTP/1.1

    0    2   total       of the frame, with this header
    2    2   magic       0x5050
    4    2   size        total - 6
    6    n   PPP

Sources
-------
OpenConnect, ``fortinet.c`` (request) and ``ppp.c`` (PPP encapsulation of Fortinet); openfortivpn,
``io.c`` (the same frame).

Strength
--------
Proof: the request, and an answer that is such a frame. Strong: the request with no answer captured.
Weak: the request, answered otherwise (a scan, or a web page that says no).

Mistaken for
------------
Scanners ask for this path, so that another answer makes it weak.

Blind to
--------
The tunnel as it is mostly captured, inside TLS or DTLS. A certificate of the unit ``FortiGate``
shows the maker of a box, not that a tunnel runs, and is not taken for one.
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
_NAME = "fortinet"
_EXCHANGES = (
    Exchange(
        b"GET /remote/sslvpn-tunnel",
        re.compile(rb"GET /remote/sslvpn-tunnel2?(\?\S*)? HTTP/1\.[01]\r\n"),
        re.compile(rb"..PP..[\xff\x80\xc0\x00]", re.DOTALL),
        "request for FortiGate's tunnel",
    ),
)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with the request."""
    return begins_exchange(heads, _EXCHANGES)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find the request and its answer."""
    return find_exchanges(batch, _NAME, _NAME, _EXCHANGES)


DETECTOR = Detector(_NAME, _NAME, (TCP,), 2048, detect, select)

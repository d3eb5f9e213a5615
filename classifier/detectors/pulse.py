r"""Pulse Connect Secure behind a server that ends TLS: an upgrade to IF-T, or Juniper's older request.

First lines of each side, in clear text where TLS has been taken off before the capture point::

    GET / HTTP/1.1 ... Upgrade: IF-T/TLS 1.0 ...     HTTP/1.1 101 ...
    POST /dana/js?prot=1&svc=4 HTTP/1.1 ...          HTTP/1.1 200 ...

Sources
-------
Trusted Computing Group, "TNC IF-T: Binding to TLS", section 3 (upgrade); OpenConnect, ``pulse.c``
and ``oncp.c``.

Strength
--------
Proof: the request and its answer. Strong: the request with no answer captured. Weak: the request,
answered otherwise (a scan).

Mistaken for
------------
IF-T carries other assessments of endpoints than Pulse's, in private networks.

Blind to
--------
The tunnel as it is mostly captured, inside TLS, and its ESP in UDP by this name.
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
_NAME = "pulse"
_EXCHANGES = (
    Exchange(
        b"GET /",
        re.compile(rb"GET /\S* HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*?(?i:upgrade): IF-T/TLS 1\.0\r\n"),
        re.compile(rb"HTTP/1\.1 101 "),
        "upgrade to IF-T",
        b": IF-T/TLS 1.0\r\n",
    ),
    Exchange(
        b"POST /dana/js?prot=1&svc=",
        re.compile(rb"POST /dana/js\?prot=1&svc=[14] HTTP/1\.[01]\r\n"),
        re.compile(rb"HTTP/1\.[01] 200 "),
        "Juniper's request for a tunnel",
    ),
)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with a request."""
    return begins_exchange(heads, _EXCHANGES)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find the requests and their answers."""
    return find_exchanges(batch, _NAME, _NAME, _EXCHANGES)


DETECTOR = Detector(_NAME, _NAME, (TCP,), 2048, detect, select)

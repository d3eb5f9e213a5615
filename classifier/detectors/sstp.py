r"""SSTP behind a server that ends TLS: an HTTP verb of its own, then frames of PPP.

First lines of each side, in clear text where TLS has been taken off before the capture point::

    SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1
    HTTP/1.1 200

Sources
-------
[MS-SSTP], "Secure Socket Tunneling Protocol", sections 3.2.4.1 and 4.1 (HTTP layer).

Strength
--------
Proof: the verb with its path, and answer 200. Strong: the request with no answer captured. Weak:
the request, answered otherwise (a scan of a web server).

Mistaken for
------------
Nothing known: verb and path belong to the protocol.

Blind to
--------
SSTP as it is mostly captured, inside TLS: it is then TLS like any other.
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
_NAME = "sstp"
_EXCHANGES = (
    Exchange(
        b"SSTP_DUPLEX_POST ",
        re.compile(
            rb"SSTP_DUPLEX_POST /sra_\{BA195980-CD49-458b-9E23-C84EE0ADCD75\}/ HTTP/1\.",
            re.IGNORECASE,
        ),
        re.compile(rb"HTTP/1\.[01] 200[ \r]"),
        "SSTP_DUPLEX_POST request",
    ),
)


def select(heads: Heads) -> NDArray[np.bool_]:
    """Choose flows that begin with the verb."""
    return begins_exchange(heads, _EXCHANGES)


def detect(batch: FlowBatch) -> list[Evidence]:
    """Find the request and its answer."""
    return find_exchanges(batch, _NAME, _NAME, _EXCHANGES)


DETECTOR = Detector(_NAME, _NAME, (TCP,), 2048, detect, select)

"""Names in the certificates that TLS servers send in the clear, that is up to TLS 1.2.

How this works
--------------
The server's handshake messages (RFC 5246 7.4) are put together from their records as far as they
were kept; of the message ``certificate`` only the first certificate is read, the server's own. Its
DER (RFC 5280 4.1, X.690) is walked from the front: the subject lies before the key, so it is mostly
there although the certificate was cut::

    Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version, serial INTEGER, algorithm SEQUENCE,
                               issuer Name, validity SEQUENCE, subject Name, ... }, ... }
    Name        ::= SEQUENCE OF SET OF SEQUENCE { type OBJECT IDENTIFIER, value string }
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors.applications.hellos import join_records
from classifier.detectors.applications.naming import readable
from classifier.tables import FlowBatch

__all__ = ["CertificateNames", "server_certificate_names"]

_SERVER_HELLO, _CERTIFICATE = 2, 11  # RFC 5246 7.4
_SEQUENCE, _SET, _OID, _BMP_STRING = 0x30, 0x31, 0x06, 0x1E
#: Attributes of a name (X.520), by their object identifier 2.5.4.n.
_ATTRIBUTES = {b"\x55\x04\x03": 0, b"\x55\x04\x0a": 1, b"\x55\x04\x0b": 2}


class CertificateNames(NamedTuple):
    """Names in a certificate; empty where there is none or it was cut before it.

    Attributes
    ----------
    common_name, organisation, unit : str
        CN, O and OU of the subject; several of a kind are joined by ``", "``.
    issuer_common_name, issuer_organisation, issuer_unit : str
        The same of the issuer.
    """

    common_name: str = ""
    organisation: str = ""
    unit: str = ""
    issuer_common_name: str = ""
    issuer_organisation: str = ""
    issuer_unit: str = ""


def server_certificate_names(batch: FlowBatch, rows: NDArray[np.int64]) -> list[CertificateNames]:
    """Return the names in the certificates of TLS servers.

    Parameters
    ----------
    batch : FlowBatch
    rows : ndarray of int64
        Flow rows; those without a server's certificate give empty names.

    Returns
    -------
    list of CertificateNames
        One for each of ``rows``.

    Notes
    -----
    Of a direction the first 2,048 bytes are kept, so the subject is there unless a large hello or
    issuer stands before it. Some tens of microseconds for each row.
    """
    found = []
    for flow in batch.flows[rows]:
        names = CertificateNames()
        for side in ("resp", "orig"):  # the other way round where the capture begins late
            head = batch.payload[flow[f"{side}_start"] : flow[f"{side}_stop"]].tobytes()
            certificate = first_certificate(head)
            if certificate:
                names = certificate_names(certificate)
                break
        found.append(names)
    return found


def first_certificate(head: bytes) -> bytes:
    """Return the server's certificate in the head of a stream, as far as it was kept."""
    messages = join_records(head)
    at = 0
    while at + 4 <= len(messages):
        kind, size = messages[at], int.from_bytes(messages[at + 1 : at + 4])
        if at == 0 and kind != _SERVER_HELLO:
            return b""
        at += 4
        if kind == _CERTIFICATE:  # bytes of the list 3, then of each certificate 3
            declared = int.from_bytes(messages[at + 3 : at + 6])
            return messages[at + 6 : min(at + size, at + 6 + declared)]
        at += size
    return b""


def _values(data: bytes, *, whole: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of the DER values in ``data``; a cut last one unless ``whole``."""
    at = 0
    while at + 2 <= len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size >= 0x80:
            width = size & 0x7F
            if not 1 <= width <= 3 or at + width > len(data):
                return
            size = int.from_bytes(data[at : at + width])
            at += width
        if whole and at + size > len(data):
            return
        yield tag, data[at : at + size]
        at += size


def _inside(data: bytes, wanted: int) -> bytes:
    """Return the content of the first value if its tag is ``wanted``."""
    tag, content = next(_values(data), (0, b""))
    return content if tag == wanted else b""


def certificate_names(certificate: bytes) -> CertificateNames:
    """Return the names in a certificate in DER, which may be cut."""
    fields = _values(_inside(_inside(certificate, _SEQUENCE), _SEQUENCE))
    sequences = [content for tag, content in fields if tag == _SEQUENCE]
    # Signature algorithm, issuer, validity, subject, key
    names = [_name(sequences[i]) if i < len(sequences) else ("", "", "") for i in (3, 1)]
    return CertificateNames(*names[0], *names[1])


def _name(data: bytes) -> tuple[str, str, str]:
    """Return CN, O and OU of a name, as far as they are whole."""
    kept: tuple[list[str], ...] = ([], [], [])
    for tag, relative in _values(data, whole=True):
        pair = list(_values(_inside(relative, _SEQUENCE))) if tag == _SET else []
        if len(pair) == 2 and pair[0][0] == _OID and pair[0][1] in _ATTRIBUTES:
            kind, value = pair[1]
            if kind == _BMP_STRING:
                value = value.decode("utf-16-be", "replace").encode()
            kept[_ATTRIBUTES[pair[0][1]]].append(readable(value))
    return ", ".join(kept[0]), ", ".join(kept[1]), ", ".join(kept[2])

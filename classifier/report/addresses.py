"""Text of addresses and Community IDs, as Arrow columns."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier.report import _kernels

__all__ = ["address_column", "community_id_column"]

_ALPHABET = np.frombuffer(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8
).copy()

#: Messages that are hashed side by side: vectors of 32-bit words hold as many.
_LANES = 16


def _strings(offsets: NDArray[np.int32], data: NDArray[np.uint8]) -> pa.StringArray:
    return pa.StringArray.from_buffers(offsets.size - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def address_column(
    hi: NDArray[np.uint64], lo: NDArray[np.uint64], version: NDArray[np.uint8]
) -> pa.StringArray:
    """Write addresses as text: dotted quads, and IPv6 as RFC 5952 recommends.

    Parameters
    ----------
    hi, lo : ndarray of uint64, shape (n,)
        Upper and lower half; an IPv4 address is the low 32 bits of ``lo``.
    version : ndarray of uint8, shape (n,)
        4 or 6.

    Returns
    -------
    pyarrow.StringArray, length n

    Raises
    ------
    ValueError
        If the arrays differ in length.

    References
    ----------
    RFC 5952, sections 4 and 5: IPv4-mapped addresses keep their dotted quad.
    """
    hi, lo = np.array(hi, np.uint64), np.array(lo, np.uint64)  # copies: never read-only
    version = np.array(version, np.uint8)
    if not hi.shape == lo.shape == version.shape or hi.ndim != 1:
        raise ValueError("the halves and versions of addresses differ in length")
    offsets = np.zeros(hi.size + 1, np.int32)
    out = np.empty(hi.size * _kernels.ADDRESS_BYTES, np.uint8)
    _kernels.address_text(hi, lo, version, offsets, out)
    return _strings(offsets, out[: offsets[-1]].copy())


def community_id_column(flows: NDArray[np.void]) -> pa.StringArray:
    """Write the Community ID, version 1 with seed 0, of each flow.

    Parameters
    ----------
    flows : structured ndarray, shape (n,)
        With the fields of ``tables.FLOW`` that name endpoints, protocol and first ICMP message.

    Returns
    -------
    pyarrow.StringArray, length n

    References
    ----------
    https://github.com/corelight/community-id-spec. The first packet's ICMP type stands for the
    originator's port, the type that answers it for the responder's; a type without an answer
    keeps the order of the first packet and takes its code instead.
    """
    n = flows.size
    out = np.empty(n * _kernels.COMMUNITY_ID_BYTES, np.uint8)
    _kernels.community_ids(
        flows["orig_hi"].copy(),
        flows["orig_lo"].copy(),
        flows["resp_hi"].copy(),
        flows["resp_lo"].copy(),
        flows["orig_port"].copy(),
        flows["resp_port"].copy(),
        flows["proto"].copy(),
        flows["ip_version"].copy(),
        flows["icmp"].copy(),
        _ALPHABET,
        np.empty((80, _LANES), np.uint32),
        np.empty((5, _LANES), np.uint32),
        np.empty(44, np.int64),
        out,
    )
    offsets = np.arange(n + 1, dtype=np.int32) * _kernels.COMMUNITY_ID_BYTES
    return _strings(offsets.astype(np.int32), out)

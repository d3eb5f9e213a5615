"""Which ends of flows are in the inside network, from the text of their addresses."""

import ipaddress
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["inside_column", "inside_ends"]


def inside_column(orig: NDArray[np.bool_], resp: NDArray[np.bool_]) -> Any:
    """Return the derived column ``inside`` as Arrow text.

    Parameters
    ----------
    orig, resp : ndarray of bool, shape (n_flows,)
        Which ends are inside, from `inside_ends` or ``registry.inside``.
    """
    import pyarrow as pa

    return pa.array(["", "orig", "resp", "both"]).take(pa.array(orig + 2 * resp))


def inside_ends(
    orig_ip: Any, resp_ip: Any, local: Sequence[str] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say for each flow whether its originator and whether its responder is inside.

    Parameters
    ----------
    orig_ip, resp_ip : pyarrow.Array or ChunkedArray of text, length n_flows
        What is no address is not inside.
    local : sequence of str, optional
        Prefixes of the inside network; private, link-local and unique-local where left out.

    Returns
    -------
    tuple of ndarray of bool, shape (n_flows,)

    Notes
    -----
    Each distinct address is looked up once.
    """
    import pyarrow as pa

    found = []
    for texts in (orig_ip, resp_ip):
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        encoded = texts.dictionary_encode()
        known = _inside(encoded.dictionary.cast(pa.binary()).to_pylist(), local)
        found.append(known[encoded.indices.to_numpy(zero_copy_only=False)])
    return found[0], found[1]


def _inside(texts: list[bytes], local: Sequence[str] | None) -> NDArray[np.bool_]:
    from classifier.registry import inside
    from classifier.tables import FLOW

    flows = np.zeros(len(texts), FLOW)
    good = np.zeros(len(texts), bool)
    for row, text in enumerate(texts):
        try:
            address = ipaddress.ip_address(text.decode("ascii"))
        except ValueError:  # UnicodeDecodeError is one
            continue
        number = int(address)
        good[row] = True
        flows["ip_version"][row] = address.version
        flows["orig_hi"][row] = number >> 64
        flows["orig_lo"][row] = number & (1 << 64) - 1
    return inside(flows, local)[0] & good

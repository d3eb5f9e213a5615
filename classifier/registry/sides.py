"""Which endpoint of a flow is inside, and so which one is the client."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry._fields import BadField, Prefix, parse_prefix
from classifier.registry._index import build_ranges, find
from classifier.registry._table_kernels import Ranges

__all__ = ["DEFAULT_LOCAL", "ROUTED_LOCAL", "client_is_orig", "inside", "orig_is_client"]

#: The inside network unless told: private (RFC 1918), unique-local (RFC 4193), and link-local (RFC
#: 3927, 4291), which routers do not forward: a second address of somebody, and unseen by a box.
ROUTED_LOCAL = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
DEFAULT_LOCAL = (*ROUTED_LOCAL, "169.254.0.0/16", "fe80::/10")
_REMEDY = "write it like 10.0.0.0/8"


def inside(
    flows: NDArray[np.void], local: Sequence[str] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether the originator and whether the responder is inside.

    Parameters
    ----------
    flows : ndarray of tables.FLOW, shape (n_flows,)
    local : sequence of str, optional
        Prefixes of the inside network; default: `DEFAULT_LOCAL`.

    Returns
    -------
    tuple of ndarray of bool, shape (n_flows,)

    Raises
    ------
    RegistryError
        If one of ``local`` is no prefix; it is named.
    """
    texts = DEFAULT_LOCAL if local is None else (local,) if isinstance(local, str) else local
    try:
        ranges = _local_ranges(tuple(texts))
    except TypeError:  # of a text that cannot be hashed
        raise RegistryError("holds no texts", path="local", remedy=_REMEDY) from None
    orig, resp = (
        find(ranges, flows["ip_version"], flows[f"{end}_hi"], flows[f"{end}_lo"]) >= 0
        for end in ("orig", "resp")
    )
    return orig, resp


def orig_is_client(
    orig_inside: NDArray[np.bool_], resp_inside: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return where the originator is the client: everywhere but where only the responder is inside.

    Parameters
    ----------
    orig_inside, resp_inside : ndarray of bool, shape (n_flows,)
        From `inside`.
    """
    return ~resp_inside | orig_inside


def client_is_orig(
    flows: NDArray[np.void], local: Sequence[str] | None = None
) -> NDArray[np.bool_]:
    """Return whether the client of each flow is its originator.

    The client is the inside endpoint if exactly one is inside, else the originator. Errors are those
    of `inside`.

    Parameters
    ----------
    flows : structured ndarray, shape (n_flows,)
        With the endpoint fields of ``tables.FLOW``.
    local : sequence of str, optional
        Prefixes of the inside network; private, link-local and unique-local where left out.

    Returns
    -------
    ndarray of bool, shape (n_flows,)
    """
    return orig_is_client(*inside(flows, local))


@lru_cache(maxsize=8)
def _local_ranges(local: tuple[str, ...]) -> Ranges:
    """Flatten the inside prefixes."""
    prefixes: set[Prefix] = set()
    for text in local:
        try:
            if not isinstance(text, str):
                raise BadField(f"{text!r} is not a text", _REMEDY)
            prefixes.add(parse_prefix(text))
        except BadField as error:
            raise RegistryError(error.problem, path="local", remedy=error.remedy) from None
    columns = list(zip(*sorted(prefixes), strict=True)) or [(), (), (), ()]
    version, hi, lo, length = columns
    return build_ranges(
        np.array(version, np.uint8),
        np.array(hi, np.uint64),
        np.array(lo, np.uint64),
        np.array(length, np.uint8),
    )

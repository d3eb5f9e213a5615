"""Flows against a compiled register: which endpoint is registered, and what nearly is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.errors import QueryError
from classifier.registry import _table_kernels as kernels
from classifier.registry._index import find, frozen
from classifier.registry.table import Table, per_query

__all__ = ["NEAR_MISSES", "SIDE_NAMES", "FlowRegistrations", "match_flows"]

#: Words of the ``near_miss`` column by code, also the order in which reasons are preferred.
NEAR_MISSES = ("", "expired", "not_yet", "wrong_side", "wrong_scope", "not_active")

#: Words of the ``matched_side`` column by code.
SIDE_NAMES = ("", "client", "server")

_CLIENT, _SERVER = 1, 2
_NO_SCORE = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class FlowRegistrations:
    """What the register says about flows. All arrays have shape (n_flows,).

    Attributes
    ----------
    row : ndarray of int32
        Row in ``Table.rows``, -1 where neither endpoint is registered.
    side : ndarray of int8
        Row of `SIDE_NAMES`: 0 none, 1 the client matched, 2 the server.
    near_miss : ndarray of int8
        Row of `NEAR_MISSES`, 0 where something matched or no prefix covers an endpoint.
    near_row : ndarray of int32
        Row in ``Table.rows`` of what nearly matched, -1 where nothing did.
    """

    row: NDArray[np.int32]
    side: NDArray[np.int8]
    near_miss: NDArray[np.int8]
    near_row: NDArray[np.int32]


def match_flows(
    table: Table,
    flows: NDArray[np.void],
    client_is_orig: NDArray[np.bool_],
    at_ns: int | NDArray[np.int64] | None = None,
) -> FlowRegistrations:
    """Look both endpoints of flows up, each as the side that it is.

    Parameters
    ----------
    table : Table
    flows : ndarray of tables.FLOW, shape (n_flows,)
    client_is_orig : ndarray of bool, shape (n_flows,)
        From `sides.client_is_orig`.
    at_ns : int or ndarray of int64, shape (n_flows,), optional
        UTC nanoseconds since 1970; default: each flow's first packet.

    Returns
    -------
    FlowRegistrations
        The server's entry where both match. The scope is the flow's protocol and the server's port.

    Notes
    -----
    A near miss is named where no entry matches but one covers an endpoint. Of all entries around
    both endpoints the one with the fewest failures counts, then the longest prefix, then the
    earliest word of `NEAR_MISSES`; an entry with several failures goes by the earliest word.

    Raises
    ------
    QueryError
        If an array has another shape (a RegistryError and a ValueError).
    """
    n = flows.size
    orig = np.asarray(client_is_orig, bool)
    if orig.shape != (n,):
        problem = f"client_is_orig is {orig.shape}, not ({n},)"
        raise QueryError(problem, path="match_flows", remedy="give one for each flow")
    at = per_query("at_ns", flows["first_ns"] if at_ns is None else at_ns, n, np.int64, 0)
    proto = frozen(flows["proto"], np.int32)
    port = frozen(np.where(orig, flows["resp_port"], flows["orig_port"]), np.int32)
    ends: dict[int, tuple[NDArray[np.uint64], NDArray[np.uint64]]] = {}
    rows: dict[int, NDArray[np.int32]] = {}
    for side, is_orig in ((_CLIENT, orig), (_SERVER, ~orig)):
        hi = np.where(is_orig, flows["orig_hi"], flows["resp_hi"])
        lo = np.where(is_orig, flows["orig_lo"], flows["resp_lo"])
        ends[side] = hi, lo
        rows[side] = find(table._index.active, flows["ip_version"], hi, lo)
        mask = frozen(np.full(1, side), np.int8)
        kernels.resolve(True, at, mask, proto, port, table._index.entries, rows[side])
    row = np.where(rows[_SERVER] >= 0, rows[_SERVER], rows[_CLIENT]).astype(np.int32)
    matched = np.where(rows[_SERVER] >= 0, _SERVER, np.where(rows[_CLIENT] >= 0, _CLIENT, 0))
    todo = np.flatnonzero(row < 0)
    near_miss = np.zeros(n, np.int8)
    near_row = np.full(n, -1, np.int32)
    if todo.size and len(table):
        score = np.full(todo.size, _NO_SCORE, np.int32)
        nearest = np.full(todo.size, -1, np.int32)
        at = at if at.size == 1 else frozen(at[todo], np.int64)
        scope = frozen(proto[todo], np.int32), frozen(port[todo], np.int32)
        version = flows["ip_version"][todo]
        for side in (_SERVER, _CLIENT):
            mask = frozen(np.full(1, side), np.int8)
            hi, lo = ends[side]
            around = frozen(find(table._index.every, version, hi[todo], lo[todo]), np.int32)
            entries = table._index.entries
            kernels.nearest_miss(around, at, mask, *scope, entries, score, nearest)
        near = nearest >= 0
        near_miss[todo[near]] = score[near] & 0xFF
        near_row[todo[near]] = nearest[near]
    return FlowRegistrations(row, matched.astype(np.int8), near_miss, near_row)

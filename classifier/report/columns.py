"""Arrays -> the flow columns, as Arrow, with the names, order and types of ``tables.COLUMNS``."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifier.detectors.interface import Names
from classifier.identify import Identification
from classifier.report.addresses import address_column, community_id_column
from classifier.tables import (
    COLUMNS,
    ENCAPSULATIONS,
    NO_WRAPPING,
    SCHEMA_VERSION,
    FlowBatch,
    Kind,
    Strength,
    protocol_name,
)

__all__ = [
    "OBSERVED",
    "REGISTRATION",
    "SCHEMA",
    "no_registration_columns",
    "observed_columns",
    "registration_columns",
    "string_column",
]

SCTP = 132
SCTP_INIT = 1  # type of the first chunk, which begins an association: RFC 9260 section 3.3.2

_EVIDENCE = pa.struct(
    [
        ("detector", pa.string()),
        ("strength", pa.string()),
        ("detail", pa.string()),
        ("packet", pa.int64()),
    ]
)
_TYPES: dict[str, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "list<int64>": pa.list_(pa.int64()),
    "list<struct<detector: string, strength: string, detail: string, packet: int64>>": pa.list_(
        _EVIDENCE
    ),
}

#: Schema of the flow table, with ``schema_version`` as metadata.
SCHEMA = pa.schema(
    [pa.field(column.name, _TYPES[column.type]) for column in COLUMNS],
    metadata={"schema_version": str(SCHEMA_VERSION)},
)

#: Columns that ``registration_columns`` makes.
REGISTRATION = (
    "registered",
    "registration_id",
    "organisation",
    "category",
    "matched_side",
    "near_miss",
)

#: Columns that ``observed_columns`` makes: all before the register and the policy.
OBSERVED = tuple(c.name for c in COLUMNS if c.name not in {*REGISTRATION, "verdict", "rule"})

_CARRIERS = tuple(k.value for k in Kind if k not in (Kind.NONE, Kind.ENCAPSULATION))
_STRENGTHS = pa.array([s.label for s in Strength])
_SIDES = pa.array(["", "client", "server"])
_PROTOCOLS = pa.array([protocol_name(n) for n in range(256)])


def _utf8(text: str) -> str:
    r"""Return a text that UTF-8 can hold; bytes that are no UTF-8 become ``\xNN``."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        raw = text.encode("utf-8", "surrogatepass")
    return raw.decode("utf-8", "backslashreplace")


def string_column(texts: Sequence[str] | NDArray[np.object_]) -> pa.StringArray:
    r"""Return texts as a column; bytes that were no UTF-8 (surrogates) become ``\xNN``."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([_utf8(text) for text in texts], pa.string())


def _sparse_column(texts: NDArray[np.object_], rows: NDArray[np.int64]) -> pa.StringArray:
    """Return texts as a column, of which all but those of some rows are empty."""
    known = pa.concat_arrays([pa.array([""]), string_column(texts[rows])])
    place = np.zeros(texts.size, np.int32)
    place[rows] = np.arange(1, rows.size + 1)
    return known.take(pa.array(place))


def _integers(flows: NDArray[np.void], name: str) -> pa.Int64Array:
    return pa.array(flows[name].astype(np.int64))


def _vlan_column(wrapping: NDArray[np.uint64]) -> pa.ListArray:
    if (wrapping == NO_WRAPPING).all():  # as in most captures
        offsets = pa.array(np.zeros(wrapping.size + 1, np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array([], pa.int64()))
    shifts = np.arange(0, 48, 12, dtype=np.uint64)
    ids = (wrapping[:, None] >> shifts) & np.uint64(0xFFF)
    present = ids != 0xFFF
    offsets = np.zeros(wrapping.size + 1, np.int32)
    np.cumsum(present.sum(axis=1), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids[present].astype(np.int64)))


def _encapsulation_column(wrapping: NDArray[np.uint64]) -> pa.StringArray:
    codes, rows = np.unique(wrapping >> np.uint64(48), return_inverse=True)
    names = []
    for code in codes.tolist():
        nested = [ENCAPSULATIONS[code >> shift & 0xF] for shift in (0, 4, 8, 12)]
        names.append("/".join(name for name in nested if name))
    return pa.array(names, pa.string()).take(pa.array(rows))


def _application_columns(
    names: Names,
    services: Mapping[str, str],
    strength: NDArray[np.int8],
    kind: pa.StringArray,
    family: pa.StringArray,
) -> tuple[pa.Array, pa.Array]:
    """Name each flow: by the VPN family where evidence is strong or nothing else names it.

    Weak evidence does not rename a flow that is known to be something: a TLS flow that only looks
    like a tunnel stays ``tls``, used for the ``web``.
    """
    known = string_column(names.application)
    named = pc.not_equal(family, "")
    sure = pa.array(strength >= Strength.STRONG)
    renamed = pc.and_(named, pc.or_(pc.equal(known, "unknown"), sure))
    application = pc.if_else(renamed, family, known)
    encoded = application.dictionary_encode()
    uses = [services.get(name, "unknown") for name in encoded.dictionary.to_pylist()]
    service = string_column(uses).take(encoded.indices)
    carrier = pc.is_in(kind, pa.array(_CARRIERS))
    service = pc.if_else(pc.and_(renamed, carrier), "vpn", service)
    bare = pc.and_(renamed, pc.equal(kind, Kind.ENCAPSULATION.value))
    return application, pc.if_else(bare, "infrastructure", service)


def _evidence_column(batch: FlowBatch, identification: Identification) -> pa.ListArray:
    evidence = identification.evidence
    rows = np.fromiter((e.packet for e in evidence), np.int64, len(evidence))
    strengths = np.fromiter((e.strength for e in evidence), np.int8, len(evidence))
    items = pa.StructArray.from_arrays(
        [
            string_column([e.detector for e in evidence]),
            _STRENGTHS.take(pa.array(strengths)),
            string_column([e.detail for e in evidence]),
            pa.array(batch.packets["frame"][rows].astype(np.int64)),
        ],
        fields=list(_EVIDENCE),
    )
    return pa.ListArray.from_arrays(pa.array(identification.evidence_offsets), items)


def _start_seen(
    batch: FlowBatch, names: Names, identification: Identification
) -> NDArray[np.bool_]:
    flows = batch.flows
    seen: NDArray[np.bool_] = flows["start_seen"].astype(np.bool_) | names.starts
    sctp = np.flatnonzero((flows["proto"] == SCTP) & (flows["orig_stop"] > flows["orig_start"]))
    seen[sctp] |= batch.payload[flows["orig_start"][sctp]] == SCTP_INIT
    started = np.fromiter((e.flow for e in identification.evidence if e.starts), np.int64)
    seen[started] = True
    return seen


def observed_columns(
    batch: FlowBatch,
    captures: Sequence[str],
    names: Names,
    services: Mapping[str, str],
    identification: Identification,
) -> pa.RecordBatch:
    """Return all columns from ``flow_id`` to ``bytes_before``.

    Parameters
    ----------
    batch : FlowBatch
        ``n_flows`` flows.
    captures : sequence of str
        Base names; ``flows["capture"]`` is a position in it.
    names : Names
        What the flows are, apart from VPN evidence.
    services : mapping of str to str
        Application to class of use; ``unknown`` where an application is not in it.
    identification : Identification
        What was concluded about the same flows.

    Returns
    -------
    pyarrow.RecordBatch, n_flows rows
    """
    flows = batch.flows
    concluded = np.flatnonzero(identification.method != "")
    kind, family, method = (
        _sparse_column(texts, concluded)
        for texts in (identification.kind, identification.family, identification.method)
    )
    application, service = _application_columns(
        names, services, identification.strength, kind, family
    )
    ip_version = flows["ip_version"]
    given: dict[str, pa.Array] = {
        "community_id": community_id_column(flows),
        "capture": string_column(list(captures)).take(pa.array(flows["capture"])),
        "proto": _PROTOCOLS.take(pa.array(flows["proto"])),
        "orig_ip": address_column(flows["orig_hi"], flows["orig_lo"], ip_version),
        "resp_ip": address_column(flows["resp_hi"], flows["resp_lo"], ip_version),
        "vlan": _vlan_column(flows["wrapping"]),
        "encapsulation": _encapsulation_column(flows["wrapping"]),
        "start_seen": pa.array(_start_seen(batch, names, identification)),
        "application": application,
        "service": service,
        "server_name": string_column(names.server_name),
        "ja4": string_column(names.ja4),
        "is_vpn": pa.array(identification.is_vpn),
        "kind": kind,
        "family": family,
        "vpn_probability": pa.array(identification.vpn_probability),
        "strength": _STRENGTHS.take(pa.array(identification.strength)),
        "method": method,
        "evidence": _evidence_column(batch, identification),
        "decided_packet": pa.array(identification.decided_packet),
        "decided_ns": pa.array(identification.decided_ns),
        "bytes_before": pa.array(identification.bytes_before),
    }
    columns = [given[n] if n in given else _integers(flows, n) for n in OBSERVED]
    return pa.RecordBatch.from_arrays(
        columns, schema=pa.schema([SCHEMA.field(n) for n in OBSERVED])
    )


def registration_columns(
    rows: NDArray[np.int32],
    side: NDArray[np.int8],
    near_miss: NDArray[np.int8],
    near_misses: Sequence[str],
    registrations: pa.Table,
) -> dict[str, pa.Array]:
    """Return the six columns that the register fills, by name.

    Parameters
    ----------
    rows : ndarray of int32, shape (n_flows,)
        Row of ``registrations``, -1 where no entry matches.
    side : ndarray of int8, shape (n_flows,)
        Which endpoint the entry matched: 1 client, 2 server, 0 neither.
    near_miss : ndarray of int8, shape (n_flows,)
        Why a flow nearly matched: a position in ``near_misses``, whose first word is empty.
    near_misses : sequence of str
    registrations : pyarrow.Table
        With text columns ``registration_id``, ``organisation`` and ``category``.

    Returns
    -------
    dict of str to pyarrow.Array
    """
    matched = rows >= 0
    index = pa.array(rows.astype(np.int64), mask=~matched)

    def taken(name: str) -> pa.Array:
        found = registrations.column(name).take(index)  # of a large register few rows are wanted
        return pc.fill_null(found.cast(pa.string()), "").combine_chunks()

    return {
        "registered": pa.array(matched),
        "registration_id": taken("registration_id"),
        "organisation": taken("organisation"),
        "category": taken("category"),
        "matched_side": _SIDES.take(pa.array(np.where(matched, side, 0))),
        "near_miss": string_column(list(near_misses)).take(pa.array(near_miss)),
    }


def no_registration_columns(n_flows: int) -> dict[str, pa.Array]:
    """Return the six columns that the register fills, for a run without one."""
    empty = pa.array([""]).take(pa.array(np.zeros(n_flows, np.int8)))
    columns = dict.fromkeys(REGISTRATION, empty)
    columns["registered"] = pa.array(np.zeros(n_flows, np.bool_))
    return columns

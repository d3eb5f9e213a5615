"""Flow rows as text for a terminal. Every word from a capture or a register is made harmless."""

import dataclasses
import os
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from classifier.report._layout import columns_text, grouped, safe_text, time_text
from classifier.report.explanation import Explanation
from classifier.tables import FAMILIES, Verdict

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from classifier.detectors.interface import Detector
    from classifier.registry import Match, RegistryStats

__all__ = [
    "Explanation",
    "accounting_text",
    "columns_text",
    "detectors_text",
    "flow_table",
    "match_text",
    "report_text",
    "safe_text",
    "stats_text",
    "summary_table",
    "wants_colour",
]

_COLOURS = {"flag": "\x1b[33m", "would_throttle": "\x1b[35m", "would_block": "\x1b[31m"}

#: Rows of a flow table, unless told otherwise.
_ROWS = 40


def wants_colour(stream: TextIO) -> bool:
    """Return whether a stream is a terminal whose user has not refused colour.

    References
    ----------
    https://no-color.org
    """
    refused = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not refused


def _count(number: int, noun: str) -> str:
    return f"{grouped(number)} {noun}" if number != 1 else f"1 {noun.removesuffix('s')}"


def _coded(column: "pa.ChunkedArray") -> "tuple[NDArray[np.int32], list[Any]]":
    """Return a column as positions in the list of its different values, and that list."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _harshness(verdict: str) -> int:
    return next((v.value for v in Verdict if v.label == verdict), 0)


def summary_table(table: "pa.Table", *, width: int = 110) -> str:
    """Return flows, packets and bytes by verdict, family and registration, the harshest first.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows.
    width : int
        Characters of a line.
    """
    import numpy as np

    # Not by ``group_by``, which imports Arrow's query engine for it: 10 ms of a short run
    groups, totals = np.zeros(table.num_rows, np.int64), []
    values: list[list[Any]] = []
    for name in ("verdict", "family", "registered"):
        codes, words = _coded(table.column(name))
        groups = groups * max(len(words), 1) + codes
        values.append(words)
    for name in ("packets", "bytes"):
        both = np.zeros(int(groups.max(initial=-1)) + 1, np.int64)
        for side in ("orig", "resp"):
            np.add.at(both, groups, table.column(f"{side}_{name}").to_numpy())
        totals.append(both)
    flows = np.bincount(groups)
    found = []
    for group in np.flatnonzero(flows).tolist():
        rest, registered = divmod(group, len(values[2]))
        verdict, family = divmod(rest, len(values[1]))
        found.append(
            {
                "verdict": values[0][verdict],
                "family": values[1][family],
                "registered": values[2][registered],
                "count_all": int(flows[group]),
                "packets_sum": int(totals[0][group]),
                "bytes_sum": int(totals[1][group]),
            }
        )
    found.sort(key=lambda g: (-_harshness(g["verdict"]), -g["count_all"], g["family"]))
    rows = [
        (
            group["verdict"],
            group["family"] or "-",
            "yes" if group["registered"] else "no",
            grouped(group["count_all"]),
            grouped(group["packets_sum"]),
            grouped(group["bytes_sum"]),
        )
        for group in found
    ]
    header = ("verdict", "family", "registered", "flows", "packets", "bytes")
    return columns_text(header, rows, width=width, right=header[3:], least={"family": 8})


def _endpoint(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _registration(row: Mapping[str, Any]) -> str:
    if row["registered"]:
        return str(row["registration_id"]) or "yes"
    return f"({row['near_miss']})" if row["near_miss"] else "-"


def _flow_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        row["flow_id"],
        row["proto"],
        _endpoint(row["orig_ip"], row["orig_port"]),
        _endpoint(row["resp_ip"], row["resp_port"]),
        grouped(row["orig_packets"] + row["resp_packets"]),
        row["family"] or row["application"],
        f"{row['vpn_probability']:.3f}",
        row["strength"] or "-",
        _registration(row),
        row["verdict"] + ("" if row["start_seen"] or row["verdict"] == "allow" else "*"),
        row["rule"],
    )


_FLOW_HEADER = (
    "flow",
    "proto",
    "originator",
    "responder",
    "packets",
    "what",
    "p(vpn)",
    "strength",
    "registered",
    "verdict",
    "rule",
)

# A full IPv4 address and port, and what tells most other words apart.
_FLOW_LEAST = {"originator": 21, "responder": 21, "what": 9, "registered": 8, "rule": 10}


def flow_table(
    table: "pa.Table", *, width: int = 110, limit: int = _ROWS, colour: bool = False
) -> str:
    """Return flows in columns: the harshest verdicts first, then the likeliest VPNs.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows.
    width : int
        Characters of a line; long texts are cut to fit.
    limit : int
        The most flows that are shown; how many were left out is said.
    colour : bool
        Paint verdicts; only for terminals (`wants_colour`).
    """
    import numpy as np
    import pyarrow as pa

    codes, verdicts = _coded(table.column("verdict"))
    harsh = np.array([_harshness(verdict) for verdict in verdicts], np.int64)[codes]
    likely = table.column("vpn_probability").to_numpy()
    first, shown = -2.0 * harsh - likely, min(limit, table.num_rows)  # a probability is 1 at most
    some = np.flatnonzero(first <= np.partition(first, shown - 1)[shown - 1]) if shown else codes
    keys = (table.column("flow_id").to_numpy(), -likely, -harsh)
    order = some[np.lexsort([key[some] for key in keys])][:shown]
    rows = table.take(pa.array(order)).to_pylist()
    text = columns_text(
        _FLOW_HEADER,
        [_flow_cells(row) for row in rows],
        width=width,
        right=("flow", "packets", "p(vpn)"),
        least=_FLOW_LEAST,
        drop=("packets", "strength", "rule", "proto", "registered", "p(vpn)"),
        paint=[_COLOURS.get(row["verdict"], "") for row in rows] if colour else None,
    )
    if any(not row["start_seen"] and row["verdict"] != "allow" for row in rows):
        text += "\n* judged without its start: under way before, or split"
    left = table.num_rows - len(rows)
    if left:
        text += f"\n... and {_count(left, 'more flows')}; write them all with --out or Run.write"
    return text


def accounting_text(accounting: Mapping[str, int]) -> str:
    """Return where every packet went: counts of zero are left out.

    Parameters
    ----------
    accounting : mapping of str to int
        ``packets_read`` is the sum of the other keys that begin with ``packets_``; the rest stand
        beside.
    """
    total = accounting.get("packets_read", 0)
    lines = [f"{_count(total, 'packets')} read"]
    beside = []
    for key, count in accounting.items():
        name = safe_text(key.removeprefix("packets_").replace("_", " "))
        if key == "packets_read" or (not count and key != "packets_in_flows"):
            continue
        if key.startswith("packets_"):
            lines.append(f"  {grouped(count):>12} {name}")
        else:
            beside.append(f"{name} {grouped(count)}")
    if beside:
        lines.append("beside: " + ", ".join(beside))
    return "\n".join(lines) + "\n"


def report_text(
    table: "pa.Table",
    accounting: Mapping[str, int],
    *,
    width: int = 110,
    limit: int = _ROWS,
    colour: bool = False,
) -> str:
    """Return what ``replay`` prints: flows, summary and accounting."""
    if not table.num_rows:
        return f"no flows\n\n{accounting_text(accounting)}"
    flows = flow_table(table, width=width, limit=limit, colour=colour)
    summary = summary_table(table, width=width) + _collateral(table)
    return f"{flows}\n\n{summary}\n\n{accounting_text(accounting)}"


def _collateral(table: "pa.Table") -> str:
    """Return what a policy that goes beyond flag without proof or strong evidence is expected to hit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    harsh, sure = (
        pc.is_in(table.column(name), value_set=pa.array(words))
        for name, words in (
            ("verdict", ["would_throttle", "would_block"]),
            ("strength", ["strong", "proof"]),
        )
    )
    hit = table.column("vpn_probability").filter(pc.and_not(harsh, sure)).to_numpy()
    if not hit.size:
        return ""
    return (
        f"\n\n{_count(hit.size, 'flows')} would be slowed or blocked without proof or strong evidence; "
        f"{(1 - hit).sum():,.1f} of them are expected to be no VPN"
    )


def detectors_text(detectors: "Iterable[Detector]", *, width: int = 110) -> str:
    """Return what can be recognised, how surely, what it is mistaken for, and blind spots."""
    from classifier.detectors.measured import measured_text
    from classifier.tables import protocol_name

    blocks = []
    for detector in detectors:
        kind = FAMILIES.get(detector.family)
        what = f" ({kind.value})" if kind else ""
        carriers = " ".join(protocol_name(number) for number in detector.transport)
        lines = [
            f"{detector.name}: {detector.family or 'no family'}{what} over {carriers or 'any'}"
        ]
        for title in ("Strength", "Mistaken for", "Blind to", "Measured"):
            measured = title == "Measured"
            section = measured_text(detector.name) if measured else detector.section(title)
            if section:
                lines += textwrap.wrap(
                    safe_text(f"{title}: {section}", 2000),
                    max(width, 40),
                    initial_indent="  ",
                    subsequent_indent="    ",
                )
        blocks.append("\n".join([safe_text(lines[0]), *lines[1:]]))
    return "\n\n".join(blocks) + "\n"


def match_text(address: str, match: "Match | None") -> str:
    """Return what the register says about an address, on one line."""
    if match is None:
        return f"{safe_text(address)}: not registered"
    period = f"from {match.valid_from}" + (f" until {match.valid_to}" if match.valid_to else "")
    holder = f"{safe_text(match.organisation)} ({safe_text(match.category)})"
    return (
        f"{safe_text(address)}: {safe_text(match.registration_id)}, {holder}, "
        f"{safe_text(match.prefix)} as {safe_text(match.side)}, {safe_text(period)}"
    )


def stats_text(stats: "RegistryStats") -> str:
    """Return counts over a register, one line each.

    Parameters
    ----------
    stats : RegistryStats
    """
    lines = []
    for field in dataclasses.fields(stats):
        value = getattr(stats, field.name)
        name, text = field.name.replace("_", " "), str(value)
        if field.name == "at_ns":
            name, text = "at", "no time asked" if value is None else time_text(value)
        elif isinstance(value, int):
            text = grouped(value)
        elif isinstance(value, dict):
            text = ", ".join(f"{safe_text(key, 60)} {grouped(n)}" for key, n in value.items())
        lines.append(f"{name:<16} {text}")
    return "\n".join(lines) + "\n"

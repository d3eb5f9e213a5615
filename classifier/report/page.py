"""A run as one HTML page: no script, nothing from outside, everything from a capture escaped.

Unless told otherwise, the page holds no address: inside and outside addresses become ``inside-1``,
``outside-7`` and so on, in the order of their first flow, which keeps who talked to whom and nothing
else. Server names, holders, registration numbers, Community IDs and the words of evidence are left
out with them, as any of these may name a person.
"""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.report._escape import visible
from classifier.report._files import output
from classifier.report._layout import time_text
from classifier.report.html_repr import table_html
from classifier.report.plots import COLOURS, Plots, have_matplotlib, svg

if TYPE_CHECKING:
    import os
    from typing import BinaryIO

    import pyarrow as pa

    from classifier.report.impact import Impact

__all__ = ["page", "write_page"]

#: Flows that are shown, the harshest verdicts first.
ROWS = 500

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1b1b1b;margin:2rem auto;max-width:72rem;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2rem}
.said{font-size:1.1rem;border-left:4px solid #D55E00;padding:.4rem 1rem;background:#faf6f2}
.said p{margin:.5rem 0;max-width:52rem}
.note{color:#555;margin:.4rem 0}.tiles{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.tile{border-top:6px solid;padding:.4rem .8rem;background:#f6f6f6;min-width:11rem}
.tile b{display:block;font-size:1.5rem}
.plots,.tables{display:flex;flex-wrap:wrap;align-items:flex-start;gap:1rem 2.5rem}
.plots svg{flex:1 1 26rem;max-width:34rem;height:auto}
.tables>*,.wide{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.85rem;margin:.6rem 0}
caption{text-align:left;font-weight:600;padding:.3rem 0}
td,th{padding:.15rem .6rem;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}
th{border-bottom:2px solid #999;vertical-align:bottom}
.n{text-align:right;font-variant-numeric:tabular-nums}td.n{white-space:nowrap}
.flows td:first-child,.flows td:nth-child(8),.flows td:nth-child(9){white-space:nowrap}
.flows td:nth-child(14){min-width:16rem}
pre{overflow-x:auto;font-size:.8rem}
""".strip()

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

#: What was done and to what comes first, as on a narrow screen the rest is reached by scrolling.
_HEADER = ["verdict", "flow", "what", "registered", "p(vpn)", "strength", "bytes", "originator"]
_HEADER += ["responder", "proto", "began (UTC)", "known at packet", "rule", "evidence", "capture"]
_NUMBERS = frozenset({"flow", "p(vpn)", "bytes", "began (UTC)", "known at packet"})


def write_page(
    target: "str | os.PathLike[str] | BinaryIO",
    table: "pa.Table",
    impact: "Impact",
    *,
    accounting: Mapping[str, int],
    meta: Mapping[str, Any],
    keep_addresses: bool = False,
    local: Sequence[str] | None = None,
) -> None:
    """Write a run as one HTML page; the parameters are those of `page`.

    Raises
    ------
    ResourceError
        If the place cannot be written.
    """
    text = page(
        table, impact, accounting=accounting, meta=meta, keep_addresses=keep_addresses, local=local
    )
    with output(target) as sink:
        sink.write(text.encode("utf-8", "backslashreplace"))


def page(
    table: "pa.Table",
    impact: "Impact",
    *,
    accounting: Mapping[str, int],
    meta: Mapping[str, Any],
    keep_addresses: bool = False,
    local: Sequence[str] | None = None,
) -> str:
    """Return a run as one HTML page.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows.
    impact : Impact
        Of the same rows.
    accounting, meta : mapping
        Of the run.
    keep_addresses : bool
        Show addresses, names and words of evidence.
    local : sequence of str, optional
        Prefixes of the inside network.

    Returns
    -------
    str
        The same for the same run.
    """
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>Impact of {_safe(impact.policy)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>What the policy {_safe(impact.policy)} would have done</h1>",
        (
            f'<p class="note">{impact.flows:,} flows of {impact.addresses:,} inside addresses in '
            f"{impact.captures:,} capture{'s' if impact.captures != 1 else ''}. Nothing was blocked: this is a study of recorded "
            "traffic.</p>"
        ),
        '<div class="said">',
        *(f"<p>{_safe(line)}</p>" for line in impact.headline()),
        "</div>",
        _tiles(impact),
        *(f'<p class="note">{_safe(line)}</p>' for line in impact.notes()),
        "<h2>At a glance</h2>",
        _plots(impact),
        "<h2>Whom it hits</h2>",
        '<div class="tables">' + impact.tables_html() + "</div>",
        "<h2>Flows</h2>",
        _flows(table, keep_addresses, local),
        "<h2>Where every packet went</h2>",
        table_html(
            ["what", "packets"],
            rows=[(k.replace("_", " "), f"{n:,}") for k, n in accounting.items() if n],
            right=["packets"],
        ),
        "<h2>How this was made</h2>",
        f"<pre>{_safe_lines(json.dumps(_told(meta), indent=1, default=str))}</pre>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _safe(text: object) -> str:
    return html.escape(visible(str(text)[:1000]))


def _spaced(verdict: str) -> str:
    """Return a verdict as people read it."""
    return verdict.replace("_", " ")


def _safe_lines(text: str) -> str:
    return "\n".join(_safe(line) for line in text.split("\n"))


def _told(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page tells of how it was made; the inside prefixes are addresses."""
    told = dict(meta)
    options = dict(told.get("options") or {})
    options.pop("local", None)
    told["options"] = options
    return told


def _tiles(impact: "Impact") -> str:
    tiles = []
    for row in impact.verdicts.to_dict("records")[::-1]:
        if not row["flows"]:
            continue
        colour = COLOURS[str(row["verdict"])]
        share = row["addresses"] / impact.addresses if impact.addresses else 0
        tiles.append(
            f'<div class="tile" style="border-color:{colour}">{_safe(_spaced(row["verdict"]))}'
            f"<b>{row['flows']:,} flows</b>{row['addresses']:,} inside addresses ({share:.0%})</div>"
        )
    return '<div class="tiles">' + "".join(tiles) + "</div>"


def _plots(impact: "Impact") -> str:
    if not have_matplotlib():
        return '<p class="note">Without matplotlib there are no plots in this report.</p>'
    plots = Plots(lambda: impact, lambda: (np.zeros(0), np.zeros(0, np.int64)))
    decisions = plots.decisions(), plots.decisions("seconds")
    drawn = (plots.verdicts(), plots.base_rates(), *decisions)
    # Each drawing numbers its parts from one; in one page the names must differ.
    return (
        '<div class="plots">'
        + "".join(_renamed(svg(figure), f"p{number}-") for number, figure in enumerate(drawn))
        + "</div>"
    )


def _renamed(text: str, prefix: str) -> str:
    for before in ('id="', 'href="#', "url(#"):
        text = text.replace(before, before + prefix)
    return text


class _Names:
    """Names for addresses, given in the order in which they are first asked for."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._counts = {"inside": 0, "outside": 0}

    def of(self, address: str, inside: bool) -> str:
        if address not in self._given:
            side = "inside" if inside else "outside"
            self._counts[side] += 1
            self._given[address] = f"{side}-{self._counts[side]}"
        return self._given[address]


def _flows(table: "pa.Table", keep: bool, local: Sequence[str] | None) -> str:
    import pyarrow as pa

    from classifier.policy import inside_ends

    verdicts = table.column("verdict").to_pylist()
    levels = {verdict: number for number, verdict in enumerate(COLOURS)}
    harsh = np.array([levels.get(v, 0) for v in verdicts], np.int64)
    likely = table.column("vpn_probability").to_numpy()
    order = np.lexsort((table.column("flow_id").to_numpy(), -likely, -harsh))[:ROWS]
    shown = table.take(pa.array(np.sort(order)))
    inside = inside_ends(shown.column("orig_ip"), shown.column("resp_ip"), local)
    names = _Names()
    cells = {}
    for number, row in enumerate(shown.to_pylist()):
        ends = [row["orig_ip"], row["resp_ip"]]
        if not keep:
            ends = [
                names.of(address, bool(inside[end][number])) for end, address in enumerate(ends)
            ]
        cells[row["flow_id"]] = _cells(row, ends, keep)
    ids = table.column("flow_id").to_numpy()[order]
    rows = [cells[i] for i in ids.tolist()]
    text = table_html(_HEADER, rows=rows, limit=ROWS, right=_NUMBERS)
    left = table.num_rows - len(ids)
    if left:
        text += (
            f'<p class="note">... and {left:,} more flows, which are allowed or less likely.</p>'
        )
    marked = ""
    if not all(table.column("start_seen").to_pylist()):
        marked = '<p class="note">* judged without its start: under way before, or split</p>'
    return f'<div class="wide flows">{text}</div>{marked}'


def _cells(row: Mapping[str, Any], ends: Iterable[str], keep: bool) -> tuple[object, ...]:
    orig, resp = ends
    evidence = []
    for item in row["evidence"][:5]:
        words = f"{item['detector']} {item['strength']} @{item['packet']}"
        evidence.append(f"{words}: {item['detail']}" if keep else words)
    registered = row["near_miss"] and f"nearly: {row['near_miss']}"
    if row["registered"]:
        registered = f"{row['registration_id']} {row['organisation']}" if keep else "yes"
        registered += f" ({row['category']})" if row["category"] else ""
    what = row["family"] or row["application"]
    if keep and row["server_name"]:
        what += f" {row['server_name']}"
    return (
        _spaced(row["verdict"]) + ("" if row["start_seen"] else "*"),
        row["flow_id"],
        what,
        registered or "-",
        f"{row['vpn_probability']:.3f}",
        row["strength"] or "-",
        f"{row['orig_bytes'] + row['resp_bytes']:,}",
        f"{orig}:{row['orig_port']}" if row["orig_port"] else orig,
        f"{resp}:{row['resp_port']}" if row["resp_port"] else resp,
        row["proto"],
        time_text(row["first_ns"])[:19].replace("T", " "),
        row["decided_packet"] or "-",
        row["rule"],
        "; ".join(evidence) or "-",
        row["capture"],
    )

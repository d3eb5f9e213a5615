"""What changes between two runs, as tables, text, JSON and HTML."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from classifier.policy.changes import changed_flows, summed
from classifier.report._layout import columns_text, safe_text
from classifier.report.impact import bytes_text, plain_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Changes", "compare_tables"]


@dataclass(frozen=True, slots=True)
class Changes:
    """Which flows get another verdict; made by ``Run.compare``.

    Attributes
    ----------
    names : (str, str)
        What is compared.
    flows : pandas.DataFrame
        One row for each flow whose verdict differs.
    summary : pandas.DataFrame
        Flows, bytes and distinct inside addresses by direction, verdict before and after.
    paired, only_before, only_after : int
        Flows that both runs have, and those of one alone.
    """

    names: tuple[str, str]
    flows: "pd.DataFrame"
    summary: "pd.DataFrame"
    paired: int
    only_before: int
    only_after: int

    def headline(self) -> str:
        """Return the outcome in one line."""
        one, other = map(safe_text, self.names)
        text = f"{one} -> {other}: {len(self.flows):,} of {self.paired:,} flows change verdict"
        if len(self.flows):
            volume = bytes_text(self.flows["bytes"].sum())
            text += f" ({volume}, {self._addresses():,} inside addresses)"
        for number, where in ((self.only_before, "first"), (self.only_after, "second")):
            if number:
                text += f", {number:,} are in the {where} alone"
        return text

    def _addresses(self) -> int:
        """Return how many inside addresses have such a flow: those of the summary's rows overlap."""
        return len(set(self.flows["address"]) - {""})

    def text(self, width: int = 110, limit: int = 40) -> str:
        """Return everything as text; of the flows the first ``limit``."""
        parts = [self.headline()]
        if len(self.flows):
            parts += ["", _table(self.summary, width), ""]
            shown = self.flows.head(limit)
            endpoints = [
                f"{r['orig_ip']} > {r['resp_ip']}:{r['resp_port']}" for r in plain_rows(shown)
            ]
            names = ["flow_id", "proto", "family", "bytes", "before", "after", "rule_after"]
            frame = shown[names].assign(endpoints=endpoints)
            parts.append(_table(frame, width))
            if len(self.flows) > limit:
                parts.append(f"... and {len(self.flows) - limit:,} more; --format json has all")
        return "\n".join(parts) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "before": self.names[0],
            "after": self.names[1],
            "paired": self.paired,
            "only_before": self.only_before,
            "only_after": self.only_after,
            "changed": len(self.flows),
            "bytes": int(self.flows["bytes"].sum()),
            "addresses": self._addresses(),
            "summary": plain_rows(self.summary),
            "flows": plain_rows(self.flows),
        }

    def json(self) -> str:
        """Return the same as JSON text."""
        return json.dumps(self.to_json(), indent=2)

    def _repr_html_(self) -> str:
        from classifier.report.html_repr import table_html

        return table_html(self.summary, self.headline()) + table_html(self.flows, "flows")

    def __str__(self) -> str:
        """Return the text."""
        return self.text()

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Changes {self.headline()}>"


def _table(frame: "pd.DataFrame", width: int) -> str:
    names = [str(name) for name in frame.columns]
    rows = [
        [f"{v:,}" if isinstance(v, int) and k != "flow_id" else str(v) for k, v in row.items()]
        for row in plain_rows(frame)
    ]
    right = [name for name in names if name in ("flow_id", "flows", "bytes", "addresses")]
    return columns_text(
        names, rows, width=width, right=right, least={"endpoints": 20, "rule_after": 10}
    )


def compare_tables(
    before: "pa.Table",
    after: "pa.Table",
    names: tuple[str, str],
    local: Sequence[str] | None = None,
) -> Changes:
    """Compare two tables of flow rows.

    Parameters
    ----------
    before, after : pyarrow.Table
    names : (str, str)
        What they are called.
    local : sequence of str, optional
        Prefixes of the inside network.
    """
    flows, paired, only_before, only_after = changed_flows(before, after, local)
    return Changes(names, flows, summed(flows), paired, only_before, only_after)

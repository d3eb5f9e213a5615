"""What a policy does to whom, as tables, text, JSON and HTML."""

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from classifier.report._layout import columns_text, safe_text
from classifier.tables import PREVALENCE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Impact", "arithmetic_text", "bytes_text", "plain_rows"]

_CAUSE_WORDS = {
    "not_vpn": "not a VPN",
    "legitimate": "legitimate, but unregistered",
    "holder": "registered holder, changed or expired address",
    "intended": "what the policy means to hit",
    "unknown": "VPN; a mistake or not, labels would tell",
}

_MISTAKES = {
    "holder": "of registered holders, by a changed address or an expired entry",
    "legitimate": "legitimate, but unregistered",
    "not_vpn": "no VPN",
}

_VERBS = {
    "would_block": "would block",
    "would_throttle": "would slow down",
    "flag": "would flag, and let pass,",
}

#: Columns that are read, not compared, and so stand to the left.
_WORDS = frozenset(
    {"verdict", "service", "category", "reason", "cause", "source", "day", "scenario"}
)

_REASON_WORDS = {
    "expired": "the registration had expired",
    "not_yet": "the registration was not valid yet",
    "wrong_side": "the registration is for the other end",
    "wrong_scope": "the registration is for another port or protocol",
    "not_active": "the registration was not active",
    "changed_address": "the holder's address had changed",
    "registered": "the policy hits registered VPNs too",
}


#: Days that text and HTML show; JSON has all.
_DAYS = 31


def plain_rows(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return rows as plain values; what is not a number becomes None."""
    rows = frame.to_dict(orient="records")
    return [
        {
            str(k): None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in row.items()
        }
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Impact:
    """What a policy would have done to whom; made by ``Run.impact``.

    Attributes
    ----------
    policy : str
        Its name.
    flows, addresses, captures : int
        Flows in all, distinct inside addresses, captures.
    verdicts : pandas.DataFrame
        Flows, bytes, inside addresses, what passed before, by verdict.
    services, categories : pandas.DataFrame
        The same by verdict and class of use, or category of holder.
    reasons : pandas.DataFrame
        Registered users that were hit, and why.
    daily : pandas.DataFrame
        Inside addresses active and hit at least once, by UTC day.
    expected : pandas.DataFrame
        Expected mistakes by verdict, from probabilities, with interval and how it was made.
    mistakes : pandas.DataFrame
        What the hit flows are, from labels where given.
    base_rates : pandas.DataFrame
        Precision restated to other base rates.
    base_rates_source : str
        What that rests on.
    decisions : pandas.DataFrame
        Cumulative: how soon a box would have known.
    scenarios : pandas.DataFrame
        The same verdicts with the register off, stale, or with users behind CGNAT.
    """

    policy: str
    flows: int
    addresses: int
    captures: int
    verdicts: "pd.DataFrame"
    services: "pd.DataFrame"
    categories: "pd.DataFrame"
    reasons: "pd.DataFrame"
    daily: "pd.DataFrame"
    expected: "pd.DataFrame"
    mistakes: "pd.DataFrame"
    base_rates: "pd.DataFrame"
    base_rates_source: str
    decisions: "pd.DataFrame"
    scenarios: "pd.DataFrame"

    def headline(self) -> list[str]:
        """Return the outcome in a few sentences, the harshest verdict first."""
        if not self.flows:
            return ["There are no flows."]
        lines = [
            f"{self.policy or 'The policy'} {_VERBS[row['verdict']]} {row['flows']:,} of "
            f"{_flows(self.flows)} ({self._volume(row['bytes'])}). {self._touched(row['addresses'])}"
            f"{self._mistaken(row['verdict'])}"
            for row in reversed(plain_rows(self.verdicts)[1:])
            if row["flows"]
        ]
        if not lines:
            return ["All flows are allowed; nobody is hit."]
        hit = int(self.verdicts["flows"].iloc[1:].sum())
        if len(self.reasons):
            counts = self.reasons.groupby("reason", sort=False)["flows"].sum()
            why = "; ".join(
                f"{n:,} because {_REASON_WORDS[str(reason)]}" for reason, n in counts.items()
            )
            number = int(counts.sum())
            lines.append(
                f"{number:,} of the {_flows(hit)} hit {'is' if number == 1 else 'are'} of registered "
                f"users: {why}."
            )
        off = self.scenarios[self.scenarios["scenario"] == "register off"]
        if len(off):
            names = [f"{v}_flows" for v in _VERBS if f"{v}_flows" in off.columns]
            number = int(off[names].sum(axis=1).iloc[0])
            if number == hit:
                return lines
            lines.append(
                f"Were the register switched off, {_flows(number)} would be hit, not {hit:,}."
            )
        return lines

    def _volume(self, number: float) -> str:
        total = int(self.verdicts["bytes"].sum())
        return f"{bytes_text(number)}, {_share(number / total)} of all bytes" if total else "0 B"

    def _touched(self, addresses: int) -> str:
        if not self.addresses:
            return ""
        share = addresses / self.addresses
        return (
            f"That touches {addresses:,} of {self.addresses:,} inside addresses ({_share(share)}). "
        )

    def _mistaken(self, verdict: str) -> str:
        """Return how many of a verdict's flows are hit by mistake: by labels, or as expected."""
        told = self.mistakes[
            (self.mistakes["verdict"] == verdict) & (self.mistakes["source"] == "labels")
        ]
        (found,) = (row for row in plain_rows(self.expected) if row["verdict"] == verdict)
        if len(told):
            return _causes(told, found["flows"])
        return (
            f"If the probabilities are right, {_cell('', found['not_vpn'])} of these flows are no VPN at all "
            f"(95 % interval {found['low']:.0f} to {found['high']:.0f}); which of the others are "
            "mistakes, only labels tell."
        )

    def notes(self) -> list[str]:
        """Return what a reader must know to read the figures right."""
        notes = []
        if (self.mistakes["source"] == "probabilities").any():
            notes.append(
                f"Probabilities as shipped were calibrated on laboratory runs, for {PREVALENCE:.0%} of flows being of a "
                "VPN; how right they are elsewhere, labels tell."
            )
        if not self.addresses and self.flows:
            notes.append("No address is inside; name the inside network with --local or local=.")
        if len(self.daily) == 1:
            notes.append("All flows began on one UTC day; shares of a day are lower bounds.")
        late = int(self.verdicts["start_not_seen"].sum())
        if late:
            notes.append(
                f"{_flows(late)} {'was' if late == 1 else 'were'} seen without the start (under way before, or "
                "split by a timeout); a box would have judged earlier, or on more."
            )
        return notes

    def text(self, width: int = 110) -> str:
        """Return everything as text for a terminal."""
        said = [safe_text(line, 1000) for line in (*self.headline(), *self.notes())]
        parts = [f"policy {safe_text(self.policy)}"]
        parts += [textwrap.fill(line, max(width, 40), break_on_hyphens=False) for line in said]
        parts.append("")
        for title, frame, names in self._sections():
            if len(frame):
                parts += [title, _text_of(frame[list(names)], width), ""]
        return "\n".join(parts).rstrip() + "\n"

    def _sections(self) -> "list[tuple[str, pd.DataFrame, Sequence[str]]]":
        """Return titles, tables and the columns that are shown."""
        counted = ("flows", "bytes", "addresses")
        mistakes = self.mistakes.assign(
            cause=self.mistakes["cause"].map(_CAUSE_WORDS),
            # Whose flows are mistakes is not known where their number is expected
            addresses=self.mistakes["addresses"].where(self.mistakes["source"] == "labels"),
        )
        reasons = self.reasons.assign(reason=self.reasons["reason"].map(_REASON_WORDS))
        given = self.verdicts[self.verdicts["flows"] > 0]
        shown = [name for name in self.daily.columns if name in set(given["verdict"])]
        shares = [f"{name}_share" for name in shown]
        more_days = len(self.daily) > _DAYS
        return [
            ("registered users hit, and why", reasons, ("verdict", "reason", *counted)),
            (
                "by verdict; bytes that passed before it was known",
                given,
                ("verdict", *counted, "start_not_seen", "bytes_before", "share_before",
                 "median_packet", "median_seconds"),
            ),
            ("by class of use", self.services, ("verdict", "service", *counted)),
            ("by category of holder", self.categories, ("verdict", "category", *counted)),
            (
                "what the hit flows are",
                mistakes,
                ("verdict", "cause", "flows", "bytes", "addresses", "source"),
            ),
            (
                "expected not to be VPNs, with 95 % interval: "
                + (str(self.expected["method"].iloc[0]) if len(self.expected) else ""),
                self.expected,
                ("verdict", "flows", "not_vpn", "low", "high", "precision"),
            ),
            (
                f"precision at other base rates, from {self.base_rates_source}",
                self.base_rates,
                tuple(self.base_rates.dropna(axis=1, how="all").columns),
            ),
            (
                "inside addresses hit at least once a day, by that verdict or a harsher one"
                + (f"; the first {_DAYS} of {len(self.daily):,} days" if more_days else ""),
                self.daily.head(_DAYS),
                ("day", "addresses", *shown, *shares),
            ),
            ("what if", self.scenarios, tuple(self.scenarios.columns)),
        ]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        found: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            found[item.name] = plain_rows(value) if hasattr(value, "to_dict") else value
        return found

    def json(self) -> str:
        """Return the same as JSON text."""
        return json.dumps(self.to_json(), indent=2)

    def html(self) -> str:
        """Return everything as HTML, escaped."""
        import html

        said = "".join(f"<p><b>{html.escape(line)}</b></p>" for line in self.headline())
        said += "".join(f"<p>{html.escape(line)}</p>" for line in self.notes())
        return said + self.tables_html()

    def tables_html(self) -> str:
        """Return the tables as HTML, escaped."""
        from classifier.report.html_repr import table_html

        tables = [
            table_html(
                [_head(name) for name in names],
                title,
                rows=[_cells(row) for row in plain_rows(frame[list(names)])],
                right=[_head(name) for name in names if name not in _WORDS],
            )
            for title, frame, names in self._sections()
            if len(frame)
        ]
        return "".join(f"<div>{table}</div>" for table in tables)

    def _repr_html_(self) -> str:
        return self.html()

    def __str__(self) -> str:
        """Return the text."""
        return self.text()

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Impact of {self.policy!r}: {' '.join(self.headline())}>"


def _causes(told: "pd.DataFrame", hit: int) -> str:
    """Return what labels say of the flows that are hit, in words."""
    flows = told.groupby("cause")["flows"].sum()
    total = int(flows.sum())
    whose = f"By labels, {{}} of {total:,}" if total == hit else f"Of {total:,} with labels, {{}}"
    if flows.get("unknown", 0):
        vpns = whose.format(f"{total - flows.get('not_vpn', 0):,.0f}")
        return f"{vpns} are VPNs; which of these are mistakes, no label says."
    wrong = {cause: flows[cause] for cause in _MISTAKES if cause in flows.index}
    parts = "; ".join(f"{number:,.0f} {_MISTAKES[cause]}" for cause, number in wrong.items())
    said = f"{whose.format(f'{sum(wrong.values()):,.0f}')} are mistakes"
    return f"{said}: {parts}." if parts else f"{said}."


def _share(value: float) -> str:
    return "under 1%" if 0 < value < 0.005 else f"{value:.0%}"


def bytes_text(number: float) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        if name.endswith("_share") or name.startswith("share"):
            return f"{value:.1%}"
        if name == "base_rate":
            return f"{100 * value:.4g}%"
        if name.startswith("precision"):
            return f"{value:.1%}"
        return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cells(row: dict[str, Any]) -> list[str]:
    return [_cell(name, value) for name, value in row.items()]


def _text_of(frame: "pd.DataFrame", width: int) -> str:
    names = [str(name) for name in frame.columns]
    rows = [_cells(row) for row in plain_rows(frame)]
    right = [name for name in names if name not in _WORDS]
    heads = [_head(name) for name in names]
    return columns_text(
        heads, rows, width=width, right=[_head(name) for name in right], least={"cause": 20}
    )


def _head(name: str) -> str:
    """Return a column's name as the head of a column that people read."""
    return {"addresses": "inside addresses"}.get(name, name).replace("_", " ")


def _flows(number: int) -> str:
    return f"{number:,} flow{'' if number == 1 else 's'}"


def arithmetic_text(found: dict[str, float]) -> str:
    """Return the figures of `policy.mistakes.arithmetic` as text, a line each."""
    words = {
        "tpr": "of VPN flows are hit",
        "fpr": "of ordinary flows are hit",
        "base_rate": "of all flows are VPNs",
        "precision": "of what is hit is a VPN",
        "hits_per_million": "flows are hit in a million",
        "false_alarms_per_million": "of them are ordinary",
        "missed_per_million": "VPN flows in a million are missed",
        "flows_per_user_day": "flows has a user each day",
        "false_alarms_per_user_day": "ordinary flows of a user are hit each day",
        "users_hit_by_mistake_daily": "of users are hit by mistake on a day",
    }
    shares = {"tpr", "fpr", "base_rate", "precision", "users_hit_by_mistake_daily"}
    return "\n".join(
        f"{f'{value:.4%}' if name in shares else f'{value:,.4g}':>12}  {words[name]}"
        for name, value in found.items()
    )

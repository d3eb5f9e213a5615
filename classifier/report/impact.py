"""What a policy does to whom, as tables, text, JSON and HTML."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from classifier.report._layout import columns_text, safe_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Impact", "arithmetic_text", "plain_rows"]

_CAUSE_WORDS = {
    "not_vpn": "not a VPN",
    "legitimate": "legitimate, but unregistered",
    "holder": "registered holder, changed or expired address",
    "intended": "what the policy means to hit",
    "unknown": "VPN, whether a mistake is not known (needs labels)",
}


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
    provisional : bool
        Whether the probabilities are not calibrated yet.
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
    provisional: bool = True

    def headline(self) -> list[str]:
        """Return the outcome in a few sentences, the harshest verdict first."""
        if not self.flows:
            return ["There are no flows."]
        lines = []
        mistakes = {row["verdict"]: row for row in plain_rows(self.expected)}
        for row in reversed(plain_rows(self.verdicts)[1:]):
            if not row["flows"]:
                continue
            share = row["addresses"] / self.addresses if self.addresses else 0
            sentence = (
                f"{row['verdict']}: {row['flows']:,} of {self.flows:,} flows ({_bytes(row['bytes'])}) "
                f"of {row['addresses']:,} of {self.addresses:,} inside addresses ({share:.0%})"
            )
            told = self.mistakes[
                (self.mistakes["verdict"] == row["verdict"]) & (self.mistakes["source"] == "labels")
            ]
            found = mistakes[row["verdict"]]
            if len(told):
                sentence += "; by labels " + _causes(told)
            else:
                sentence += (
                    f"; {found['not_vpn']:.1f} of them expected to be no VPN "
                    f"({found['low']:.0f} to {found['high']:.0f})"
                )
            lines.append(sentence + ".")
        if len(self.reasons):
            why = self.reasons.groupby("reason", sort=False)["flows"].sum()
            total = int(why.sum())
            known = ", ".join(f"{str(reason).replace('_', ' ')} {n}" for reason, n in why.items())
            lines.append(f"{total:,} of the flows hit are of registered users: {known}.")
        return lines or ["All flows are allowed; nobody is hit."]

    def notes(self) -> list[str]:
        """Return what a reader must know to read the figures right."""
        notes = []
        if self.provisional:
            notes.append("Probabilities are provisional: set, not yet calibrated.")
        if not self.addresses and self.flows:
            notes.append("No address is inside; name the inside network with --local or local=.")
        if len(self.daily) == 1:
            notes.append("All flows began on one UTC day; shares of a day are lower bounds.")
        late = int(self.verdicts["start_not_seen"].sum())
        if late:
            notes.append(
                f"{late:,} flows were under way when the capture began; a box would have judged "
                "them earlier, or on more."
            )
        return notes

    def text(self, width: int = 110) -> str:
        """Return everything as text for a terminal."""
        parts = [f"policy {safe_text(self.policy)}", *self.headline(), *self.notes(), ""]
        for title, frame, names in self._sections():
            if len(frame):
                parts += [title, _text_of(frame[list(names)], width), ""]
        return "\n".join(parts).rstrip() + "\n"

    def _sections(self) -> "list[tuple[str, pd.DataFrame, Sequence[str]]]":
        """Return titles, tables and the columns that are shown."""
        counted = ("flows", "bytes", "addresses")
        mistakes = self.mistakes.assign(cause=self.mistakes["cause"].map(_CAUSE_WORDS))
        shown = [
            name for name in self.daily.columns if name != "day" and not name.endswith("_share")
        ]
        shares = [f"{name}_share" for name in shown if name != "addresses"]
        return [
            (
                "by verdict; bytes that passed before it was known",
                self.verdicts,
                ("verdict", *counted, "start_not_seen", "bytes_before", "share_before",
                 "median_packet", "median_seconds"),
            ),
            ("by class of use", self.services, ("verdict", "service", *counted)),
            ("by category of holder", self.categories, ("verdict", "category", *counted)),
            ("registered users hit, and why", self.reasons, ("verdict", "reason", *counted)),
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
                "inside addresses hit at least once a day, by that verdict or a harsher one",
                self.daily,
                ("day", *shown, *shares),
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
                list(names), title, rows=[_cells(row) for row in plain_rows(frame[list(names)])]
            )
            for title, frame, names in self._sections()
            if len(frame)
        ]
        return "".join(tables)

    def _repr_html_(self) -> str:
        return self.html()

    def __str__(self) -> str:
        """Return the text."""
        return self.text()

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Impact of {self.policy!r}: {' '.join(self.headline())}>"


def _causes(told: "pd.DataFrame") -> str:
    """Return what labels say of the hit flows, in words."""
    flows = told.groupby("cause")["flows"].sum()
    total, open_ = flows.sum(), flows.get("unknown", 0)
    if open_:
        rest = "whether the rest are legitimate is not labelled"
        return f"{flows.get('not_vpn', 0):,.0f} of {total:,.0f} are no VPN, {rest}"
    wrong = sum(flows.get(cause, 0) for cause in ("not_vpn", "legitimate", "holder"))
    return f"{wrong:,.0f} of {total:,.0f} are mistakes"


def _bytes(number: float) -> str:
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
            return f"{value:.4g}"
        if name.startswith("precision"):
            return f"{value:.3f}"
        return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cells(row: dict[str, Any]) -> list[str]:
    return [_cell(name, value) for name, value in row.items()]


def _text_of(frame: "pd.DataFrame", width: int) -> str:
    names = [str(name) for name in frame.columns]
    words = {"verdict", "service", "category", "reason", "cause", "source", "day", "scenario"}
    rows = [_cells(row) for row in plain_rows(frame)]
    right = [name for name in names if name not in words]
    return columns_text(names, rows, width=width, right=right, least={"cause": 20})


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

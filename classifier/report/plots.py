"""Plots of a run; matplotlib is loaded when the first is drawn, and is an extra.

Colours are those of Okabe and Ito ("Color universal design", 2008), which people with any common
colour blindness tell apart; lines differ in dashes and bars carry numbers too.
"""

import importlib.util
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.errors import ClassifierError, ResourceError
from classifier.report._layout import safe_text
from classifier.report.scores import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from classifier.report.impact import Impact

__all__ = ["COLOURS", "Plots", "have_matplotlib", "png", "svg"]

#: Verdict -> colour.
COLOURS = {
    "allow": "#009E73",
    "flag": "#E69F00",
    "would_throttle": "#CC79A7",
    "would_block": "#D55E00",
}
_DASHES = {"flag": ":", "would_throttle": "--", "would_block": "-"}
_MOST_SERVICES = 8

#: What decisions are counted in -> how a title says it, and the axis.
_COUNTED = {
    "packet": ("by packet {:.0f}", "packets"),
    "seconds": ("after {:.2g} s", "seconds"),
    "bytes": ("after {:,.0f} bytes", "bytes"),
}


def have_matplotlib() -> bool:
    """Return whether plots can be drawn."""
    return importlib.util.find_spec("matplotlib") is not None


@lru_cache(maxsize=1)
def _figure_class() -> "type[Figure]":
    if not have_matplotlib():
        raise ResourceError(
            "plots need matplotlib, which is not installed",
            remedy="python -m pip install matplotlib, or this package with its extra [plot]",
        )
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure that notebooks show without pyplot."""

        def _repr_svg_(self) -> str:
            return svg(self)

    return Picture


def axes_of(width: float = 6.4, height: float = 3.6) -> "tuple[Figure, Axes]":
    figure = _figure_class()(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def label_of(text: object, limit: int = 30) -> str:
    """Return a word that any font has and that is not taken for mathematics."""
    shown = safe_text(text, limit).replace("\u2026", "...")
    return shown.encode("ascii", "backslashreplace").decode().replace("$", "\\$")


def svg(figure: "Figure") -> str:
    """Return a figure as SVG, the same bytes each time, without references to anything outside."""
    import io

    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "classifier", "svg.fonttype": "path"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def png(figure: "Figure") -> bytes:
    """Return a figure as PNG."""
    import io

    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()


class Plots:
    """What ``run.plot`` offers; each method returns a matplotlib Figure.

    Parameters
    ----------
    impact : callable
        Returns the Impact of the run.
    judged : callable
        Returns ``vpn_probability`` and label (1, 0, -1 where none) of each flow.
    """

    def __init__(
        self,
        impact: "Callable[[], Impact]",
        judged: "Callable[[], tuple[NDArray[np.float64], NDArray[np.int64]]]",
    ) -> None:
        self._make = impact
        self._judged = judged
        self._made: Impact | None = None

    def _impact(self) -> "Impact":
        if self._made is None:
            self._made = self._make()
        return self._made

    def verdicts(self) -> "Figure":
        """Draw the flows of each class of use by verdict."""
        found = self._impact()
        figure, axes = axes_of()
        services = found.services
        order = services.groupby("service")["flows"].sum().sort_values(ascending=False)
        shown = list(order.index[:_MOST_SERVICES])[::-1]
        named = services.assign(
            service=services["service"].where(services["service"].isin(shown), "others")
        )
        if len(order) > _MOST_SERVICES:
            shown.insert(0, "others")
        names = np.arange(len(shown))
        table = named.groupby(["service", "verdict"])["flows"].sum()
        left = np.zeros(len(shown))
        for verdict, colour in COLOURS.items():
            values = np.array([float(table.get((s, verdict), 0)) for s in shown])
            if not values.any():
                continue
            axes.barh(names, values, left=left, color=colour, label=verdict, edgecolor="white")
            for row, value in enumerate(values):
                if value > 0.06 * order.max():
                    middle = left[row] + value / 2
                    text = f"{value:,.0f}"
                    axes.text(middle, row, text, ha="center", va="center", size=8)
            left += values
        axes.set_yticks(names, [label_of(service) for service in shown])
        hit = found.verdicts.set_index("verdict")["flows"].iloc[1:].sum()
        axes.set_title(f"{hit:,} of {found.flows:,} flows are flagged or worse", loc="left")
        axes.set_xlabel("flows")
        axes.set_ylabel("class of use")
        if found.flows:
            axes.legend(frameon=False, title="verdict", loc="lower right")
        return figure

    def decisions(self, by: str = "packet") -> "Figure":
        """Draw how soon flows were identified.

        Parameters
        ----------
        by : str
            What is counted since a flow began: ``packet``, ``seconds`` or ``bytes``.

        Raises
        ------
        ClassifierError
            If it is none of these.
        """
        if by not in _COUNTED:
            raise ClassifierError(f"decisions by {by!r}", remedy=f"give {', '.join(_COUNTED)}")
        known, counted = _COUNTED[by]
        curve = self._impact().decisions
        figure, axes = axes_of()
        curve = curve[curve["by"] == by]
        if len(curve):
            at = curve["at"].to_numpy(np.float64)
            first = 0.0
            if by != "packet":  # from a microsecond to days; there is no log of 0
                floor = 1e-5 if by == "seconds" else 10.0
                at, first = np.maximum(at, floor), floor / 2
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(
                    lambda value, _: f"{value:.5f}".rstrip("0").rstrip(".")
                )
            last = at[-1] + 1 if by == "packet" else at[-1] * 2
            for column, label, dash, colour in (
                ("flows", "flows decided", "-", "#0072B2"),
                ("bytes_left", "bytes still to come in them", "--", "#D55E00"),
            ):
                share = 100 * curve[column].to_numpy()
                axes.step(
                    [first, *at, last], [0, *share, share[-1]], where="post", label=label,
                    linestyle=dash, lw=2, color=colour,
                )  # fmt: skip
            half = float(curve.loc[curve["flows"] >= 0.5, "at"].iloc[0])
            axes.set_title(
                f"Half of the identified flows are known {known.format(half)}", loc="left"
            )
            axes.legend(frameon=False, loc="lower right")
            axes.set_xlim(first, last)
        else:
            axes.set_title("No flow was identified", loc="left")
        axes.set_ylim(0, 105)
        axes.set_xlabel(f"{counted} since the flow began")
        axes.set_ylabel("share of identified traffic (%)")
        return figure

    def base_rates(self) -> "Figure":
        """Draw precision against the base rate of VPNs, with 95 % intervals."""
        found = self._impact()
        rates = found.base_rates
        figure, axes = axes_of()
        for verdict in ("flag", "would_throttle", "would_block"):
            mine = rates[rates["verdict"] == verdict].sort_values("base_rate")
            if len(mine):
                x, colour = 100 * mine["base_rate"].to_numpy(), COLOURS[verdict]
                low, high = (100 * mine[f"precision_{end}"].to_numpy() for end in ("low", "high"))
                axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
                axes.plot(
                    x,
                    100 * mine["precision"],
                    color=colour,
                    label=verdict,
                    linestyle=_DASHES[verdict],
                    marker="o",
                )
        if len(rates):
            least = rates.sort_values("base_rate", kind="stable").iloc[0]  # the harshest verdict
            axes.set_title(
                f"If {least['base_rate']:.2%} of flows are VPNs, {least['precision']:.0%} "
                f"({least['precision_low']:.0%} to {least['precision_high']:.0%}) of {least['verdict']} are",
                loc="left",
                size=10,
            )
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.legend(frameon=False, title="verdict", loc="lower right")
        else:
            axes.set_title("Nothing is hit", loc="left")
        axes.set_ylim(0, 105)
        axes.set_xlabel("VPNs among all flows (%)")
        axes.set_ylabel("VPNs among the flows hit (%)")
        return figure

    def reliability(self, bins: int = 10) -> "Figure":
        """Draw how often flows of a stated probability are VPNs; needs labels.

        Parameters
        ----------
        bins : int
            Equal steps of probability.

        Raises
        ------
        ClassifierError
            If no flow has a label.
        """
        probability, truth = self._judged()
        known = truth >= 0
        if not known.any():
            raise ClassifierError(
                "reliability needs labels", remedy="give classify(labels=...) a labels.csv"
            )
        p, y = probability[known], truth[known]
        figure, axes = axes_of(4.8, 4.4)
        axes.plot([0, 1], [0, 1], color="#777777", linestyle=":", label="as stated")
        bin_of = np.minimum((p * bins).astype(int), bins - 1)
        for number in np.unique(bin_of):
            mine = bin_of == number
            n, k = int(mine.sum()), int(y[mine].sum())
            low, high = wilson(k, n) or (0.0, 1.0)
            axes.errorbar(
                p[mine].mean(), k / n, yerr=[[k / n - low], [high - k / n]],
                fmt="o", color="#0072B2", capsize=3,
            )  # fmt: skip
            axes.annotate(f"n={n:,}", (p[mine].mean(), k / n), xytext=(6, -10 if k else 6),
                          textcoords="offset points", size=8)  # fmt: skip
        gap = float(np.mean((p - y) ** 2))
        axes.set_title(f"Brier score {gap:.3f} over {known.sum():,} labelled flows", loc="left")
        axes.set_xlim(-0.05, 1.12)
        axes.set_ylim(-0.05, 1.08)
        axes.set_xlabel("stated probability of a VPN")
        axes.set_ylabel("share that are VPNs, 95 % interval")
        axes.legend(frameon=False, loc="upper left")
        return figure

    def delays(self, delays: Any) -> "Figure":
        """Draw the delay that a box adds.

        Parameters
        ----------
        delays : Simulation, array of float, or Mapping of str to arrays
            What ``run.simulate`` returned; or nanoseconds for each packet, for one kind of traffic
            or several. What is not a number (a packet lost) is left out.
        """
        delays = getattr(delays, "added_delay_ns", delays)
        kinds = delays if hasattr(delays, "items") else {"all": delays}
        figure, axes = axes_of()
        worst = ""
        styles = ("-", "--", ":", "-.")
        floor = 1e-3  # microseconds: what is less is drawn there, as there is no log of 0
        for number, (name, values) in enumerate(kinds.items()):
            some = np.asarray(values, np.float64) / 1e3
            some = np.sort(some[np.isfinite(some)])
            if not some.size:
                continue
            above = 100 * (1 - np.arange(some.size) / some.size)
            axes.step(
                np.maximum(some, floor), above, where="post", label=label_of(name),
                linestyle=styles[number % 4], lw=2,
            )  # fmt: skip
            worst = worst or (
                f"1 % of {label_of(name)} packets wait longer than {np.quantile(some, 0.99):,.3g} us"
            )
        axes.set_title(worst or "No packet passed", loc="left")
        low, high = axes.get_xlim()
        few = high < 10 * max(low, floor)  # less than a decade: name the steps within it
        if worst:
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if few else "")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.legend(frameon=False)
        axes.set_xlabel("added delay (microseconds)")
        axes.set_ylabel("packets that wait longer (%)")
        return figure

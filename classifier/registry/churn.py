"""How many registered holders would be treated as unregistered: a simulation of churn.

How this works: a *holder* is one registration with an active row. Two things take a holder out of
the register for a while, each drawn from its own distribution:

- **Its address changes** (dynamic holders only). Changes are a Poisson process: the time that an
  address lasts is exponential with a mean of ``address_days``. The new address is unregistered
  until a new application has gone through, after a lognormal delay with median ``delay_days`` and
  shape ``delay_sigma``; a further change begins a new wait.
- **Its registration expires**, on the date that the register says, and after each renewal
  ``term_days`` later. With probability ``on_time`` it is renewed before, with ``never`` never, else
  after an exponential delay with mean ``late_days``.

Both go on beside one another, and a holder is unregistered while either lasts. Holders are
independent of one another; who renews late once is no likelier to do so again; addresses of one
holder change together; nobody applies before the address changes; no holder closes down.
None of the defaults is measured: they say what *would* follow, and should be varied.
"""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import RegistryError, ResourceError
from classifier.registry._fields import ACTIVE, OPEN_END, time_text
from classifier.registry.store import Registry, time_ns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Churn", "ChurnModel", "plot_churn", "simulate_churn"]

_DAY_NS = 86_400 * 10**9
_MOST_DAYS = 36_500
_MOST_EVENTS = 500_000_000
# Holders, and events of them, that are drawn at once.
_CHUNK = 100_000
_CHUNK_EVENTS = 2_000_000
_FOREVER = np.inf
_CAUSES = ("unregistered", "address_changed", "expired")


@dataclass(frozen=True, slots=True)
class ChurnModel:
    """The distributions of a simulation; all defaults are assumptions, not measurements.

    Attributes
    ----------
    dynamic_share : float or None
        Share of holders whose address changes, drawn at random. None: those that the register flags
        as ``dynamic``, or, where it flags nobody, 0.3 of all.
    address_days : float
        Mean time that a dynamic address lasts (exponential).
    delay_days, delay_sigma : float
        Median and shape of the time until a new address is registered (lognormal).
    on_time, never : float
        Probabilities that an expiring registration is renewed before it ends, and that it never is.
    late_days : float
        Mean time after which the others are renewed (exponential).
    term_days : float
        What a renewal adds.
    """

    dynamic_share: float | None = None
    address_days: float = 30.0
    delay_days: float = 7.0
    delay_sigma: float = 0.8
    on_time: float = 0.8
    never: float = 0.05
    late_days: float = 30.0
    term_days: float = 365.0

    def __post_init__(self) -> None:
        """Refuse what is no distribution."""
        for name in ("dynamic_share", "on_time", "never"):
            value = getattr(self, name)
            if value is not None and not (_number(value) and 0 <= value <= 1):
                raise _wrong(name, value, "a number from 0 to 1")
        if self.on_time + self.never > 1:
            raise _wrong(
                "on_time", self.on_time, f"at most {1 - self.never:g}, as never is the rest"
            )
        for name in ("address_days", "late_days", "term_days"):
            value = getattr(self, name)
            if not (_number(value) and 0.01 <= value <= 1e6):
                raise _wrong(name, value, "a number of days from 0.01 to 1,000,000")
        for name, most in (("delay_days", 1e6), ("delay_sigma", 10)):
            value = getattr(self, name)
            if not (_number(value) and 0 <= value <= most):
                raise _wrong(name, value, f"a number from 0 to {most:,.0f}")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(name: str, value: object, wanted: str) -> RegistryError:
    return RegistryError(f"{value!r} is not possible", path=name, remedy=f"give {wanted}")


@dataclass(frozen=True, slots=True)
class Churn:
    """What a simulation found.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row for each day and category, means over the runs: ``day`` (from 0), ``date``,
        ``category``, ``holders``, ``unregistered``, ``address_changed``, ``expired`` (holders at the
        beginning of that day; one can be both), ``share`` (unregistered of holders). The category
        ``*`` is all.
    by_run : pandas.DataFrame
        One row for each run and category: ``run``, ``category``, ``mean_share``, ``peak_share``,
        ``ever`` (share of holders who are unregistered at the beginning of at least one day).
    start : str
    days, runs, seed : int
    assumptions : dict
        The model's parameters, and how many holders were dynamic.
    """

    frame: "pd.DataFrame" = field(repr=False)
    by_run: "pd.DataFrame" = field(repr=False)
    start: str
    days: int
    runs: int
    seed: int
    assumptions: dict[str, Any]

    def summary(self) -> "pd.DataFrame":
        """Return one row for each category: shares with the range of nine runs in ten."""
        import pandas as pd

        rows = []
        holders = self.frame.groupby("category", sort=False)["holders"].max()
        for category, runs in self.by_run.groupby("category", sort=False):
            low, high = np.quantile(runs["mean_share"], [0.05, 0.95])
            rows.append(
                {
                    "category": category,
                    "holders": int(holders[category]),
                    "mean_share": float(runs["mean_share"].mean()),
                    "low": float(low),
                    "high": float(high),
                    "peak_share": float(runs["peak_share"].mean()),
                    "ever": float(runs["ever"].mean()),
                }
            )
        names = ["category", "holders", "mean_share", "low", "high", "peak_share", "ever"]
        return pd.DataFrame(rows, columns=names)

    def to_json(self) -> str:
        """Return everything as JSON."""
        facts = {
            "start": self.start,
            "days": self.days,
            "runs": self.runs,
            "seed": self.seed,
            "assumptions": self.assumptions,
            "summary": json.loads(self.summary().to_json(orient="records", double_precision=6)),
            "by_day": json.loads(self.frame.to_json(orient="records", double_precision=6)),
        }
        return json.dumps(facts, indent=1) + "\n"

    def _repr_html_(self) -> str:
        return str(self.summary().to_html(index=False))


def simulate_churn(
    registry: Registry,
    days: int,
    *,
    seed: int = 1,
    runs: int = 10,
    start: str | int | None = None,
    model: ChurnModel | None = None,
) -> Churn:
    """Draw address changes, waits and renewals of the holders of a register.

    Parameters
    ----------
    registry : Registry
    days : int
        How long, up to 36,500.
    seed : int
        Everything is drawn from it: the same seed gives the same result.
    runs : int
        Repetitions, up to 1,000.
    start : str or int, optional
        First day, ISO 8601 or UTC nanoseconds since 1970; default: the first on which the most rows
        are in force.
    model : ChurnModel, optional

    Returns
    -------
    Churn

    Raises
    ------
    RegistryError
        If an argument is not possible, or no registration is in force on the first day.
    """
    model = model or ChurnModel()
    for name, value, most in (("days", days, _MOST_DAYS), ("runs", runs, 1000)):
        if not (_whole(value) and 1 <= value <= most):
            raise _wrong(name, value, f"a whole number from 1 to {most:,}")
    if not (_whole(seed) and 0 <= seed < 1 << 63):
        raise _wrong("seed", seed, "a whole number from 0")
    holders = _Holders.of(registry, None if start is None else time_ns(start, "start"))
    if holders.expected(model, days) * runs > _MOST_EVENTS:
        problem = f"{holders.ends.size:,} holders over {days:,} days in {runs} runs are too many"
        raise RegistryError(problem, path="simulate-churn", remedy="take fewer runs or days")
    streams = np.random.SeedSequence(seed).spawn(runs)
    n_categories = len(holders.categories)
    total = np.zeros((3, n_categories, days))
    per_run = []
    n_dynamic = 0
    for stream in streams:
        counts, ever, dynamic = _one_run(holders, days, model, stream)
        total += counts
        n_dynamic += dynamic
        per_run.append((counts[0], ever))
    assumed = {name: getattr(model, name) for name in ChurnModel.__dataclass_fields__}
    if model.dynamic_share is None:
        assumed["dynamic_share"] = "flags of the register" if holders.flagged.any() else 0.3
    assumed["dynamic_holders"] = round(n_dynamic / runs, 1)
    return Churn(
        _by_day(holders, total / runs, days),
        _by_run(holders, per_run),
        time_text(holders.start_ns),
        days,
        runs,
        seed,
        assumed,
    )


@dataclass(frozen=True, slots=True)
class _Holders:
    """Holders on the first day: when each one's registration ends (in days), category and flag."""

    start_ns: int
    ends: NDArray[np.float64]
    category: NDArray[np.int64]
    flagged: NDArray[np.bool_]
    categories: list[str]

    @classmethod
    def of(cls, registry: Registry, start_ns: int | None) -> "_Holders":
        state = registry.state
        active = np.flatnonzero(state.rows["status"] == ACTIVE)
        rows = state.rows[active]
        if start_ns is None:
            start_ns = _fullest(rows["from_ns"], rows["to_ns"])
        in_force = (rows["from_ns"] <= start_ns) & (start_ns < rows["to_ns"])
        active, rows = active[in_force], rows[in_force]
        if not active.size:
            problem = f"no registration is in force on {time_text(start_ns)}"
            raise RegistryError(problem, path=registry.name, remedy="give another start")
        ids: Any = state.text.column("registration_id").combine_chunks().dictionary_encode()
        holder = np.unique(ids.indices.to_numpy()[active], return_inverse=True)[1]
        n = int(holder.max()) + 1
        ends = np.full(n, -np.inf)
        to_ns = rows["to_ns"]
        left = np.where(to_ns == OPEN_END, np.inf, (to_ns - float(start_ns)) / _DAY_NS)
        np.maximum.at(ends, holder, left)
        words: Any = state.text.column("category").combine_chunks().dictionary_encode()
        names = words.dictionary.to_pylist()
        first = np.full(n, active.size, np.int64)
        np.minimum.at(first, holder, np.arange(active.size))
        category = words.indices.to_numpy()[active][first]
        flags: Any = state.details.column("flags").combine_chunks().dictionary_encode()
        is_dynamic = np.array(["dynamic" in text.split() for text in flags.dictionary.to_pylist()])
        flagged = np.zeros(n, bool)
        np.logical_or.at(flagged, holder, is_dynamic[flags.indices.to_numpy()[active]])
        order = sorted(range(len(names)), key=names.__getitem__)
        rank = np.empty(len(names), np.int64)
        rank[order] = np.arange(len(names))
        present = np.unique(rank[category])
        kept = [names[order[k]] for k in present]
        return cls(start_ns, ends, np.searchsorted(present, rank[category]), flagged, kept)

    def expected(self, model: ChurnModel, days: int) -> float:
        """Return about how many events a run draws."""
        share = 1.0 if model.dynamic_share is None else model.dynamic_share
        return self.ends.size * (share * days / model.address_days + days / model.term_days + 1)


def _fullest(from_ns: NDArray[np.int64], to_ns: NDArray[np.int64]) -> int:
    """Return the first midnight by which as many rows are in force as ever."""
    if not from_ns.size:
        return 0
    days = -(-from_ns // _DAY_NS)
    begins = np.unique(days)
    begun = np.searchsorted(np.sort(days), begins, "right")
    over = np.searchsorted(np.sort(to_ns), begins * _DAY_NS, "right")
    return int(begins[np.argmax(begun - over)]) * _DAY_NS


def _one_run(
    holders: _Holders, days: int, model: ChurnModel, stream: np.random.SeedSequence
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return holders by cause, category and day; how many ever, by category; and the dynamic."""
    counts = np.zeros((3, len(holders.categories), days))
    ever = np.zeros(len(holders.categories))
    n_dynamic = 0
    n = holders.ends.size
    size = min(max(int(_CHUNK_EVENTS * n / holders.expected(model, days)), 1), _CHUNK)
    for k, child in enumerate(stream.spawn(-(-n // size))):
        part = slice(k * size, (k + 1) * size)
        category = holders.category[part]
        rng = np.random.default_rng(child)
        dynamic = _dynamic(holders.flagged, part, model, rng)
        n_dynamic += int(dynamic.sum())
        moved = _address_gaps(np.flatnonzero(dynamic), days, model, rng)
        lapsed = _expiry_gaps(holders.ends[part], days, model, rng)
        both = (
            np.concatenate([moved[0], lapsed[0]]),
            np.concatenate([moved[1], lapsed[1]]),
            np.concatenate([moved[2], lapsed[2]]),
        )
        for row, gaps in enumerate((both, moved, lapsed)):
            holder, begin, end = _merged(gaps[0], gaps[1], gaps[2], days)
            first = np.clip(np.ceil(begin), 0, days).astype(np.int64)
            stop = np.clip(np.ceil(end), 0, days).astype(np.int64)
            steps = np.zeros((counts.shape[1], days + 1))
            np.add.at(steps, (category[holder], first), 1)
            np.add.at(steps, (category[holder], stop), -1)
            counts[row] += np.cumsum(steps, axis=1)[:, :days]
            if row == 0:
                hit = np.unique(holder[stop > first])
                ever += np.bincount(category[hit], minlength=ever.size)
    return counts, ever, n_dynamic


def _dynamic(
    flagged: NDArray[np.bool_], part: slice, model: ChurnModel, rng: np.random.Generator
) -> NDArray[np.bool_]:
    if model.dynamic_share is None and flagged.any():
        return flagged[part]
    share = 0.3 if model.dynamic_share is None else model.dynamic_share
    return rng.random(flagged[part].size) < share


_Gaps = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def _address_gaps(
    dynamic: NDArray[np.int64], days: int, model: ChurnModel, rng: np.random.Generator
) -> _Gaps:
    """Return when holders wait for a new address: holder, begin and end in days.

    Given how many changes of a Poisson process fall into the days, they are uniform in them.
    """
    n = rng.poisson(days / model.address_days, dynamic.size)
    holder = np.repeat(dynamic, n)
    begin = rng.random(holder.size) * days
    order = np.lexsort((begin, holder))
    holder, begin = holder[order], begin[order]
    delay = model.delay_days * np.exp(model.delay_sigma * rng.standard_normal(holder.size))
    # The application for an address that is gone is of no use: its wait ends where the next begins.
    following = np.append(begin[1:], _FOREVER)
    following[np.append(holder[1:] != holder[:-1], True)[: holder.size]] = _FOREVER
    return holder, begin, np.minimum(begin + delay, following[: holder.size])


def _expiry_gaps(
    ends: NDArray[np.float64], days: int, model: ChurnModel, rng: np.random.Generator
) -> _Gaps:
    """Return when holders are between an expiry and its renewal: holder, begin and end in days."""
    holder = np.flatnonzero(ends < days)
    expiry = ends[holder]
    found: list[_Gaps] = []
    while holder.size:
        chance = rng.random(holder.size)
        late = rng.exponential(model.late_days, holder.size)
        gap = np.where(chance < model.on_time, 0.0, late)
        gap[chance >= 1 - model.never] = _FOREVER
        some = gap > 0
        found.append((holder[some], expiry[some], (expiry + gap)[some]))
        expiry = expiry + gap + model.term_days
        again = expiry < days
        holder, expiry = holder[again], expiry[again]
    if not found:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]


def _merged(
    holder: NDArray[np.int64], begin: NDArray[np.float64], end: NDArray[np.float64], days: int
) -> _Gaps:
    """Return the gaps of each holder joined where they meet; all end a day after the last at most."""
    if not holder.size:
        return holder, begin, end
    order = np.lexsort((begin, holder))
    holder, begin, end = holder[order], begin[order], end[order]
    span = days + 3.0
    reach = np.maximum.accumulate(np.minimum(end, days + 1.0) + holder * span)
    new = np.append(True, begin[1:] + holder[1:] * span > reach[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], holder.size) - 1
    return holder[first], begin[first], reach[last] - holder[first] * span


def _by_day(holders: _Holders, mean: NDArray[np.float64], days: int) -> "pd.DataFrame":
    import pandas as pd

    sizes = np.bincount(holders.category, minlength=len(holders.categories))
    day = np.arange(days)
    try:
        date = (np.datetime64(holders.start_ns, "ns").astype("M8[D]") + day).astype(str)
    except OverflowError:
        date = day.astype(str)
    parts = []
    named = [*zip(holders.categories, sizes, mean.transpose(1, 0, 2), strict=True)]
    for name, size, counts in [*named, ("*", sizes.sum(), mean.sum(axis=1))]:
        columns = dict(zip(_CAUSES, counts, strict=True))
        frame = pd.DataFrame(
            {"day": day, "date": date, "category": name, "holders": size, **columns}
        )
        frame["share"] = frame["unregistered"] / max(int(size), 1)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def _by_run(
    holders: _Holders, runs: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> "pd.DataFrame":
    import pandas as pd

    sizes = np.bincount(holders.category, minlength=len(holders.categories))
    rows = []
    for number, (unregistered, ever) in enumerate(runs):
        named = [*zip(holders.categories, sizes, unregistered, ever, strict=True)]
        for name, size, counts, hit in [
            *named,
            ("*", sizes.sum(), unregistered.sum(axis=0), ever.sum()),
        ]:
            share = counts / max(int(size), 1)
            rows.append(
                {
                    "run": number,
                    "category": name,
                    "mean_share": float(share.mean()),
                    "peak_share": float(share.max()),
                    "ever": float(hit) / max(int(size), 1),
                }
            )
    return pd.DataFrame(rows)


def plot_churn(churn: Churn, ax: Any = None) -> Any:
    """Draw the share of holders that are treated as unregistered, a line for each category.

    Parameters
    ----------
    churn : Churn
    ax : matplotlib.axes.Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ResourceError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ResourceError(
            "is not installed", path="matplotlib", remedy="pip install matplotlib"
        ) from error
    if ax is None:
        ax = plt.subplots(figsize=(7, 4))[1]
    for category, rows in churn.frame.groupby("category", sort=False):
        name, width = ("all", 2.5) if category == "*" else (str(category), 1.0)
        ax.plot(rows["day"], rows["share"] * 100, label=name, linewidth=width)
    ax.set_xlabel(f"days from {churn.start}")
    ax.set_ylabel("holders treated as unregistered, %")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize="small")
    return ax

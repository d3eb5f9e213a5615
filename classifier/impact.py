"""Runs judged again under other registers, and the impact put together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.errors import ClassifierError, must_be
from classifier.pipeline import Options, registration_of, with_verdicts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from classifier.report.impact import Impact

__all__ = ["CGNAT_SHARES", "MOST_DAYS", "STALE_DAYS", "impact_of", "rejudged"]

#: Days by which the register is taken to be old, and shares of inside addresses behind CGNAT.
STALE_DAYS = (7, 30, 90)
CGNAT_SHARES = (0.1, 0.5)

_DAY_NS = 86_400_000_000_000
MOST_DAYS = 36_525  # a century; look-ups stay within what int64 nanoseconds hold

#: Rows of the six columns that the register fills, from a batch of flow rows.
Registered = Callable[["pa.RecordBatch"], "dict[str, Any]"]


def rejudged(table: "pa.Table", options: Options, registered: Registered) -> "pa.Table":
    """Return flow rows with other registrations, judged by the policy of the options.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows; columns of labels stay.
    options : Options
    registered : callable
        Makes the columns that the register fills for a batch.
    """
    import pyarrow as pa

    from classifier.report.columns import OBSERVED, SCHEMA

    batches = [
        with_verdicts(
            batch.select(list(OBSERVED)), registered(batch), options.policy, options.local
        )
        for batch in table.to_batches(max_chunksize=65536)
    ]
    result = pa.Table.from_batches(batches, schema=SCHEMA)
    for name in table.schema.names:
        if name not in SCHEMA.names:
            result = result.append_column(name, table.column(name))
    return result


def _kept(batch: "pa.RecordBatch") -> "dict[str, Any]":
    from classifier.report.columns import REGISTRATION

    return {name: batch.column(name) for name in REGISTRATION}


def _none(batch: "pa.RecordBatch") -> "dict[str, Any]":
    from classifier.report.columns import no_registration_columns

    return no_registration_columns(batch.num_rows)


def _without_clients(batch: "pa.RecordBatch") -> "dict[str, Any]":
    """Return the registrations without those that matched the client."""
    import pyarrow.compute as pc

    by_client = pc.equal(batch.column("matched_side"), "client")
    empty = _none(batch)
    return {name: pc.if_else(by_client, empty[name], kept) for name, kept in _kept(batch).items()}


def _stale(options: Options, days: float) -> Registered:
    from classifier.report.endpoints import endpoints

    def registered(batch: "pa.RecordBatch") -> "dict[str, Any]":
        flows = endpoints(batch)
        if options.at_ns is not None:
            flows["first_ns"] = options.at_ns
        flows["first_ns"] -= np.int64(days * _DAY_NS)
        return registration_of(flows, replace(options, at_ns=None))

    return registered


def _numbers(what: str, values: object) -> tuple[float, ...]:
    """Return what was given as one or more numbers."""
    given = values if isinstance(values, Iterable) and not isinstance(values, str) else [values]
    numbers = tuple(given)
    for value in numbers:
        if value is None or isinstance(value, str):
            raise ClassifierError(f"{what} holds {value!r}", remedy="give numbers")
        must_be(what, value, (int, float, np.number), "numbers")
    return numbers


def impact_of(
    table: "pa.Table",
    options: Options,
    *,
    base_rates: Sequence[float] | None = None,
    stale_days: Sequence[float] = STALE_DAYS,
    cgnat: Sequence[float] = CGNAT_SHARES,
) -> "Impact":
    """Return what a policy does to whom; see ``Run.impact``."""
    from classifier.policy import impact, mistakes
    from classifier.report.impact import Impact

    rates = _numbers("base_rates", mistakes.BASE_RATES if base_rates is None else base_rates)
    stale_days = _numbers("stale_days", stale_days)
    cgnat = _numbers("cgnat", cgnat)
    for days in stale_days:
        if not 0 <= days <= MOST_DAYS:
            remedy = f"give days from 0 to {MOST_DAYS:,}"
            raise ClassifierError(f"a register that is {days} days old", remedy=remedy)
    for rate in rates:
        if not 0 < rate < 1:
            remedy = "give a share between 0 and 1, as 0.01"
            raise ClassifierError(f"{rate} is no base rate", remedy=remedy)
    for share in cgnat:
        if not 0 <= share <= 1:
            raise ClassifierError(f"{share} is no share", remedy="give a number from 0 to 1")
    frame = impact.facts(table, options.local)
    _name_near_holders(frame, table, options)
    restated, source = mistakes.restated(frame, rates)
    return Impact(
        policy=options.policy.name if options.policy is not None else "",
        flows=len(frame),
        addresses=int(frame.loc[frame["address"] != "", "address"].nunique()),
        captures=int(frame["capture"].nunique()),
        verdicts=impact.by_verdict(frame),
        services=impact.by_service(frame),
        categories=impact.by_category(frame),
        reasons=impact.reasons(frame),
        daily=impact.daily(frame),
        expected=mistakes.expected(frame),
        mistakes=mistakes.split(frame),
        base_rates=restated,
        base_rates_source=source,
        decisions=impact.decision_curve(frame),
        scenarios=_scenarios(table, frame, options, stale_days, cgnat),
    )


def _name_near_holders(frame: "pd.DataFrame", table: "pa.Table", options: Options) -> None:
    """Give flows of nearly registered holders the category that the register has for them."""
    from classifier.registry import client_is_orig, match_flows
    from classifier.report.endpoints import endpoints

    near = np.flatnonzero(frame["near_miss"] != "")
    if options.registry is None or not near.size:
        return
    (batch,) = table.take(near).combine_chunks().to_batches()
    flows = endpoints(batch)
    inside = client_is_orig(flows, options.local)
    rows = match_flows(options.registry, flows, inside, at_ns=options.at_ns).near_row
    near, rows = near[rows >= 0], rows[rows >= 0]
    holders = options.registry.rows.column("category").take(rows).to_pylist()
    frame.loc[near, "category"] = np.array(holders, object)


def _scenarios(
    table: "pa.Table",
    frame: "pd.DataFrame",
    options: Options,
    stale_days: Sequence[float],
    cgnat: Sequence[float],
) -> "pd.DataFrame":
    """Return flows, bytes and inside addresses by verdict, for each state of the register."""
    import pandas as pd

    from classifier.policy import impact

    present = impact.by_verdict(frame)
    states = [("as recorded", present)]
    known = options.policy is not None and bool(
        frame["registered"].any() or (frame["near_miss"] != "").any()
    )

    def judged(registered: Registered) -> Any:
        return impact.by_verdict(impact.facts(rejudged(table, options, registered), options.local))

    if known:
        states.append(("register off", judged(_none)))
    if options.registry is not None and options.policy is not None:
        states += [(f"stale by {d:g} days", judged(_stale(options, d))) for d in stale_days]
    if known:
        without = judged(_without_clients)
        for share in cgnat:
            # Each address is behind CGNAT with this chance, so every count is a mean of two.
            mixed = present.copy()
            for name in ("flows", "bytes", "addresses"):
                mixed[name] = (1 - share) * present[name] + share * without[name]
            states.append((f"{share:.0%} behind CGNAT", mixed))
    rows = []
    for name, counted in states:
        row: dict[str, Any] = {"scenario": name}
        for verdict, flows, addresses in zip(
            counted["verdict"], counted["flows"], counted["addresses"], strict=True
        ):
            row[f"{verdict}_flows"] = float(flows)
            row[f"{verdict}_addresses"] = float(addresses)
        row["bytes_hit"] = float(counted["bytes"].iloc[1:].sum())
        rows.append(row)
    result = pd.DataFrame(rows)
    never = [c for c in result.columns[1:] if not result[c].any()]
    return result.drop(columns=never)

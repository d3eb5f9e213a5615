"""Two judgements of the same flows: which change verdict, in which direction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.policy.impact import VERDICTS, facts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["changed_flows", "summed"]

_KEY = ("community_id", "first_ns", "orig_ip", "orig_port", "resp_ip", "resp_port")


def _keyed(table: "pa.Table", local: Sequence[str] | None) -> "pd.DataFrame":
    columns = [*_KEY, "flow_id", "proto", "family", "rule", "vpn_probability"]
    frame: pd.DataFrame = table.select(columns).to_pandas()
    known = facts(table, local)
    for name in ("verdict", "bytes", "address", "near_miss", "registered", "is_vpn"):
        frame[name] = known[name].to_numpy()
    # The same flow twice (two captures of the same packets): paired in order
    frame["turn"] = frame.groupby(list(_KEY)).cumcount()
    return frame


def changed_flows(
    before: "pa.Table", after: "pa.Table", local: Sequence[str] | None = None
) -> "tuple[pd.DataFrame, int, int, int]":
    """Return the flows whose verdict differs between two tables of flow rows.

    Parameters
    ----------
    before, after : pyarrow.Table
        Flow rows, judged. Flows are paired by Community ID, first time and endpoints; a capture
        may have been moved or compressed since.
    local : sequence of str, optional
        Prefixes of the inside network.

    Returns
    -------
    changes : pandas.DataFrame
        Columns flow_id (of ``before``), endpoints, family, bytes, address (inside), before, after,
        direction (``harsher`` or ``milder``); rule, registered, near_miss and is_vpn, each
        ``_before`` and ``_after``.
    paired, only_before, only_after : int
        Flows of both, and of one alone.
    """
    one, other = _keyed(before, local), _keyed(after, local)
    further = ["verdict", "rule", "registered", "near_miss", "is_vpn"]
    both = one.merge(
        other[[*_KEY, "turn", *further]], on=[*_KEY, "turn"], suffixes=("_before", "_after")
    )
    level = {verdict: number for number, verdict in enumerate(VERDICTS)}
    # Without a pair, `map` keeps the type of the text
    after_level, before_level = (
        both[f"verdict_{side}"].map(level).astype(np.int64) for side in ("after", "before")
    )
    step = after_level - before_level
    found = both[step != 0].copy()
    found["direction"] = np.where(step[step != 0] > 0, "harsher", "milder")
    found = found.rename(columns={"verdict_before": "before", "verdict_after": "after"})
    names = ["flow_id", "proto", "orig_ip", "orig_port", "resp_ip", "resp_port", "family", "bytes"]
    names += ["address", "before", "after", "direction", "rule_before", "rule_after"]
    names += [f"{n}_{side}" for n in further[2:] for side in ("before", "after")]
    found = found.sort_values("flow_id", kind="stable").reset_index(drop=True)[names]
    return found, len(both), len(one) - len(both), len(other) - len(both)


def summed(changes: "pd.DataFrame") -> "pd.DataFrame":
    """Return flows, bytes and inside addresses by direction, verdict before and verdict after."""
    keys = ["direction", "before", "after"]
    groups: Any = changes.groupby(keys)
    result = groups.agg(flows=("bytes", "size"), bytes=("bytes", "sum"))
    inside = changes[changes["address"] != ""].groupby(keys)["address"].nunique()
    result["addresses"] = inside.reindex(result.index, fill_value=0).astype(np.int64)
    frame: pd.DataFrame = result.reset_index()
    return frame.sort_values(["direction", "flows"], ascending=[True, False], ignore_index=True)

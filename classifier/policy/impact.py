"""Verdicts over flows -> whom they hit: counts of flows, bytes, inside addresses, and mistakes.

How this works: `facts` turns flow rows into one DataFrame with a row per flow and only what is
counted. Each other function groups that DataFrame one way. *Hit* means a verdict of ``flag`` or
harsher; every table keeps verdicts apart, so that flagged and blocked are never one number.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.policy._inside import inside_ends
from classifier.tables import Verdict

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "CAUSES",
    "VERDICTS",
    "by_category",
    "by_service",
    "by_verdict",
    "daily",
    "decision_curve",
    "facts",
    "reasons",
]

#: Words of the ``verdict`` column, the mildest first.
VERDICTS = tuple(v.label for v in Verdict)

#: What a hit flow may be. The first three are mistakes, ``intended`` is none, and where no label
#: tells, a VPN is ``unknown``.
CAUSES = ("not_vpn", "legitimate", "holder", "intended", "unknown")

_TRUE = frozenset({"1", "true", "yes"})


def facts(table: "pa.Table", local: Sequence[str] | None = None) -> "pd.DataFrame":
    """Return what impact counts about each flow.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows, judged; with columns of labels where there are some.
    local : sequence of str, optional
        Prefixes of the inside network; private and unique-local where left out, as link-local
        addresses are second ones of users, which a box does not see.

    Returns
    -------
    pandas.DataFrame
        Columns ``address`` (the inside end, the originator where both are, empty where none is),
        ``bytes``, ``day`` (UTC), ``bytes_before``, ``seconds_before``, ``cause`` and plain copies
        of flow columns.
    """
    import pandas as pd

    from classifier.registry import ROUTED_LOCAL

    names = ["capture", "verdict", "service", "family", "category", "near_miss", "registered"]
    names += ["is_vpn", "vpn_probability", "start_seen", "decided_packet", "bytes_before"]
    frame: pd.DataFrame = table.select(names).to_pandas()
    for column in frame.columns[:6]:
        frame[column] = frame[column].astype(object)
    users = ROUTED_LOCAL if local is None else local
    orig, resp = inside_ends(table.column("orig_ip"), table.column("resp_ip"), users)
    ends = {end: table.column(f"{end}_ip").to_numpy(zero_copy_only=False) for end in _ENDS}
    frame["address"] = np.where(orig, ends["orig"], np.where(resp, ends["resp"], ""))
    first = table.column("first_ns").to_numpy()
    frame["bytes"] = sum(table.column(f"{end}_bytes").to_numpy() for end in _ENDS)
    frame["day"] = first // 86_400_000_000_000
    decided = frame["decided_packet"] > 0
    waited = (table.column("decided_ns").to_numpy() - first) / 1e9
    frame["seconds_before"] = np.where(decided, np.maximum(waited, 0), np.nan)
    _add_labels(frame, table)
    return frame


_ENDS = ("orig", "resp")


def _add_labels(frame: "pd.DataFrame", table: "pa.Table") -> None:
    """Add ``truth`` (1, 0, -1 where not known) and ``cause``."""
    n = len(frame)

    def said(name: str) -> Any:
        """Return 1, 0, or -1 where a label column says nothing."""
        if name not in table.schema.names:
            return np.full(n, -1)
        words = [str(v).strip().lower() for v in table.column(name).to_pylist()]
        silent = ("none", "")
        return np.array([-1 if w in silent else int(w in _TRUE) for w in words], np.int64)

    truth, legitimate, holder = map(said, ("label_is_vpn", "label_legitimate", "label_holder"))
    frame["truth"] = truth
    vpn = truth == 1
    told = [
        truth == 0,
        vpn & (holder == 1),
        vpn & (legitimate == 1) & (holder == 0),
        vpn & (legitimate == 0) & (holder != 1),
    ]
    frame["cause"] = np.select(told, ["not_vpn", "holder", "legitimate", "intended"], "unknown")
    if "label_category" in table.schema.names:
        given = np.array([str(v or "") for v in table.column("label_category").to_pylist()], object)
        frame["category"] = np.where(frame["category"] == "", given, frame["category"])


def _counted(frame: "pd.DataFrame", keys: list[str]) -> "pd.DataFrame":
    """Return flows, bytes and distinct inside addresses by some columns."""
    inside = frame[frame["address"] != ""]
    groups = frame.groupby(keys, observed=True)
    result = groups.agg(flows=("bytes", "size"), bytes=("bytes", "sum"))
    addresses = inside.groupby(keys, observed=True)["address"].nunique()
    result["addresses"] = addresses.reindex(result.index, fill_value=0).astype(np.int64)
    return result.reset_index()


def by_verdict(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return one row for each verdict: counts, and what passed before the verdict was known.

    Columns: verdict, flows, bytes, addresses, vpn_flows, registered_flows, start_not_seen,
    bytes_before, share_before (of the bytes of flows with a known decision), median_packet,
    median_seconds.
    """
    import pandas as pd

    counted = {row["verdict"]: row for row in _counted(frame, ["verdict"]).to_dict("records")}
    rows = []
    for verdict in VERDICTS:
        mine = frame[frame["verdict"] == verdict]
        decided = mine[mine["decided_packet"] > 0]
        counts = counted.get(verdict, {})
        total = int(decided["bytes"].sum())
        before = int(decided["bytes_before"].sum())
        rows.append(
            {
                "verdict": verdict,
                **{name: int(counts.get(name, 0)) for name in ("flows", "bytes", "addresses")},
                "vpn_flows": int(mine["is_vpn"].sum()),
                "registered_flows": int(mine["registered"].sum()),
                "start_not_seen": int((~mine["start_seen"]).sum()),
                "bytes_before": before,
                "share_before": before / total if total else np.nan,
                "median_packet": float(decided["decided_packet"].median()),
                "median_seconds": float(decided["seconds_before"].median()),
            }
        )
    return pd.DataFrame(rows)


def _ordered(frame: "pd.DataFrame", *keys: str) -> "pd.DataFrame":
    """Return rows with the harshest verdict first, then the most flows."""
    level = frame["verdict"].map({v: -i for i, v in enumerate(VERDICTS)})
    sorted_by = frame.assign(_level=level, _less=-frame["flows"]).sort_values(
        ["_level", "_less", *keys], ignore_index=True
    )
    return sorted_by.drop(columns=["_level", "_less"])


def by_service(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return flows, bytes and inside addresses by verdict and class of use."""
    return _ordered(_counted(frame, ["verdict", "service"]), "service")


def by_category(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the same by verdict and category of holder, for flows whose holder is known."""
    return _ordered(_counted(frame[frame["category"] != ""], ["verdict", "category"]), "category")


def reasons(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return registered users that were hit, by verdict and why.

    Reasons: ``registered`` (the policy hits registered VPNs too), the words of ``near_miss``, and
    ``changed_address`` (the label says holder, the register knows neither address).
    """
    hit = frame[frame["verdict"] != "allow"]
    why = np.where(
        hit["registered"],
        "registered",
        np.where(
            hit["near_miss"] != "",
            hit["near_miss"],
            np.where(hit["cause"] == "holder", "changed_address", ""),
        ),
    )
    hit = hit.assign(reason=why)
    return _ordered(_counted(hit[hit["reason"] != ""], ["verdict", "reason"]), "reason")


def daily(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return by UTC day how many inside addresses were active, and hit at least once.

    Columns: day (ISO 8601), addresses, then for each verdict but ``allow`` the addresses hit by it
    or a harsher one at least once, and their share.
    """
    import pandas as pd

    inside = frame[frame["address"] != ""]
    level = inside["verdict"].map({v: i for i, v in enumerate(VERDICTS)}).astype(np.int64)
    worst = level.groupby([inside["day"], inside["address"]]).max()
    rows = []
    day: Any
    for day, levels in worst.groupby(level=0):
        row: dict[str, Any] = {
            "day": str(np.datetime64(int(day), "D")),
            "addresses": len(levels),
        }
        for number, verdict in enumerate(VERDICTS[1:], start=1):
            row[verdict] = int((levels >= number).sum())
            row[f"{verdict}_share"] = row[verdict] / len(levels)
        rows.append(row)
    names = ["day", "addresses"]
    names += [n for v in VERDICTS[1:] for n in (v, f"{v}_share")]
    return pd.DataFrame(rows, columns=names)


def decision_curve(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return how soon a box would have known: cumulative over all flows that were identified.

    Returns
    -------
    pandas.DataFrame
        Columns: ``by`` (``packet``, ``seconds`` or ``bytes``: what is counted from the start of
        each flow), ``at``, ``flows`` (share of identified flows that are decided by then) and
        ``bytes_left`` (of the bytes of all identified flows, the share that comes after the
        decision in flows decided by then).
    """
    import pandas as pd

    known = frame[frame["decided_packet"] > 0]
    found = []
    measures = {"packet": "decided_packet", "seconds": "seconds_before", "bytes": "bytes_before"}
    total = max(int(known["bytes"].sum()), 1)
    for by, column in measures.items():
        left = (known["bytes"] - known["bytes_before"]).groupby(known[column]).agg(["size", "sum"])
        at = left.index.to_numpy(np.float64)
        flows = left["size"].cumsum().to_numpy() / max(len(known), 1)
        bytes_left = left["sum"].cumsum().to_numpy() / total
        columns = {"by": by, "at": at, "flows": flows, "bytes_left": bytes_left}
        found.append(pd.DataFrame(columns))
    return pd.concat(found, ignore_index=True)

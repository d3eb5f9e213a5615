"""What the register answers, as text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from classifier.report._layout import columns_text, grouped, safe_text

if TYPE_CHECKING:
    import pandas as pd

    from classifier.registry import Change, Churn, Covering, Imported, Verified

__all__ = [
    "change_text",
    "churn_text",
    "covering_lines",
    "frame_text",
    "history_text",
    "import_text",
    "verified_text",
]


def covering_lines(
    covering: "Sequence[Covering]", closed: Mapping[int, str] | None = None
) -> list[str]:
    """Return a line for each registration around an address that was not chosen.

    Parameters
    ----------
    covering : sequence of Covering
    closed : mapping of int to str, optional
        Why the window has closed rows, by row.
    """
    lines = []
    for one in covering:
        if one.chosen:
            continue
        match = one.match
        entry = (
            f"{match.registration_id}, {match.organisation} ({match.category}), {match.prefix} "
            f"as {match.side}, {one.scope}"
        )
        if one.reasons:
            said = f"{', '.join(one.reasons)}: {'; '.join(one.why)}"
            note = (closed or {}).get(match.row, "")
            said += f" ({note})" if note else ""
        else:
            said = "applies too; a longer prefix, a narrower scope or an earlier row goes before"
        lines.append(safe_text(f"{entry}: {said}", 500))
    return lines


def change_text(change: "Change") -> str:
    """Return what a step did, on one line.

    Parameters
    ----------
    change : Change
    """
    what = safe_text(change.registration_id) or "register"
    state = f" {change.state}" if change.state else ""
    return (
        f"{what}: {change.action} recorded as change {change.number},{state} "
        f"from {safe_text(change.effective)}"
    )


def import_text(done: "Imported") -> str:
    """Return what an import did, on one line.

    Parameters
    ----------
    done : Imported
    """
    counts = f"{done.added} added, {done.changed} changed, {done.unchanged} unchanged"
    refused = int((done.report["outcome"] == "refused").sum())
    if refused:
        counts += f", {refused} refused"
    return counts + (" (dry run: nothing was written)" if done.dry_run else "")


def history_text(history: "pd.DataFrame") -> str:
    """Return changes, two lines each.

    Parameters
    ----------
    history : pandas.DataFrame
        From `Registry.history`.
    """
    lines = []
    for row in history.to_dict("records"):
        name = f" {row['registration_id']}" if row["registration_id"] else ""
        rows = f"{row['rows']} row{'s' if row['rows'] != 1 else ''}"
        head = (
            f"{row['change']}  {row['recorded_at']}  {row['action']}{name}, from {row['effective']}, "
            f"by {row['by']}: {row['reason']} ({rows})"
        )
        lines.append(safe_text(head, 500))
        if row["what"] not in ("", "{}"):
            lines.append("    " + safe_text(row["what"], 2000))
    return "\n".join(lines) + "\n" if lines else "no change is recorded\n"


def verified_text(verified: "Verified") -> str:
    """Return what `verify` counted; its findings are told apart.

    Parameters
    ----------
    verified : Verified
    """
    counts = f"{grouped(verified.rows)} rows, {grouped(verified.changes)} changes"
    if not verified.whole:
        return f"{counts}; the history is NOT whole\n"
    if not verified.changes:
        return f"{counts}\n"
    return f"{counts}; the history is whole\ndigest {verified.digest}\n"


def frame_text(frame: "pd.DataFrame", *, width: int = 110) -> str:
    """Return a table of words and numbers in columns.

    Parameters
    ----------
    frame : pandas.DataFrame
    width : int
        Characters of a line.
    """
    rows = [tuple(_cell(value) for value in row) for row in frame.itertuples(index=False)]
    numbers = [str(name) for name in frame.columns if frame[name].dtype.kind in "iuf"]
    header = [str(name) for name in frame.columns]
    return columns_text(header, rows, width=width, right=numbers) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if hasattr(value, "isoformat"):
        return str(value.isoformat()[:10])
    return grouped(value) if isinstance(value, int) else safe_text(value)


def churn_text(churn: "Churn", *, width: int = 110) -> str:
    """Return the summary of a simulation, with what it assumed.

    Parameters
    ----------
    churn : Churn
    width : int
        Characters of a line.
    """
    assumed = ", ".join(f"{name} {safe_text(value)}" for name, value in churn.assumptions.items())
    head = f"{grouped(churn.days)} days from {churn.start}, {churn.runs} runs, seed {churn.seed}"
    return f"{head}\nassumed: {assumed}\n\n{frame_text(churn.summary(), width=width)}"

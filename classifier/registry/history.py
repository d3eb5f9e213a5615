"""The history of a register as a table: who changed what, when, from when on, and why."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry._fields import COLUMN_NAMES, DETAIL_NAMES
from classifier.registry._parse import Registrations

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["closing", "history"]

_NAMES = ("change", "recorded_at", "effective", "action", "registration_id", "by", "reason", "rows")
_TEXT_COLUMNS = (*COLUMN_NAMES, *DETAIL_NAMES)


def history(
    rows: Registrations,
    change: NDArray[np.int64] | None,
    changes: pa.Table | None,
    registration_id: str | None,
    name: str,
) -> "pd.DataFrame":
    """Return changes as `Registry.history` describes them.

    Parameters
    ----------
    rows : Registrations
        All versions of all rows.
    change : ndarray of int64, shape (n_rows,), optional
        The change that wrote each of them.
    changes : pyarrow.Table, optional
        The changes.
    registration_id : str, optional
    name : str
        What an error calls the register.

    Raises
    ------
    RegistryError
        If there is no such registration, or no history.
    """
    import pandas as pd

    if change is None or changes is None:
        remedy = "import it into a .db, which keeps one"
        raise RegistryError("has no history", path=name, remedy=remedy)
    frame = pd.DataFrame(
        {
            "change": changes.column("change").to_numpy(),
            **{key: changes.column(key).to_pylist() for key in _NAMES[1:5]},
            "by": changes.column("actor").to_pylist(),
            "reason": changes.column("reason").to_pylist(),
            "rows": changes.column("n_rows").to_numpy(),
        }
    )
    if registration_id is None:
        frame["what"] = changes.column("details").to_pylist()
        return frame
    ids: Any = rows.text.column("registration_id").to_numpy()
    index = np.flatnonzero(ids == registration_id)
    if not index.size:
        raise RegistryError(
            "no registration has this identifier",
            path=str(registration_id),
            remedy=f"`registry export {name}` lists them",
        )
    said = _said(rows.take(index), change[index])
    frame = frame[frame["change"].isin(list(said))].reset_index(drop=True)
    frame["what"] = [said[number][1] for number in frame["change"]]
    frame["rows"] = [said[number][0] for number in frame["change"]]
    frame["registration_id"] = registration_id
    return frame


def _said(rows: Registrations, change: NDArray[np.int64]) -> dict[int, tuple[int, str]]:
    """Return how many rows each change wrote, and what it changed in them."""
    table = pa.Table.from_arrays(
        [*rows.text.columns, *rows.details.columns], names=list(_TEXT_COLUMNS)
    ).to_pylist()
    before: dict[int, dict[str, str]] = {}
    said: dict[int, list[str]] = {}
    for row, entry, number in zip(table, rows.rows["entry"].tolist(), change.tolist(), strict=True):
        said.setdefault(number, []).append(_difference(before.get(entry), row))
        before[entry] = row
    return {number: (len(texts), "; ".join(texts)) for number, texts in said.items()}


def _difference(before: dict[str, str] | None, row: dict[str, str]) -> str:
    prefix = row["prefix"]
    if before is None:
        until = f"to {row['valid_to']}" if row["valid_to"] else "without an end"
        scope = f"{row['side']}, {row['proto']}, {row['port']}"
        return f"{prefix} ({scope}) {row['status']} from {row['valid_from']} {until}"
    parts = [
        f"{key} {before[key] or '(none)'} -> {row[key] or '(none)'}"
        for key in _TEXT_COLUMNS
        if before[key] != row[key]
    ]
    return f"{prefix} " + (", ".join(parts) or "as before")


def closing(
    rows: Registrations, change: NDArray[np.int64] | None, changes: pa.Table | None, entry: int
) -> str:
    """Return why the window has closed a row, empty where it has not.

    Parameters
    ----------
    rows : Registrations
        All versions of all rows.
    change : ndarray of int64, shape (n_rows,), optional
        The change that wrote each of them.
    changes : pyarrow.Table, optional
        The changes.
    entry : int
        Which row.
    """
    if change is None or changes is None:
        return ""
    versions = np.flatnonzero(rows.rows["entry"] == entry)
    if not versions.size:
        return ""
    state = rows.details.column("state")[int(versions[-1])].as_py()
    if not state:
        return ""
    numbers: NDArray[np.int64] = changes.column("change").to_numpy()
    at = int(np.searchsorted(numbers, change[versions[-1]]))
    if at == numbers.size:
        return ""
    said = {key: changes.column(key)[at].as_py() for key in ("effective", "actor", "reason")}
    return f"{state} on {said['effective']} by {said['actor']}: {said['reason']}"

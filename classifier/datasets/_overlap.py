"""Finds what two rows, or two data sets, share: copies make every score look better than it is.

How this works: rows are compared by digests of their exact values (eight bytes of BLAKE2b over
little-endian float64, with one NaN and one zero), files by their SHA-256. Two different rows with
one digest are expected once in 2^64 / n^2 sets of n rows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from classifier.datasets import _manifest
from classifier.datasets._load import Dataset
from classifier.errors import ResourceError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Leaks", "duplicates", "leak_check"]

_TUPLE = ("proto", "src", "sport", "dst", "dport")


@dataclass(frozen=True, slots=True)
class Leaks:
    """What two data sets share."""

    rows: int
    """Rows of the second set that are also in the first, by all features or by the five-tuple in a
    capture of the same content."""
    contradicting: int
    """How many of them have another label there."""
    groups: tuple[str, ...]
    """Names of groups that are in both, sorted."""
    files: tuple[tuple[str, str], ...]
    """Pairs of files with identical content, sorted."""
    share: float
    """``rows`` divided by the rows of the second set; 0 where it has none."""

    def __bool__(self) -> bool:
        """Whether anything is shared."""
        return bool(self.rows or self.groups or self.files)


def _digests(features: "pd.DataFrame") -> "NDArray[np.uint64]":
    """Return a digest of each row's values, uint64, shape (n_rows,)."""
    import numpy as np

    values = np.ascontiguousarray(features.to_numpy(np.float64, na_value=np.nan)) + 0.0  # no -0.0
    values[np.isnan(values)] = np.nan  # one NaN of many
    raw, width = values.astype("<f8").tobytes(), 8 * values.shape[1]
    found = (
        hashlib.blake2b(raw[start : start + width], digest_size=8).digest()
        for start in range(0, len(raw), width or 1)
    )
    return np.frombuffer(b"".join(found), np.uint64)


def duplicates(
    features: "pd.DataFrame", labels: "Sequence[object] | pd.Series | None" = None
) -> "pd.DataFrame":
    """Return the sets of rows that are exact copies of each other.

    Parameters
    ----------
    features : pandas.DataFrame, shape (n_rows, n_columns)
        Numbers; NaN equals NaN. For flows of captures give columns such as addresses as numbers, or
        :attr:`classifier.run.Run.features`.
    labels : sequence, shape (n_rows,), optional
        Copies with more than one label are marked.

    Returns
    -------
    pandas.DataFrame
        One row for each set of copies, the largest first: ``copies`` (int), ``first`` (position of
        the first of them), ``rows`` (tuple of all positions), ``labels`` (tuple of their labels,
        sorted), ``contradicting`` (bool).

    Raises
    ------
    ResourceError
        If labels and features differ in length, or there are no columns.

    Examples
    --------
    >>> import pandas as pd
    >>> from classifier import datasets
    >>> found = datasets.duplicates(pd.DataFrame({"a": [1, 2, 1], "b": [5, 5, 5]}), [0, 0, 1])
    >>> found[["copies", "first", "contradicting"]].values.tolist()
    [[2, 0, True]]
    """
    import numpy as np
    import pandas as pd

    if not features.shape[1]:
        remedy = "features of captures come from classifier.classify(...).features"
        raise ResourceError("there are no columns to compare", remedy=remedy)
    names = [""] * len(features) if labels is None else [str(label) for label in labels]
    if len(names) != len(features):
        problem = f"{len(names)} labels for {len(features)} rows"
        raise ResourceError(problem, remedy="give one label for each row")
    _, which, counts = np.unique(_digests(features), return_inverse=True, return_counts=True)
    sets: dict[int, list[int]] = {}
    for position in np.flatnonzero(counts[which] > 1):
        sets.setdefault(int(which[position]), []).append(int(position))
    table = []
    for rows in sorted(sets.values(), key=lambda rows: (-len(rows), rows[0])):
        kinds = tuple(sorted({names[row] for row in rows}))
        table.append((len(rows), rows[0], tuple(rows), kinds, len(kinds) > 1))
    columns = ["copies", "first", "rows", "labels", "contradicting"]
    return pd.DataFrame(table, columns=columns)


def leak_check(a: Dataset, b: Dataset) -> Leaks:
    """Find what a second data set shares with a first.

    Parameters
    ----------
    a : Dataset
        Such as the one a model was trained on.
    b : Dataset
        Such as the one it is judged by.

    Returns
    -------
    Leaks
        True in a condition where anything is shared.

    Raises
    ------
    ResourceError
        If a file cannot be read.

    Notes
    -----
    Rows with features are compared by the columns that both have, exactly. Files are compared by
    content (SHA-256 of the file), rows of labelled captures by capture content and five-tuple.
    Copies that were changed in any bit of any feature are not found.

    Examples
    --------
    >>> from classifier import datasets
    >>> demo = datasets.load("demo")
    >>> leaks = datasets.leak_check(demo, demo)
    >>> bool(leaks), leaks.share
    (True, 1.0)
    """
    import numpy as np

    groups = tuple(sorted({str(g) for g in a.groups} & {str(g) for g in b.groups}))
    known = {_manifest.digest(path): name for name, path in sorted(a.files.items())}
    files = []
    for name, path in sorted(b.files.items()):
        twin = known.get(_manifest.digest(path))
        if twin is not None:
            files.append((twin, name))
    common = [column for column in b.features if column in a.features]
    if common:
        groups = ()  # numbers of identical rows are names of nothing beyond their own set
        ours, theirs = _digests(a.features[common]), _digests(b.features[common])
        left = dict(zip(ours.tolist(), map(str, a.labels), strict=True))
        shared = np.isin(theirs, ours)
        there = [left[key] for key in theirs[shared].tolist()]
        here = [str(label) for label in b.labels[shared]]
    else:
        own = {name: name for name in a.files}
        left = dict(zip(_flows(a, own), map(str, a.labels), strict=True))
        keys = [*zip(_flows(b, {new: old for old, new in files}), map(str, b.labels), strict=True)]
        there = [left[key] for key, _ in keys if key in left]
        here = [label for key, label in keys if key in left]
    contradicting = sum(one != other for one, other in zip(there, here, strict=True))
    share = len(here) / len(b.labels) if len(b.labels) else 0.0
    return Leaks(len(here), contradicting, groups, tuple(files), share)


def _flows(entry: Dataset, names: dict[str, str]) -> list[tuple[str, ...]]:
    """Return each row's capture, by the name it has among ``names``, and its five-tuple.

    Rows of other captures, and of sets without captures, get keys that equal no other.
    """
    keys: list[tuple[str, ...]] = []
    columns = [column for column in _TUPLE if column in entry.rows]
    rest = entry.rows[columns].astype(str).itertuples(index=False, name=None)
    paths = entry.rows["path"] if "path" in entry.rows else [""] * len(entry.rows)
    for number, (path, five) in enumerate(zip(paths, rest, strict=True)):
        name = names.get(str(path))
        keys.append((f"{id(entry)} {number}",) if name is None else (name, *five))
    return keys

"""Splits that keep a group on one side, written down so that others can use the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.errors import ResourceError

if TYPE_CHECKING:
    import os

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Split", "grouped_split"]

_FORMAT = "classifier split 1"


@dataclass(frozen=True, slots=True)
class Split:
    """Which group is on which side."""

    sides: Mapping[str, tuple[str, ...]]
    """Name of each side to the names of its groups, sorted."""
    seed: int
    """What the draw came from."""

    def side_of(self) -> dict[str, str]:
        """Return the side of each group."""
        return {group: side for side, groups in self.sides.items() for group in groups}

    def rows(self, groups: "Sequence[object] | pd.Series", side: str) -> "NDArray[np.bool_]":
        """Return which rows are on a side.

        Parameters
        ----------
        groups : sequence, shape (n_rows,)
            The group of each row.
        side : str
            Name of the side.

        Returns
        -------
        numpy.ndarray
            bool, shape (n_rows,).

        Raises
        ------
        ResourceError
            If there is no such side, or a row is of a group that the split does not know.
        """
        import numpy as np

        if side not in self.sides:
            known = ", ".join(self.sides)
            raise ResourceError(f"the split has no side {side!r}", remedy=f"sides are {known}")
        known_groups = self.side_of()
        names = [str(group) for group in groups]
        strange = next((name for name in names if name not in known_groups), None)
        if strange is not None:
            remedy = "make the split again from these groups"
            raise ResourceError(f"the split does not know the group {strange!r}", remedy=remedy)
        return np.array([known_groups[name] == side for name in names], np.bool_)

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write the split to a JSON file at ``path``."""
        text = {"format": _FORMAT, "seed": self.seed, "sides": self.sides}
        Path(path).write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: "str | os.PathLike[str]") -> "Split":
        """Read a split from the JSON file at ``path``.

        Raises
        ------
        ResourceError
            If it cannot be read, or a group is on two sides.
        """
        remedy = "make it with `classifier datasets split`"
        try:
            raw = json.loads(Path(path).read_text(encoding="utf-8"))
            if raw["format"] != _FORMAT:
                raise ValueError(f"the format is {raw['format']!r}")
            sides = {str(side): tuple(map(str, names)) for side, names in raw["sides"].items()}
            seed = int(raw["seed"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"this is no split ({error})"
            raise ResourceError(problem, path=str(path), remedy=remedy) from error
        names = [name for groups in sides.values() for name in groups]
        if len(names) != len(set(names)):
            raise ResourceError("a group is on two sides", path=str(path), remedy=remedy)
        return cls(sides, seed)


def grouped_split(
    groups: "Sequence[object] | pd.Series",
    shares: Mapping[str, float] | None = None,
    *,
    strata: "Sequence[object] | pd.Series | None" = None,
    seed: int = 0,
) -> Split:
    """Split rows so that no group is on two sides.

    Parameters
    ----------
    groups : sequence, shape (n_rows,)
        What must stay together, such as the capture of each row; compared as text.
    shares : mapping of str to float, optional
        Name of each side to its share of the rows; they sum to 1. Default: train 0.7, test 0.3.
    strata : sequence, shape (n_rows,), optional
        A label of each row; each side gets its share of the groups of each label (of the commonest
        one in a group).
    seed : int, default 0
        What the draw comes from.

    Returns
    -------
    Split
        The same for the same groups in any order.

    Raises
    ------
    ResourceError
        If the shares do not sum to 1, or there are fewer groups than sides.

    Notes
    -----
    Within a stratum groups go, in random order but the largest ones first, each to the side that
    lacks most rows of its share. O(n log n).

    Examples
    --------
    >>> from classifier import datasets
    >>> split = datasets.grouped_split(["a", "a", "b", "c"], {"train": 0.5, "test": 0.5}, seed=1)
    >>> sorted(sum(split.sides.values(), ()))
    ['a', 'b', 'c']
    """
    import random
    from collections import Counter

    wanted = dict(shares or {"train": 0.7, "test": 0.3})
    if not wanted or abs(sum(wanted.values()) - 1) > 1e-9 or min(wanted.values()) <= 0:
        problem = f"the shares {wanted} do not sum to 1, each above 0"
        raise ResourceError(problem, remedy='give shares such as {"train": 0.7, "test": 0.3}')
    names = [str(group) for group in groups]
    labels = [""] * len(names) if strata is None else [str(one) for one in strata]
    sizes = Counter(names)
    if len(sizes) < len(wanted):
        problem = f"{len(sizes)} groups cannot go to {len(wanted)} sides"
        raise ResourceError(problem, remedy="use finer groups, or fewer sides")
    counted: dict[str, Counter[str]] = {}
    for name, label in zip(names, labels, strict=True):
        counted.setdefault(name, Counter())[label] += 1
    by_label: dict[str, list[str]] = {}
    for name in sorted(sizes):
        common = min(counted[name].items(), key=lambda item: (-item[1], item[0]))[0]
        by_label.setdefault(common, []).append(name)
    rng = random.Random(seed)
    sides: dict[str, list[str]] = {side: [] for side in wanted}
    for label in sorted(by_label):
        own = by_label[label]
        rng.shuffle(own)
        usual = sorted((sizes[name] for name in own), reverse=True)[len(own) // 10]
        own.sort(key=lambda name: -max(sizes[name], usual))  # the usual ones keep their order
        total = sum(sizes[name] for name in own)
        given = dict.fromkeys(wanted, 0)
        for name in own:
            side = max(wanted, key=lambda one: wanted[one] * total - given[one])
            sides[side].append(name)
            given[side] += sizes[name]
    for own in sides.values():  # no side may stay empty: it takes a group from the side with most
        if not own:
            own.append(max(sides.values(), key=len).pop())
    return Split({side: tuple(sorted(own)) for side, own in sides.items()}, seed)

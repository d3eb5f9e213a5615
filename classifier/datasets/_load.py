"""Loads a data set by its manifest: shipped ones, and those that lie where a user has put them."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.datasets import _manifest
from classifier.datasets._manifest import Manifest
from classifier.errors import ResourceError

if TYPE_CHECKING:
    import os

    import pandas as pd

__all__ = ["Dataset", "load", "record"]


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """A data set in memory: tables of one row for each thing that has a label.

    ``features``, ``labels``, ``groups`` and ``rows`` have the same index.
    """

    manifest: Manifest
    """Title, licence, citation, source and gaps."""
    files: dict[str, Path]
    """The files that were read or that the labels speak of, by name."""
    features: "pd.DataFrame"
    """Numeric columns in the set's own names and units; none for sets of captures, whose features
    come from :func:`classifier.classify`."""
    labels: "pd.Series"
    """What is to be learnt: the set's class, or ``is_vpn`` for captures."""
    groups: "pd.Series"
    """What must stay on one side of a split: the capture, or identical rows where that is all that
    the set lets one see."""
    rows: "pd.DataFrame"
    """All else that is known about each row, such as ``is_vpn``, the scenario or the five-tuple."""

    def __repr__(self) -> str:
        """Return one line."""
        sizes = f"{len(self.rows):,} rows, {self.features.shape[1]} features"
        return f"<Dataset {self.manifest.name!r}: {sizes}, {self.groups.nunique():,} groups>"

    def _repr_html_(self) -> str:
        shown = self.rows.assign(label=self.labels, group=self.groups)
        return f"<p>{html.escape(repr(self))}</p>{shown.to_html(max_rows=10)}"


def load(
    name: str,
    path: "str | os.PathLike[str] | None" = None,
    *,
    scenario: str = "A1",
    timeout_s: int = 15,
    side: str = "all",
    verify: bool = True,
) -> Dataset:
    """Load a data set by its manifest, after verifying its files.

    Parameters
    ----------
    name : str
        Name of the data set, such as ``"demo"`` or ``"iscxvpn2016"``.
    path : path, optional
        Folder in which a set that users bring lies, searched with its subfolders. Nothing is ever
        fetched.
    scenario : str, default "A1"
        Of ``iscxvpn2016``: ``"A1"`` (VPN or not), ``"A2"`` (kind of use on each side), ``"B"`` (both
        in 14 classes) or ``"B-AllinOne"`` (seven classes, sides not told apart).
    timeout_s : int, default 15
        Of ``iscxvpn2016``: 15, 30, 60 or 120 s.
    side : str, default "all"
        Of scenario A2: ``"vpn"``, ``"no-vpn"`` or both.
    verify : bool, default True
        Compare files with the digests of the manifest, or of a file ``SHA256SUMS`` in the folder.

    Returns
    -------
    Dataset
        Tables with one row for each labelled thing, with manifest and files.

    Raises
    ------
    ResourceError
        If there is no such data set or part of it, if a file is missing or differs from what the
        manifest states, or with the line of a table that cannot be read.

    Notes
    -----
    Reads every byte that it verifies once.

    Examples
    --------
    >>> import classifier.datasets
    >>> demo = classifier.datasets.load("demo")
    >>> sorted(demo.files)
    ['demo.pcapng', 'labels.csv', 'policy.toml', 'register.csv']
    >>> int((demo.labels == 1).sum())
    15
    """
    entry = _manifest.find(name)
    if not entry.reader:
        if path is not None:
            problem = f"the files of {name!r} lie beside their manifest"
            raise ResourceError(problem, path=str(path), remedy="leave the path out")
        return _shipped(entry, verify)
    if path is None:
        problem = f"{name!r} is not shipped"
        remedy = f"get it from {entry.source} and give the folder as path"
        raise ResourceError(problem, remedy=remedy)
    folder = Path(path)
    if not folder.is_dir():
        raise ResourceError("there is no such folder", path=str(path), remedy="check the path")
    from classifier.datasets import _readers

    if entry.reader == "arff":
        return _readers.arff(entry, folder, (scenario, timeout_s, side), verify=verify)
    return _readers.READERS[entry.reader](entry, folder, verify=verify)


def record(name: str, path: "str | os.PathLike[str]") -> Path:
    """Write digests of the files of a set without published ones, for later loads to compare with.

    Parameters
    ----------
    name : str
        Name of a data set that users bring.
    path : path
        Folder in which it lies; gets a file ``SHA256SUMS`` in the form of sha256sum.

    Returns
    -------
    pathlib.Path
        Of that file.

    Raises
    ------
    ResourceError
        If there is nothing to record, or the list cannot be written.
    """
    entry = _manifest.find(name)
    if not entry.reader:
        problem = f"the manifest of {name!r} has digests already"
        raise ResourceError(problem, remedy="verify it without recording")
    from classifier.datasets import _readers

    return _readers.record(entry, Path(path))


def _shipped(entry: Manifest, verify: bool) -> Dataset:
    import pandas as pd

    from classifier.datasets import _readers

    files = {}
    for file in entry.files:
        path = entry.folder / file.name
        files[file.name] = _manifest.verified(path, file) if verify else path
    for file in entry.files:
        if file.role == "labels":
            return _readers.labelled(entry, files, files[file.name])
    none = pd.Series(dtype="object")
    return Dataset(entry, files, pd.DataFrame(), none, none, pd.DataFrame())

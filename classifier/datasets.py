"""Lists, verifies and loads data sets by their manifests.

A data set is a folder ``datasets/<name>/`` with a ``manifest.toml`` that names each file, its
SHA-256 and its size. ``demo`` is shipped with the package; others lie in a checkout.
"""

import builtins
import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier import resources
from classifier.errors import ResourceError

__all__ = ["DataFile", "DataSet", "Demo", "demo", "list", "load"]

_CHUNK_BYTES = 1 << 20
_REMEDY = "install the package again, or make the data set again with its recipe"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a data set, as its manifest describes it."""

    name: str
    """File name, below the data set's folder."""
    role: str
    """What it is for: ``capture``, ``labels``, ``register``, ``policy`` ..."""
    sha256: str
    """Digest of its content, 64 hexadecimal digits."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set, as its manifest describes it."""

    name: str
    """Name of its folder."""
    title: str
    """One line on what it holds."""
    licence: str
    """SPDX identifier of the licence."""
    citation: str
    """How to cite it."""
    files: tuple[DataFile, ...]
    """Its files, in the manifest's order."""
    folder: Path
    """Where it lies."""


@dataclass(frozen=True, slots=True)
class Demo:
    """Paths of the shipped demo data set."""

    capture: Path
    """Packets of thirteen VPN users and of ordinary traffic, pcapng."""
    labels: Path
    """What each flow is, CSV."""
    register: Path
    """A register of 20,000 fictional entries, CSV."""
    policy: Path
    """A policy that gives each of the four verdicts, TOML."""


def demo() -> Demo:
    """Return the paths of the shipped capture, labels, register and policy.

    Returns
    -------
    Demo
        Existing paths. The content is not verified; ``load("demo")`` does.

    Raises
    ------
    ResourceError
        If the data set, or one of its files, is missing.

    Examples
    --------
    >>> import classifier.datasets
    >>> classifier.datasets.demo().capture.name
    'demo.pcapng'
    """
    entry = _read(resources.locate("datasets/demo/manifest.toml"))
    paths = {file.role: resources.locate(f"datasets/demo/{file.name}") for file in entry.files}
    try:
        return Demo(paths["capture"], paths["labels"], paths["register"], paths["policy"])
    except KeyError as error:
        place = str(entry.folder / "manifest.toml")
        raise ResourceError(f"no file has the role {error}", path=place, remedy=_REMEDY) from None


def list() -> tuple[DataSet, ...]:  # the public name; ``builtins.list`` is not needed here
    """Return the manifests of all data sets that are installed, by name.

    Returns
    -------
    tuple of DataSet
        At least the shipped ``demo``.

    Raises
    ------
    ResourceError
        If a manifest cannot be read.

    Examples
    --------
    >>> import classifier.datasets
    >>> [entry.licence for entry in classifier.datasets.list() if entry.name == "demo"]
    ['Apache-2.0']
    """
    folder = resources.locate("datasets")
    return tuple(_read(path) for path in sorted(folder.glob("*/manifest.toml")))


def load(name: str) -> dict[str, Path]:
    """Return the paths of a data set's files after verifying them.

    Parameters
    ----------
    name : str
        Name of the data set, such as ``"demo"``.

    Returns
    -------
    dict of str to pathlib.Path
        File name to path, in the manifest's order. Each file has the size and the SHA-256 that
        the manifest states.

    Raises
    ------
    ResourceError
        If there is no such data set, or if a file is missing or differs from the manifest.

    Notes
    -----
    Reads every byte once.

    Examples
    --------
    >>> import classifier.datasets
    >>> sorted(classifier.datasets.load("demo"))
    ['demo.pcapng', 'labels.csv', 'policy.toml', 'register.csv']
    """
    entry = next((entry for entry in list() if entry.name == name), None)
    if entry is None:
        known = ", ".join(entry.name for entry in list())
        raise ResourceError(f"no data set has the name {name!r}", remedy=f"known names: {known}")
    return {file.name: _verified(entry.folder / file.name, file) for file in entry.files}


def _verified(path: Path, file: DataFile) -> Path:
    try:
        size = path.stat().st_size
        digest = hashlib.sha256()
        if size == file.size:
            with path.open("rb") as content:
                while chunk := content.read(_CHUNK_BYTES):
                    digest.update(chunk)
    except OSError as error:
        problem = f"the file cannot be read ({error.strerror})"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY) from error
    if size != file.size:
        problem = f"{size} bytes, but the manifest says {file.size}"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY)
    if digest.hexdigest() != file.sha256:
        problem = "the content is not what the manifest says (SHA-256)"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY)
    return path


def _read(path: Path) -> DataSet:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        files = tuple(_file(row, path) for row in builtins.list(raw["file"]))
        words = [raw[key] for key in ("name", "title", "licence", "citation")]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problem = f"the manifest cannot be read ({error})"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY) from error
    except (KeyError, TypeError, ValueError) as error:
        problem = f"the manifest lacks or misspells a field ({error})"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY) from error
    name, title, licence, citation = map(str, words)
    return DataSet(name, title, licence, citation, files, path.parent)


def _file(row: dict[str, Any], manifest: Path) -> DataFile:
    name = str(row["name"])
    if Path(name).name != name:  # a manifest must not lead out of its folder
        raise ValueError(f"{name!r} in {manifest.name} is not a plain file name")
    return DataFile(name, str(row["role"]), str(row["sha256"]), int(row["size"]))

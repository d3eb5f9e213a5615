"""Manifests of data sets: what is shipped, and what users bring themselves.

A shipped data set is a folder ``datasets/<name>/`` with a ``manifest.toml`` that names each file,
its SHA-256 and its size. ``datasets/external/<name>.toml`` has the same facts about a data set that
lies wherever its user has put it, and the way to read it.
"""

import builtins
import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier import resources
from classifier.errors import ResourceError

__all__ = ["DataFile", "Demo", "Manifest", "demo", "digest", "find", "list", "verified"]

_CHUNK_BYTES = 1 << 20
_PARTS = ("scenario", "side", "timeout_s")
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
    part: tuple[tuple[str, str], ...] = ()
    """What part of the data set it is, such as ``(("scenario", "A1"), ("timeout_s", "15"))``."""


@dataclass(frozen=True, slots=True, repr=False)
class Manifest:
    """One data set, as its manifest describes it."""

    name: str
    """Name of its folder, or of its own for a set that users bring."""
    title: str
    """One line on what it holds."""
    licence: str
    """SPDX identifier of the licence."""
    citation: str
    """How to cite it."""
    files: tuple[DataFile, ...]
    """Its files, in the manifest's order."""
    folder: Path
    """Where the manifest lies, and the files beside it unless there is a reader."""
    source: str = ""
    """Where it comes from."""
    gaps: str = ""
    """What it cannot show."""
    reader: str = ""
    """How to read what the user brings: ``arff``, ``names``, ``cesnet`` or ``labels``; empty for
    sets whose files are here."""

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Manifest {self.name!r}: {self.title} ({self.licence})>"


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


def list() -> tuple[Manifest, ...]:  # the public name; ``builtins.list`` is not needed here
    """Return the manifests of all known data sets.

    Returns
    -------
    tuple of Manifest
        Those whose files are here, at least ``demo``, then those that users bring themselves (they
        have a ``reader``); each by name.

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
    here = builtins.list(folder.glob("*/manifest.toml"))
    brought = builtins.list(folder.glob("external/*.toml"))
    return tuple(_read(path) for path in (*sorted(here), *sorted(brought)))


def find(name: str) -> Manifest:
    """Return the manifest of the data set with this name.

    Raises
    ------
    ResourceError
        If there is none.
    """
    known = list()
    for entry in known:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in known)
    raise ResourceError(f"no data set has the name {name!r}", remedy=f"known names: {names}")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises
    ------
    ResourceError
        If it cannot be read.
    """
    found = hashlib.sha256()
    try:
        with path.open("rb") as content:
            while chunk := content.read(_CHUNK_BYTES):
                found.update(chunk)
    except OSError as error:
        problem = f"the file cannot be read ({error.strerror})"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY) from error
    return found.hexdigest()


def verified(path: Path, file: DataFile) -> Path:
    """Return the path of a file that is what its manifest says.

    Raises
    ------
    ResourceError
        If it is missing, or of another size or digest.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        problem = f"the file cannot be read ({error.strerror})"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY) from error
    if size != file.size:
        problem = f"{size} bytes, but the manifest says {file.size}"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY)
    if digest(path) != file.sha256:
        problem = "the content is not what the manifest says (SHA-256)"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY)
    return path


def _read(path: Path) -> Manifest:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        files = tuple(
            _file(row, path) for row in (raw.get("file", ()) if "reader" in raw else raw["file"])
        )
        words = [raw[key] for key in ("name", "title", "licence", "citation")]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problem = f"the manifest cannot be read ({error})"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY) from error
    except (KeyError, TypeError, ValueError) as error:
        problem = f"the manifest lacks or misspells a field ({error})"
        raise ResourceError(problem, path=str(path), remedy=_REMEDY) from error
    name, title, licence, citation = map(str, words)
    source, gaps, reader = (str(raw.get(key, "")) for key in ("source", "gaps", "reader"))
    return Manifest(name, title, licence, citation, files, path.parent, source, gaps, reader)


def _file(row: dict[str, Any], manifest: Path) -> DataFile:
    name = str(row["name"])
    if Path(name).name != name:  # a manifest must not lead out of its folder
        raise ValueError(f"{name!r} in {manifest.name} is not a plain file name")
    part = tuple((key, str(row[key])) for key in _PARTS if key in row)
    return DataFile(name, str(row["role"]), str(row["sha256"]), int(row["size"]), part)

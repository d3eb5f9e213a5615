"""One reader for each form in which data sets come."""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from classifier.datasets import _arff, _manifest
from classifier.datasets._load import Dataset
from classifier.datasets._manifest import DataFile, Manifest
from classifier.errors import ResourceError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "READERS",
    "arff",
    "captures_in",
    "cesnet",
    "labelled",
    "labels",
    "names",
    "record",
    "recorded",
]

#: Name of the list of digests that a user may put, or let us write, into a folder.
SUMS = "SHA256SUMS"
_CAPTURE = re.compile(r"\.(pcap|pcapng|cap)(\.(gz|zst|lz4|xz))?$", re.IGNORECASE)
_KEYS = ("path", "proto", "src", "sport", "dst", "dport", "is_vpn", "family")
_TRUE, _FALSE = {"1", "true", "yes"}, {"0", "false", "no"}
#: What a capture holds, by a word in its name; the first that is found counts.
_KINDS = (
    ("chat", ("chat",)),
    ("mail", ("email", "mail")),
    ("p2p", ("torrent",)),
    ("file-transfer", ("file", "scp", "sftp", "ftps", "ftp", "rsync")),
    ("streaming", ("netflix", "vimeo", "youtube", "spotify")),
    ("voip", ("audio", "voip")),
    ("video-call", ("video",)),
    ("remote-desktop", ("rdp",)),
    ("terminal", ("ssh",)),
    ("voip", ("skype",)),
)
#: Numbers about a flow in the records of ipfixprobe, as CESNET publishes them.
_CESNET = (
    *("DURATION", "BYTES", "BYTES_REV", "PACKETS", "PACKETS_REV"),
    *("PPI_LEN", "PPI_DURATION", "PPI_ROUNDTRIPS"),
)


class Reader(Protocol):
    """Reads one form of data set."""

    def __call__(self, entry: Manifest, folder: Path, *, verify: bool) -> Dataset:
        """Return the data set that lies in the folder."""


def arff(entry: Manifest, folder: Path, part: tuple[str, int, str], *, verify: bool) -> Dataset:
    """Return one scenario of ISCXVPN2016's features.

    The features are in microseconds; -1 says "no value", as the authors wrote it. Rows carry no
    capture, so groups are numbers of identical rows.
    """
    import pandas as pd

    scenario, timeout_s, side = part
    chosen = [file for file in entry.files if _fits(file, scenario, timeout_s, side)]
    if not chosen:
        known = sorted({dict(file.part)["scenario"] for file in entry.files})
        problem = f"there is no part {scenario!r} of {timeout_s} s, side {side!r}"
        remedy = (
            f"scenarios are {', '.join(known)}; windows 15, 30, 60, 120 s; sides of A2 vpn, no-vpn"
        )
        raise ResourceError(problem, path=entry.name, remedy=remedy)
    files: dict[str, Path] = {}
    tables = []
    for file in chosen:
        path, content = _content(file, folder, verify)
        table = _arff.parse(content, str(path))
        known_side = dict(file.part)["side"]
        table["side"] = known_side
        tables.append(table)
        files[path.name] = path
    table = pd.concat(tables, ignore_index=True)
    classes = table.pop("class1").astype("str")
    sides = table.pop("side")
    classes.name = "label"
    is_vpn = classes.str.startswith("VPN").astype("Int8")
    if "allinone" in scenario.lower():  # the sides are not told apart there
        is_vpn = pd.Series(pd.NA, index=classes.index, dtype="Int8")
    groups = table.groupby(list(table.columns), sort=False, dropna=False).ngroup()
    rows = pd.DataFrame({"scenario": scenario, "timeout_s": timeout_s, "side": sides})
    rows["is_vpn"] = is_vpn
    return Dataset(entry, files, table, classes, groups.rename("group"), rows)


def _fits(file: DataFile, scenario: str, timeout_s: int, side: str) -> bool:
    part = dict(file.part)
    return (
        part["scenario"].lower() == scenario.lower()
        and part["timeout_s"] == str(timeout_s)
        and side.lower() in ("all", part["side"])
    )


def _content(file: DataFile, folder: Path, verify: bool) -> tuple[Path, bytes]:
    """Return the file that the manifest means, and its content: two parts share one name."""
    found = sorted(path for end in ("", ".xz", ".gz") for path in folder.rglob(file.name + end))
    if not found:
        raise ResourceError(
            f"{file.name} is not there, packed or not",
            path=str(folder),
            remedy="give the folder that the archives were unpacked into",
        )
    for path in found:
        content = _arff.unpack(path)
        if hashlib.sha256(content).hexdigest() == file.sha256:
            return path, content
    if verify:
        problem = f"the content is not what the manifest says of part {dict(file.part)} (SHA-256)"
        remedy = "get the file again, or load it with verify=False"
        raise ResourceError(problem, path=str(found[0]), remedy=remedy)
    word = dict(file.part)["scenario"].partition("-")[0].lower()
    named = [path for path in found if word in path.parent.name.lower()] or found
    return named[0], _arff.unpack(named[0])


def names(entry: Manifest, folder: Path, *, verify: bool) -> Dataset:
    """Return captures whose names say what they hold.

    A name begins with ``vpn_`` where the capture was made inside a VPN. Files that end in ``a`` and
    ``b`` after the same words are two ends, or two parts, of one recording: one group.
    """
    import pandas as pd

    found = captures_in(folder)
    if verify:
        recorded(folder, found)
    table = []
    for name, path in found.items():
        stem = _CAPTURE.sub("", name).lower()
        is_vpn = int(stem.startswith("vpn_"))
        words = re.sub(r"^(non)?vpn_", "", stem)
        application = (re.match(r"[a-z]+", words) or [""])[0]
        kind = next((kind for kind, keys in _KINDS if any(key in words for key in keys)), "")
        group = re.sub(r"[_-]?[ab]$", "", stem)
        table.append((name, is_vpn, application, kind, group, str(path)))
    columns = ["path", "is_vpn", "application", "kind", "group", "file"]
    rows = pd.DataFrame(table, columns=columns)
    return _of_rows(entry, found, rows)


def labels(entry: Manifest, folder: Path, *, verify: bool) -> Dataset:
    """Return captures with a ``labels.csv`` beside them."""
    found = captures_in(folder)
    table = folder / "labels.csv"
    if not table.is_file():
        remedy = "write one: path,proto,src,sport,dst,dport,is_vpn,family"
        raise ResourceError("there is no labels.csv", path=str(folder), remedy=remedy)
    if verify:
        recorded(folder, found | {"labels.csv": table})
    return labelled(entry, found, table)


def labelled(entry: Manifest, found: dict[str, Path], table: Path) -> Dataset:
    """Return the rows of a labels table about captures that exist."""
    import pandas as pd

    rows = []
    for line, row in _lines(table):
        if Path(row["path"]).name not in found:
            problem = f"there is no capture {row['path'][:80]!r}"
            remedy = "add the capture, or remove the row"
            raise ResourceError(problem, path=str(table), line=line, remedy=remedy)
        word = row["is_vpn"].strip().lower()
        if word not in _TRUE | _FALSE:
            remedy = "is_vpn is 0 or 1"
            problem = f"is_vpn is {word[:40]!r}"
            raise ResourceError(problem, path=str(table), line=line, remedy=remedy)
        rows.append(row | {"is_vpn": int(word in _TRUE)})
    frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else list(_KEYS))
    if "group" not in frame:
        frame["group"] = frame["path"]
    return _of_rows(entry, found, frame)


def _lines(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            missing = set(_KEYS) - set(reader.fieldnames or ())
            if missing:
                problem = f"columns are missing: {', '.join(sorted(missing))}"
                remedy = f"the first line names {','.join(_KEYS)}"
                raise ResourceError(problem, path=str(table), line=1, remedy=remedy)
            for row in reader:
                row.pop("", None)
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = f"the labels cannot be read ({error})"
        raise ResourceError(problem, path=str(table), remedy="write it as UTF-8 CSV") from error


def cesnet(entry: Manifest, folder: Path, *, verify: bool) -> Dataset:
    """Return flow records of a CESNET set: CSV files, packed or not; a file is a group.

    All of them are ordinary traffic of one kind, so ``is_vpn`` is 0 throughout.
    """
    import pandas as pd

    paths = sorted(
        path for path in folder.rglob("*") if re.search(r"\.csv(\.gz|\.xz)?$", path.name)
    )
    found = {str(path.relative_to(folder)): path for path in paths if path.is_file()}
    if not found:
        remedy = f"get the CSV files from {entry.source}"
        raise ResourceError("there are no CSV files", path=str(folder), remedy=remedy)
    if verify:
        recorded(folder, found)
    tables = []
    for name, path in found.items():
        try:
            head = pd.read_csv(path, nrows=0).columns
            wanted = [column for column in (*_CESNET, "APP", "CATEGORY") if column in head]
            if "APP" not in head or len(wanted) < 4:
                problem = "the first line lacks APP, or the numbers about flows"
                remedy = "give the folder of the flow records alone"
                raise ResourceError(problem, path=str(path), line=1, remedy=remedy)
            kinds = {column: "float64" for column in wanted if column in _CESNET}
            table = pd.read_csv(path, usecols=wanted, dtype=kinds)
        except (ValueError, OSError, EOFError) as error:
            problem = f"the records cannot be read ({error})"
            raise ResourceError(problem, path=str(path), remedy="get the file again") from error
        tables.append(table.assign(group=name))
    table = pd.concat(tables, ignore_index=True)
    rows = table.reindex(columns=["CATEGORY", "group"]).assign(is_vpn=0)
    features = table[[column for column in _CESNET if column in table]]
    return Dataset(entry, found, features, table["APP"].rename("label"), rows.pop("group"), rows)


def captures_in(folder: Path) -> dict[str, Path]:
    """Return the captures of a folder and its subfolders by their names, sorted.

    Raises
    ------
    ResourceError
        If there are none, or two of one name: labels go by the name alone.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if _CAPTURE.search(path.name) and path.is_file():
            if path.name in found:
                problem = f"{found[path.name]} has the same name"
                raise ResourceError(problem, path=str(path), remedy="rename one of the two")
            found[path.name] = path
    if not found:
        raise ResourceError("there are no captures", path=str(folder), remedy="check the path")
    return found


def recorded(folder: Path, found: dict[str, Path]) -> int:
    """Compare files with ``SHA256SUMS`` in the folder, where there is one; return how many.

    Raises
    ------
    ResourceError
        If a file differs, or a line cannot be understood.
    """
    sums = folder / SUMS
    if not sums.is_file():
        return 0
    paths = {str(path.relative_to(folder)): path for path in found.values()}
    compared = 0
    for line, text in enumerate(sums.read_text(encoding="utf-8").splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", text)
        if match is None:
            remedy = "lines are those of sha256sum"
            raise ResourceError("this is no digest", path=str(sums), line=line, remedy=remedy)
        path = paths.get(match[2].removeprefix("./"))
        if path is None:
            continue
        if _manifest.digest(path) != match[1]:
            problem = f"the content is not what {SUMS} says (line {line})"
            remedy = "get the file again, or record the digests again"
            raise ResourceError(problem, path=str(path), remedy=remedy)
        compared += 1
    return compared


def record(entry: Manifest, folder: Path) -> Path:
    """Write ``SHA256SUMS`` over what a reader of this set would read; return its path.

    Raises
    ------
    ResourceError
        If there is nothing to read, or the list cannot be written.
    """
    ends = r"\.csv(\.gz|\.xz)?$" if entry.reader == "cesnet" else r"\.arff(\.gz|\.xz)?$"
    if entry.reader in ("names", "labels"):
        found = [*captures_in(folder).values(), *folder.glob("labels.csv")]
    else:
        found = [path for path in sorted(folder.rglob("*")) if re.search(ends, path.name)]
    if not found:
        raise ResourceError("there is nothing to record", path=str(folder), remedy="check the path")
    lines = [f"{_manifest.digest(path)}  {path.relative_to(folder)}\n" for path in sorted(found)]
    try:
        (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        problem = f"the list cannot be written ({error.strerror})"
        raise ResourceError(problem, path=str(folder / SUMS), remedy="check the folder") from error
    return folder / SUMS


def _of_rows(entry: Manifest, found: dict[str, Path], rows: "pd.DataFrame") -> Dataset:
    import pandas as pd

    groups = rows["group"]
    rest = rows.drop(columns=["group"])
    nothing = pd.DataFrame(index=rows.index)
    return Dataset(entry, found, nothing, rows["is_vpn"].rename("label"), groups, rest)


READERS: dict[str, Callable[..., Dataset]] = {"names": names, "labels": labels, "cesnet": cesnet}

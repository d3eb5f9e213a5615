"""Formats that are written, by the suffix of the file."""

import os
from pathlib import Path
from typing import Literal

from classifier.errors import ResourceError, must_be

__all__ = ["FORMATS", "Format", "output_format"]

Format = Literal["ndjson", "csv", "parquet", "html", "pcapng"]

#: Suffix -> format.
FORMATS: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".csv": "csv",
    ".html": "html",
    ".pcapng": "pcapng",
}


def output_format(path: str | os.PathLike[str], given: str | None = None) -> Format:
    """Return the format of an output: the given one, else by suffix; ``-`` is NDJSON.

    Raises
    ------
    ResourceError
        If the format or the suffix is not known.
    """
    must_be("the place", path, (str, os.PathLike), "a path, or - for standard output", none=False)
    if given is not None:
        for name in FORMATS.values():
            if name == given:
                return name
        remedy = "choose ndjson, csv, parquet, html or pcapng"
        raise ResourceError(f"'{given}' is no format", path=str(path), remedy=remedy)
    if os.fspath(path) == "-":
        return "ndjson"
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ResourceError(
            f"the suffix '{suffix}' names no format" if suffix else "has no suffix",
            path=str(path),
            remedy=f"end the name in {', '.join(FORMATS)}",
        )
    return FORMATS[suffix]

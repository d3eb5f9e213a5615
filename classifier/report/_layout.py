"""How text reaches a terminal: made harmless, measured, and set in columns."""

import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from classifier.report._escape import visible

__all__ = ["columns_text", "cut", "display_width", "grouped", "safe_text", "time_text"]

_ELLIPSIS = "…"
_GAP = 2  # spaces between columns
_NARROW = 8  # what a column that may be cut is cut to where nothing else helps


def safe_text(text: object, limit: int = 200, *, lines: bool = False) -> str:
    r"""Return a text that a terminal may show, whoever wrote it.

    Parameters
    ----------
    text : object
        Its ``str``.
    limit : int
        The most characters of it, or of each line, that are shown.
    lines : bool
        Keep line breaks, for texts of several lines that are our own but for some words.

    Returns
    -------
    str
        Control characters, bidirectional controls, invisible format characters and lone surrogates
        are spelled ``\xNN`` or ``\uNNNN``; what is too long ends in an ellipsis.

    Examples
    --------
    >>> print(safe_text("\x1b[2Jowned"))
    \x1b[2Jowned
    """
    if lines:
        return "\n".join(safe_text(line, limit) for line in str(text).split("\n"))
    full = str(text)
    # Cut before spelling out, so that a megabyte of controls costs nothing.
    shown = visible(full[: limit + 1])
    return shown if len(full) <= limit and len(shown) <= limit else shown[: limit - 1] + _ELLIPSIS


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def display_width(text: str) -> int:
    """Return how many cells of a terminal a safe text takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def cut(text: str, width: int) -> str:
    """Return a safe text cut to a width, ending in an ellipsis where it was cut."""
    if display_width(text) <= width:
        return text
    kept, used = [], 1  # for the ellipsis
    for char in text:
        used += _char_width(char)
        if used > width:
            break
        kept.append(char)
    return "".join(kept) + _ELLIPSIS


def grouped(number: int) -> str:
    """Return a count with thousands separated."""
    return f"{number:,}"


def time_text(ns: int) -> str:
    """Return UTC nanoseconds since 1970 as ISO 8601."""
    import datetime

    seconds, rest = divmod(int(ns), 1_000_000_000)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    whole = (epoch + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{rest:09d}Z"


def _fitted(
    header: Sequence[str],
    natural: Sequence[int],
    width: int,
    least: Mapping[str, int],
    drop: Sequence[str],
) -> dict[int, int]:
    """Return the width of each column that is kept, by its place."""
    smallest = [min(w, least.get(n, w)) for n, w in zip(header, natural, strict=True)]
    widths = dict(enumerate(natural))
    for name in drop:
        if sum(smallest[i] for i in widths) + _GAP * (len(widths) - 1) <= width:
            break
        widths.pop(header.index(name), None)
    spare = width - _GAP * (len(widths) - 1)
    if sum(smallest[i] for i in widths) > spare:
        smallest = [
            min(w, _NARROW) if n in least else w for n, w in zip(header, smallest, strict=True)
        ]
    while sum(widths.values()) > spare:
        loose = [i for i, w in widths.items() if w > smallest[i]]
        if not loose:
            break
        widths[max(loose, key=lambda i: widths[i])] -= 1
    return widths


def columns_text(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    width: int = 110,
    right: Sequence[str] = (),
    least: Mapping[str, int] = MappingProxyType({}),
    drop: Sequence[str] = (),
    paint: Sequence[str] | None = None,
) -> str:
    """Return rows in columns.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences
        Cells; every text is made safe.
    width : int
        Of a line, as far as the columns can be made to fit.
    right : sequence of str
        Columns that are set to the right.
    least : mapping of str to int
        To what width a column may be cut; one that is not named is never cut.
    drop : sequence of str
        Columns that are left out, in this order, where cutting is not enough.
    paint : sequence of str, optional
        A terminal's colour sequence for each row, or an empty text; only for terminals.
    """
    cells = [[safe_text(cell) for cell in row] for row in [header, *rows]]
    natural = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    widths = _fitted(header, natural, width, least, drop)
    gap = " " * _GAP
    lines = []
    for row in cells:
        parts = []
        for i, w in widths.items():
            text = cut(row[i], w)
            pad = " " * (w - display_width(text))
            parts.append(pad + text if header[i] in right else text + pad)
        lines.append(gap.join(parts).rstrip())
    if paint is not None:
        for i, colour in enumerate(paint, start=1):
            lines[i] = f"{colour}{lines[i]}\x1b[0m" if colour else lines[i]
    lines.insert(1, gap.join("-" * w for w in widths.values()))
    return "\n".join(lines)

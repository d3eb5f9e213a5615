"""Small tables for notebooks; everything in them is escaped."""

import html
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from classifier.report._escape import visible

__all__ = ["pre_html", "table_html"]


def _escaped(value: object) -> str:
    text = f"{value:.6f}" if isinstance(value, float) else str(value)
    return html.escape(visible(text[:1000]))


def pre_html(text: str) -> str:
    """Return a text of several lines as HTML that keeps its layout."""
    lines = (html.escape(visible(line)) for line in text.split("\n"))
    return "<pre>" + "\n".join(lines) + "</pre>"


def table_html(
    frame: Any,
    caption: str = "",
    *,
    rows: Iterable[Sequence[object]] | None = None,
    limit: int = 100,
    right: Collection[str] = (),
) -> str:
    """Return a table as HTML.

    Parameters
    ----------
    frame : pandas.DataFrame, or sequence of str
        The table, or the names of its columns where ``rows`` is given.
    caption : str
    rows : iterable of sequences, optional
        Cells.
    limit : int
        The most rows that are shown; how many were left out is said.
    right : collection of str
        Columns of numbers: their cells get the class ``n``, which a page sets to the right.

    Returns
    -------
    str
        HTML without script, style or reference to anything outside.
    """
    if rows is None:
        names, cells = list(frame.columns), list(frame.itertuples(index=False, name=None))
    else:
        names, cells = list(frame), list(rows)
    kinds = [' class="n"' if name in right else "" for name in names]
    head = "".join(
        f"<th{kind}>{_escaped(name)}</th>" for name, kind in zip(names, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_escaped(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row in cells[:limit]
    )
    title = f"<caption>{_escaped(caption)}</caption>" if caption else ""
    left = len(cells) - limit
    more = f"<p>... and {left} more</p>" if left > 0 else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

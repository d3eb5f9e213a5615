"""Finds the lines of keys in a TOML text, which ``tomllib`` does not tell.

The scanner steps over comments and the four kinds of strings, counts brackets, and looks for
headers and keys where a statement begins. It trusts the syntax: only texts that ``tomllib`` accepts
are scanned for lines. On other texts it ends too, with lines that are right up to the first error.
"""

import re
from dataclasses import dataclass, field

__all__ = ["DOT_LIMIT", "Lines", "dotted_line", "find_lines", "line_of_error"]

#: Dots outside strings on one line. ``tomllib`` keeps every beginning of a dotted key, so that a
#: key of 100,000 parts takes more memory than there is.
DOT_LIMIT = 16

_HEADER = re.compile(r"""\[(\[?)[ \t]*("[^"\n]*"|'[^'\n]*'|[\w-]+)[ \t]*\]""", re.ASCII)
_KEY = re.compile(r"""("[^"\n]*"|'[^'\n]*'|[\w-]+)[ \t]*[=.]""", re.ASCII)
_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_DOTTED = re.compile(r"#[^\n]*|[.\"'\n]")
_INTERESTING = re.compile(r"[#\"'\[\]{}\n]")


@dataclass(slots=True)
class Lines:
    """Lines from 1: of the keys before any header, of each ``[[table]]`` and of its keys."""

    top: dict[str, int] = field(default_factory=dict)
    tables: dict[str, list[dict[str, int]]] = field(default_factory=dict)

    def of(self, table: str, index: int, key: str = "", *, tables: int) -> int:
        """Return the line of a key in the ``index``-th of so many tables, else the table's own."""
        found = self.tables.get(table, [])
        if len(found) != tables:  # written as an inline array
            return self.top.get(table, 1)
        return found[index].get(key) or found[index][""]


def line_of_error(error: Exception, text: str) -> int:
    """Return the line that a ``tomllib`` error names; the last one where it names none."""
    found = _LINE.search(str(error))
    return int(found.group(1)) if found else text.rstrip("\n").count("\n") + 1


def dotted_line(text: str) -> int:
    """Return the first line with more than ``DOT_LIMIT`` dots outside strings, 0 where none."""
    position, line, dots = 0, 1, 0
    while found := _DOTTED.search(text, position):
        position, sign = found.end(), found.group()
        if sign in "\"'":
            position = _string_end(text, found.start())
            line += text.count("\n", found.start(), position)
        elif sign == "\n":
            line, dots = line + 1, 0
        elif sign == ".":
            dots += 1
            if dots > DOT_LIMIT:
                return line
    return 0


def find_lines(text: str) -> Lines:
    """Return where the keys and tables of a valid TOML text stand."""
    text = text.replace("\r\n", "\n")
    lines = Lines()
    keys = lines.top
    position, line, depth = 0, 1, 0
    fresh = True  # at the start of a statement
    while position < len(text):
        if fresh:
            while text.startswith((" ", "\t"), position):
                position += 1
            keys = _note(lines, keys, text, position, line)
            fresh = False
        found = _INTERESTING.search(text, position)
        if found is None:
            break
        position = found.start()
        sign = found.group()
        if sign in "\"'":
            stop = _string_end(text, position)
            line += text.count("\n", position, stop)
            position = stop
            continue
        if sign == "#":
            position = text.find("\n", position)
            if position < 0:
                break
            sign = "\n"
        position += 1
        depth += (sign in "[{") - (sign in "]}")
        if sign == "\n":
            line += 1
            fresh = depth == 0
    return lines


def _note(
    lines: Lines, keys: dict[str, int], text: str, position: int, line: int
) -> dict[str, int]:
    """Note a header or key that begins here; return the keys that following lines belong to."""
    header = _HEADER.match(text, position)
    if header:
        keys = {"": line}
        name = header.group(2).strip("\"'")
        if header.group(1):
            lines.tables.setdefault(name, []).append(keys)
        else:
            lines.top.setdefault(name, line)
        return keys
    if text.startswith("[", position):  # a header of another shape, such as [a.b]
        return {"": line}
    key = _KEY.match(text, position)
    if key:
        keys.setdefault(key.group(1).strip("\"'"), line)
    return keys


def _string_end(text: str, start: int) -> int:
    """Return the position after the string that begins at ``start``."""
    quote = text[start]
    triple = text.startswith(quote * 3, start)
    mark = quote * 3 if triple else quote
    position = start + len(mark)
    while True:
        end = text.find(mark, position)
        if end < 0:
            return len(text)
        escape = text.find("\\", position, end) if quote == '"' else -1
        if escape < 0:
            break
        position = escape + 2
    end += len(mark)
    # Up to two quotes may stand directly before the closing three.
    while triple and text.startswith(quote, end) and end < len(text):
        end += 1
    return end

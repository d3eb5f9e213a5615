"""Finds the lines of keys in a TOML text, which ``tomllib`` does not tell.

The scanner steps over comments and the four kinds of strings, counts brackets, and looks for
headers and keys where a statement begins. It trusts the syntax: only texts that ``tomllib`` accepts
are scanned for lines. On other texts it ends too, with lines that are right up to the first error.
"""

import re
from dataclasses import dataclass, field

__all__ = ["DOT_LIMIT", "Lines", "dotted_line", "find_lines", "place_of_error"]

#: Dots outside strings on one line. ``tomllib`` keeps every beginning of a dotted key, so that a
#: key of 100,000 parts takes more memory than there is.
DOT_LIMIT = 16

_HEADER = re.compile(r"""\[(\[?)[ \t]*("[^"\n]*"|'[^'\n]*'|[\w-]+)[ \t]*\]""", re.ASCII)
_KEY = re.compile(r"""("[^"\n]*"|'[^'\n]*'|[\w-]+)[ \t]*[=.]""", re.ASCII)
_LINE = re.compile(r"\(at line (\d+), column (\d+)\)")
_FOLDED_LINE = re.compile(r"\\[ \t]*\n\s*")
_ESCAPE_SIZES = {"u": 6, "U": 10}
_DOTTED = re.compile(r"#[^\n]*|[.\"'\n]")
_INTERESTING = re.compile(r"[#\"'\[\]{}\n]")


@dataclass(slots=True)
class Lines:
    """Lines from 1: of the keys before any header, of each ``[[table]]`` and of its keys.

    ``text`` has plain line ends; ``starts`` and ``values`` say for a line where in it the statement
    that begins there, and its value, begin.
    """

    text: str = ""
    top: dict[str, int] = field(default_factory=dict)
    tables: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    values: dict[int, int] = field(default_factory=dict)

    def of(self, table: str, index: int, key: str = "", *, tables: int) -> int:
        """Return the line of a key in the ``index``-th of so many tables, else the table's own."""
        found = self.tables.get(table, [])
        if len(found) != tables:  # written as an inline array
            return self.top.get(table, 1)
        return found[index].get(key) or found[index][""]

    def column(self, line: int, *, of_key: bool = False) -> int | None:
        """Return the column, from 1, of the value or key on a line; None where neither begins."""
        position = self.starts.get(line)
        if not of_key:
            position = self.values.get(line, position)
        return None if position is None else position - self.text.rfind("\n", 0, position)

    def within(self, line: int, index: int) -> tuple[int, int] | None:
        """Return line and column of a character of the text that is the value on a line.

        Parameters
        ----------
        line : int
            Where the key stands.
        index : int
            Which character of the value, from 0; its length stands for its end.

        Returns
        -------
        (int, int) or None
            None where the value is no text, or belongs to another key of the line.
        """
        start = self.values.get(line, -1)
        if start < 0 or self.text[start] not in "\"'":
            return None
        position = _string_position(self.text, start, index)
        before = self.text.count("\n", start, position)
        return line + before, position - self.text.rfind("\n", 0, position)


def place_of_error(error: Exception, text: str) -> tuple[int, int | None]:
    """Return line and column that a ``tomllib`` error names; the last line where it names none."""
    found = _LINE.search(str(error))
    if found:
        return int(found.group(1)), int(found.group(2))
    return text.rstrip("\n").count("\n") + 1, None


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
    lines = Lines(text)
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
    if position < len(text) and text[position] not in "\n#":
        lines.starts.setdefault(line, position)
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
        if text[key.end() - 1] == "=":
            value = key.end()
            while text.startswith((" ", "\t"), value):
                value += 1
            if value < len(text):
                lines.values.setdefault(line, value)
    return keys


def _string_position(text: str, start: int, index: int) -> int:
    """Return where the ``index``-th character of the TOML string that begins at ``start`` stands."""
    quote = text[start]
    triple = text.startswith(quote * 3, start)
    position = start + (3 if triple else 1)
    if triple and text.startswith("\n", position):
        position += 1
    while True:
        while quote == '"' and (folded := _FOLDED_LINE.match(text, position)):
            position = folded.end()
        if not index or position >= len(text):
            return min(position, len(text))
        index -= 1
        escaped = quote == '"' and text.startswith("\\", position)
        position += _ESCAPE_SIZES.get(text[position + 1 : position + 2], 2) if escaped else 1


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

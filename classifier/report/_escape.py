r"""Texts from captures, registers and file names, made harmless for each kind of output.

How this works: almost no text needs a change, so each column is searched once by Arrow's regular
expressions, and only the rows that are hit go through Python. *Hidden* characters are those that
steer a terminal or a reader's eye without being seen: C0 and C1 controls, DEL, and the format
characters that reorder, join or hide text. They are written as ``\xNN``, ``\uNNNN`` or
``\UNNNNNNNN``; JSON has its own spelling of the same.
"""

import json
import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["csv_column", "from_csv_column", "json_column", "visible"]

# Ranges of code points, fixed here so that the same text gives the same bytes under every version
# of the Unicode tables. Bidirectional controls: UAX #9; tags: the E0000 block.
_HIDDEN = (
    (0x00, 0x1F),
    (0x7F, 0x9F),
    (0xAD, 0xAD),
    (0x61C, 0x61C),
    (0x180E, 0x180E),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0xE0000, 0xE007F),
)
_HIDDEN_RE2 = "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in _HIDDEN)
_HIDDEN_PYTHON = re.compile(
    "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _HIDDEN) + "\ud800-\udfff]"
)
_JSON_RE2 = rf'["\\{_HIDDEN_RE2}]'

# What spreadsheets take for the beginning of a formula, in ASCII and in full width; the white
# space is there because they skip it. Source: OWASP, "CSV Injection".
_FORMULA = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_FORMULA_PYTHON = re.compile(f"'*[{_FORMULA}]")
_CSV_RE2 = rf"^'*[{_FORMULA}]|[{_HIDDEN_RE2}]"
_GUARDED_RE2 = r"^'('*[=+\-@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}\\])"


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"


def visible(text: str) -> str:
    """Return a text in which hidden characters and lone surrogates are spelled out."""
    return _HIDDEN_PYTHON.sub(_spelled, text)


def _json_escaped(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    return _HIDDEN_PYTHON.sub(lambda found: json.dumps(found[0])[1:-1], escaped)


def _csv_escaped(text: str) -> str:
    guard = "'" if _FORMULA_PYTHON.match(text) else ""
    return guard + visible(text)


def _replaced(column: pa.StringArray, pattern: str, escape: Callable[[str], str]) -> pa.StringArray:
    hit = pc.match_substring_regex(column, pattern)
    if not pc.any(hit).as_py():
        return column
    changed = [escape(text) for text in column.filter(hit).to_pylist()]
    return pc.replace_with_mask(column, hit, pa.array(changed, pa.string()))


def json_column(column: pa.StringArray) -> pa.StringArray:
    """Return texts as they stand between the quotes of JSON; the column has no nulls."""
    return _replaced(column, _JSON_RE2, _json_escaped)


def csv_column(column: pa.StringArray) -> pa.StringArray:
    """Return texts that no spreadsheet takes for a formula: those begin with an apostrophe."""
    return _replaced(column, _CSV_RE2, _csv_escaped)


def from_csv_column(column: pa.StringArray) -> pa.StringArray:
    """Take the apostrophes of ``csv_column`` away again."""
    return pc.replace_substring_regex(column, _GUARDED_RE2, r"\1")

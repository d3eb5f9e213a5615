"""What a run is expected to say, and whether it does.

An expectation file is either TOML, with one table ``[[check]]`` for each statement, ::

    [[check]]
    name = "the tunnel is found"          # optional
    when = "is_vpn and resp_port == 51820"
    count = 1                             # or at_least, at_most, or both
    family = "wireguard"                  # every flow that meets ``when`` must have it;
    verdict = "would_block"               # so too verdict and rule

or the NDJSON of an earlier run, of which any keys may be left out. A check that names neither
``count`` nor ``at_least`` nor ``at_most`` expects one flow at least, so that it cannot pass because
nothing was found.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa

from classifier.errors import ClassifierError, ResourceError
from classifier.policy import Expression
from classifier.report._files import write_text
from classifier.report._layout import safe_text
from classifier.report.comparison import CheckResult, compare_rows
from classifier.tables import COLUMNS, Column, Verdict, canonical_family

__all__ = [
    "Check",
    "CheckResult",
    "Expectations",
    "check_expectations",
    "junit_xml",
    "open_expectations",
    "read_checks",
]

_COUNTS = ("count", "at_least", "at_most")
_VALUES = ("verdict", "family", "rule")
_KEYS = ("name", "when", *_COUNTS, *_VALUES)
_LABELS = (
    Column("label_is_vpn", "bool", "label: it is a VPN"),
    Column("label_family", "string", "label: its family"),
)

# Differences that a message shows.
_SHOWN = 5

_NDJSON_SUFFIXES = (".ndjson", ".jsonl", ".json")


#: Compares flow rows with what was expected.
Expectations = Callable[[pa.Table], list[CheckResult]]


@dataclass(frozen=True, slots=True)
class Check:
    """One statement of an expectation file.

    Attributes
    ----------
    name : str
    when : Expression
    least, most : int or None
        How many flows meet it.
    values : tuple of (str, str)
        Column and the value that it has in all of them.
    """

    name: str
    when: Expression
    least: int
    most: int | None
    values: tuple[tuple[str, str], ...]


def check_expectations(table: pa.Table, path: str | os.PathLike[str]) -> list[CheckResult]:
    """Compare flow rows with an expectation file.

    Parameters
    ----------
    table : pyarrow.Table
        Flow rows.
    path : str or path
        TOML, or the NDJSON of an earlier run (``.ndjson`` or ``.jsonl``).

    Returns
    -------
    list of CheckResult
        One for each check; for NDJSON one for the rows and one for each column that both have.

    Raises
    ------
    ResourceError
        If the file cannot be read.
    ClassifierError
        If it says nothing that can be checked; the error names the line where it is known.
    PolicyError
        If a condition cannot be used.
    """
    return open_expectations(path)(table)


def open_expectations(path: str | os.PathLike[str]) -> Expectations:
    """Read an expectation file; return what compares flow rows with it.

    Raises as ``check_expectations`` does, before there are rows.
    """
    text = _text_of(Path(path))
    if Path(path).suffix.lower() in _NDJSON_SUFFIXES:
        rows = _rows(text, str(path))
        return lambda table: compare_rows(table, rows)
    checks = read_checks(text, str(path))
    return lambda table: [_result(check, table) for check in checks]


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError as error:
        remedy = "check the name"
        raise ResourceError("no such file", path=str(path), remedy=remedy) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        remedy = "give a TOML file of checks, or the NDJSON of a run"
        raise ResourceError(f"cannot be read ({reason})", path=str(path), remedy=remedy) from error


def _rows(text: str, path: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            row = error
        if not isinstance(row, dict):
            remedy = "give the NDJSON of an earlier run"
            raise ClassifierError("is no JSON object", path=path, line=number, remedy=remedy)
        rows.append(row)
    return rows


def read_checks(text: str, path: str) -> list[Check]:
    """Read the checks of a TOML file.

    Raises
    ------
    ClassifierError
        If it is no TOML, has no checks, or a check has a key or value that means nothing.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        reason = str(error).split(" (at ")[0]
        remedy = "correct the TOML"
        raise ClassifierError(reason, path=path, line=line, remedy=remedy) from error
    except RecursionError as error:
        remedy = "write checks as [[check]] tables"
        raise ClassifierError("is nested too deeply", path=path, remedy=remedy) from error
    unknown = sorted(set(content) - {"check"})
    checks = content.get("check")
    if unknown or not isinstance(checks, list) or not checks:
        problem = f"'{safe_text(unknown[0])}' is not known" if unknown else "there are no checks"
        raise ClassifierError(problem, path=path, remedy="write checks as [[check]] tables")
    lines = [
        number
        for number, line in enumerate(text.split("\n"), start=1)
        if re.match(r"\s*\[\[\s*check\s*\]\]", line)
    ]
    places: Sequence[int | None] = lines if len(lines) == len(checks) else [None] * len(checks)
    return [_check(given, k, path, places[k - 1]) for k, given in enumerate(checks, start=1)]


def _check(given: object, number: int, path: str, line: int | None) -> Check:
    def refuse(problem: str, remedy: str) -> ClassifierError:
        return ClassifierError(f"check {number}: {problem}", path=path, line=line, remedy=remedy)

    if not isinstance(given, dict):
        raise refuse("is no table", "write checks as [[check]] tables")
    for key, value in given.items():
        if key not in _KEYS:
            raise refuse(f"'{safe_text(key)}' is not known", f"use {', '.join(_KEYS)}")
        if key in _COUNTS and (type(value) is not int or value < 0):
            raise refuse(f"{key} is no count", "give a whole number from 0")
        if key not in _COUNTS and not isinstance(value, str):
            raise refuse(f"{key} is no text", "put it in quotes")
    if "when" not in given:
        raise refuse("there is no 'when'", 'say which flows are meant: when = "is_vpn"')
    if "count" in given and ("at_least" in given or "at_most" in given):
        raise refuse("count stands beside at_least or at_most", "keep one of them")
    if given.get("verdict", "allow") not in [v.label for v in Verdict]:
        choices = ", ".join(v.label for v in Verdict)
        raise refuse(f"'{safe_text(given['verdict'])}' is no verdict", f"use {choices}")
    when = Expression.parse(given["when"], columns=(*COLUMNS, *_LABELS), path=path, line=line)
    least, most = _bounds(given)
    if most is not None and most < least:
        raise refuse("at_most is less than at_least", "exchange them")
    values = tuple((key, given[key]) for key in _VALUES if key in given)
    return Check(given.get("name") or given["when"], when, least, most, values)


def _bounds(given: dict[str, Any]) -> tuple[int, int | None]:
    if "count" in given:
        return given["count"], given["count"]
    if "at_least" in given or "at_most" in given:
        return given.get("at_least", 0), given.get("at_most")
    return 1, None


def _result(check: Check, table: pa.Table) -> CheckResult:
    met = table.filter(pa.array(check.when.evaluate(table)))
    problems = []
    n = met.num_rows
    if n < check.least or (check.most is not None and n > check.most):
        problems.append(f"{n} flows meet it, expected {_range(check)}{_examples(met)}")
    for column, expected in check.values:
        values = met.column(column).to_pylist()
        wrong = [row for row, value in enumerate(values) if not _same(column, value, expected)]
        if wrong:
            ids = met.column("flow_id").to_pylist()
            shown = [f"flow {ids[row]} has '{values[row]}'" for row in wrong[:_SHOWN]]
            more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            problems.append(f"{column} is not '{expected}': {', '.join(shown)}{more}")
    message = safe_text("; ".join(problems), 2000)
    return CheckResult(safe_text(check.name), not problems, message)


def _same(column: str, value: str, expected: str) -> bool:
    if column == "family":
        return canonical_family(value) == canonical_family(expected)
    return value == expected


def _range(check: Check) -> str:
    if check.most is None:
        return f"{check.least} at least"
    if check.most == check.least:
        return str(check.least)
    return f"{check.least} to {check.most}" if check.least else f"{check.most} at most"


def _examples(met: pa.Table) -> str:
    ids = met.column("flow_id").slice(0, _SHOWN).to_pylist()
    more = ", ..." if met.num_rows > _SHOWN else ""
    return f" (flows {', '.join(map(str, ids))}{more})" if ids else ""


# XML 1.0 allows of the C0 controls tab and line ends alone, and neither surrogates nor FFFE, FFFF.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml(text: str) -> str:
    return _NO_XML.sub("�", text)


def junit_xml(results: Sequence[CheckResult], target: "str | os.PathLike[str] | BinaryIO") -> None:
    """Write results as JUnit XML, which test dashboards read.

    Parameters
    ----------
    results : sequence of CheckResult
    target : path, ``-`` for standard output, or binary file object

    Raises
    ------
    ResourceError
        If the place cannot be written.
    """
    failures = sum(not result.passed for result in results)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name="classifier" tests="{len(results)}" failures="{failures}" errors="0">',
    ]
    for result in results:
        name = quoteattr(_xml(result.name))
        case = f'  <testcase classname="expectations" name={name}'
        if result.passed:
            lines.append(f"{case}/>")
            continue
        message = _xml(result.message)
        lines += [
            f"{case}>",
            f"    <failure message={quoteattr(message)}>{escape(message)}</failure>",
            "  </testcase>",
        ]
    write_text("\n".join([*lines, "</testsuite>"]) + "\n", target)

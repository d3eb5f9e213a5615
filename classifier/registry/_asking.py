"""What the window is asked, checked: who and why, times, words, rows; and what it looks up first."""

import datetime
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.errors import RegistryError
from classifier.registry import _database
from classifier.registry._fields import (
    COLUMN_NAMES,
    DETAIL_NAMES,
    OPEN_END,
    shown,
    time_text,
)
from classifier.registry._machine import Amendment, Row
from classifier.registry._parse import Raw, Registrations, binary_column, parse
from classifier.registry.store import time_ns

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "Time",
    "amendment_of",
    "checked_rows",
    "line_of_text",
    "next_id",
    "required_documents",
    "time_field",
    "words",
]

#: A time as callers give it: ISO 8601, UTC nanoseconds since 1970, or a datetime.
Time = str | int | datetime.datetime

_TEXT_COLUMNS = (*COLUMN_NAMES, *DETAIL_NAMES)
_MOST_TEXT = 4096


def checked_rows(name: str, made: Sequence[Row]) -> Registrations:
    """Read rows as a register would be; raise for the first that cannot be used."""
    try:
        encoded = [[text.encode() for text in row.texts()] for row in made]
        columns = {
            key: binary_column([fields[k] for fields in encoded])
            for k, key in enumerate(_TEXT_COLUMNS)
        }
    except (AttributeError, UnicodeEncodeError):
        problem, remedy = "a field is not a text", "give texts of Unicode characters"
        raise RegistryError(problem, path=name, remedy=remedy) from None
    details = {key: columns.pop(key) for key in DETAIL_NAMES}
    lines = np.arange(1, len(made) + 1)
    try:
        return parse(Raw(name, columns, lines, [], details=details), skip_bad_rows=False)
    except RegistryError as error:
        error.line = None  # the field is named; a row of an application has no number
        raise


def line_of_text(what: str, text: object) -> str:
    """Check who did something, or why."""
    if not isinstance(text, str):
        problem, remedy = f"{text!r} is not a text", f"give {what} as a line of text"
        raise RegistryError(problem, path=what, remedy=remedy)
    good = text.strip() and len(text) <= _MOST_TEXT
    if not good or any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text):
        problem = f"{shown(text)} does not say who" if what == "by" else "there is no reason"
        raise RegistryError(
            problem,
            path=what,
            remedy=f"give {what} as a line of text: it is kept with the change",
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RegistryError("is not Unicode", path=what, remedy="write other characters") from None
    return text


def words(what: str, given: str | Iterable[str]) -> list[str]:
    """Return words that are written with spaces between."""
    listed = given.split() if isinstance(given, str) else [str(word) for word in given]
    for word in listed:
        if not word or any(c.isspace() for c in word):
            raise RegistryError(
                f"{shown(word)} is no name of a {what}",
                path=what,
                remedy="write it without spaces",
            )
    return listed


def time_field(what: str, time: Time | None, default_ns: int) -> str:
    """Return a time as a register writes it."""
    if time is None or time == "":
        return time_text(default_ns)
    ns = time_ns(time, what)
    return time.strip() if isinstance(time, str) else time_text(ns)


def amendment_of(changes: dict[str, Any]) -> Amendment:
    known = set(Amendment.__dataclass_fields__)
    unknown = sorted(set(changes) - known)
    if unknown:
        raise RegistryError(
            f"{unknown[0]} is no field that can be amended",
            path="amend",
            remedy=f"name {', '.join(sorted(known))}",
        )
    said = dict(changes)
    for name in ("documents", "add_prefixes", "remove_prefixes"):
        if name in said:
            value = said[name]
            said[name] = (value,) if isinstance(value, str) else tuple(value or ())
    if "documents" in said:
        said["documents"] = tuple(words("document", said["documents"]))
    if said.get("flags") is not None:
        said["flags"] = " ".join(words("flag", said["flags"]))
    for name in ("valid_from", "valid_to"):
        if said.get(name) is not None:
            said[name] = time_field(name, said[name], OPEN_END)
    for name in ("proto", "port"):
        if said.get(name) is not None:
            said[name] = str(said[name])
    return Amendment(**said)


def required_documents(connection: "Connection", rows: Sequence[Row]) -> list[str]:
    """Return the documents that the category of an application must hand in."""
    import sqlalchemy

    table = sqlalchemy.table(
        _database.CHANGES, sqlalchemy.column("action"), sqlalchemy.column("details")
    )
    query = sqlalchemy.select(table.c.details).where(table.c.action == "init")
    found = connection.execute(query).first()
    try:
        required = json.loads(found[0]).get("require", {}) if found else {}
    except (ValueError, AttributeError):
        required = {}
    if not isinstance(required, dict) or not all(isinstance(v, list) for v in required.values()):
        return []
    category = next((row.category for row in rows if row.open), rows[-1].category)
    return [*required.get("*", ()), *required.get(category, ())]


def next_id(connection: "Connection") -> str:
    """Return the first of ``R-000001`` ... that is not taken, after those there are."""
    import sqlalchemy

    table = sqlalchemy.table(_database.TABLE, sqlalchemy.column("registration_id"))
    column = table.c.registration_id
    mine = sqlalchemy.select(column).where(column.like("R-%"))
    # The last of each length, if these are numbers, without reading a million names.
    if connection.dialect.name == "sqlite":
        last = connection.exec_driver_sql(_database.LAST_OF_EACH_LENGTH, ("R-0", "R-:"))
    else:
        size = sqlalchemy.func.char_length(column)
        last = connection.execute(
            mine.with_only_columns(sqlalchemy.func.max(column)).group_by(size)
        )
    names = [str(name) for name in last.scalars() if name is not None]
    if not all(name[2:].isascii() and name[2:].isdigit() for name in names):
        names = [str(name) for name in connection.execute(mine.distinct()).scalars()]
    taken = [name[2:] for name in names if name.startswith("R-") and name[2:].isdecimal()]
    numbers = [int(number) for number in taken if number.isascii() and len(number) < 12]
    return f"R-{max(numbers, default=0) + 1:06d}"

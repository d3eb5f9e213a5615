"""Columns that SQLite joins are the columns that are read row by row."""

import contextlib
import sqlite3

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from classifier.registry import _database, _reading
from classifier.registry._parse import FIELD_LIMIT

NAMES = ("registration_id", "organisation")

fields = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["", "\x1f", "a\x00b", "x" * 4096, "x" * 4097, "\u00e4\u00f6", "12"]),
    st.binary(max_size=4),
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
)
numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 9)


@settings(deadline=None, max_examples=150)
@example({}, "", "UTF-8")
@example({1: ("", ""), 2: ("a", "b")}, "", "UTF-8")
@example({-(2**63): (None, b"\xff"), 2**63 - 1: ("a\x1fb", "c")}, "", "UTF-8")
@example(dict.fromkeys(range(9), ("x" * 4096, "y")), "", "UTF-8")
@given(
    st.dictionaries(numbers, st.tuples(fields, fields), max_size=9),
    st.sampled_from(["", "", " WITHOUT ROWID"]),
    st.sampled_from(["UTF-8", "UTF-8", "UTF-16le"]),
)
def test_joined_columns_are_those_read_row_by_row(tmp_path_factory, rows, kind, encoding):
    path = tmp_path_factory.mktemp("register") / "r.db"
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.execute(f"PRAGMA encoding='{encoding}'")
        made.execute(
            f'CREATE TABLE registrations ("row" INTEGER PRIMARY KEY, registration_id, organisation){kind}'
        )
        made.executemany(
            "INSERT INTO registrations VALUES (?, ?, ?)", [(k, *v) for k, v in rows.items()]
        )
    with _database.connected(str(path)) as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_reading, "_JOINED", 3)
        asked = connection, "registrations", ("row", *NAMES), "row"
        joined = _reading._joined_columns(*asked)
        by_row = _reading._columns_by_row(*asked, None)
        assert _reading._columns(*asked, None) == by_row
    plain = all(
        len(str(value)) < 4097 and "\x1f" not in str(value) and "\\x1f" not in str(value)
        for row in rows.values()
        for value in row
    )
    if plain and not kind and encoding == "UTF-8":
        assert joined == by_row  # and not only because the other way was taken
    if joined is not None:
        assert joined == by_row


def test_the_longest_fields_that_may_be_are_joined(tmp_path):
    path = tmp_path / "r.db"
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE registrations (registration_id)")
        made.executemany("INSERT INTO registrations VALUES (?)", [("x" * FIELD_LIMIT,)] * 1001)
    with _database.connected(str(path)) as connection:
        found = _reading._joined_columns(connection, "registrations", ("registration_id",), None)
    assert found["registration_id"].to_pylist() == [b"x" * FIELD_LIMIT] * 1001


def test_rows_that_their_numbers_do_not_order_are_read_in_order(tmp_path):
    path = tmp_path / "r.db"
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE registrations (row, registration_id)")
        made.executemany("INSERT INTO registrations VALUES (?, ?)", [(3, "c"), (1, "a"), (2, "b")])
    with _database.connected(str(path)) as connection:
        asked = connection, "registrations", ("row", "registration_id"), "row"
        assert _reading._joined_columns(*asked) is None
        assert _reading._columns(*asked, None)["registration_id"].to_pylist() == [b"a", b"b", b"c"]
        unordered = connection, "registrations", ("registration_id",), None
        assert _reading._joined_columns(*unordered)["registration_id"].to_pylist() == [
            b"c",
            b"a",
            b"b",
        ]


@pytest.mark.parametrize("name", ["rowid", "RowID"])
def test_a_column_that_is_called_rowid_numbers_no_rows(tmp_path, name):
    path = tmp_path / "r.db"
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.execute(f"CREATE TABLE registrations ({name}, registration_id)")
        made.executemany(
            "INSERT INTO registrations VALUES (?, ?)", [(3, "c"), ("z", "a"), (3, "b")]
        )
    with _database.connected(str(path)) as connection:
        asked = connection, "registrations", ("registration_id",), None
        assert _reading._joined_columns(*asked) is None
        assert _reading._columns(*asked, None)["registration_id"].to_pylist() == [b"c", b"a", b"b"]

"""Registers as CSV, JSON and databases: what is read, and what is said about the rest."""

import json
import sqlite3

import numpy as np
import pytest

from classifier.errors import RegistryError
from classifier.registry import Registry
from classifier.registry._fields import OPEN_END, BadField, parse_time

HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
GOOD = (
    "R-1,Example House,software_house,203.0.113.64/28,server,any,any,2021-03-01,2027-02-28,active"
)
NAMES = HEADER.split(",")


@pytest.fixture
def register(tmp_path):
    """Write rows below the header, return the path."""

    def write(*rows, header=HEADER, name="registered.csv", end="\n"):
        path = tmp_path / name
        text = end.join([header, *rows]) + end
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return path

    return write


def row(**changed):
    """Return the good row with fields changed."""
    fields = dict(zip(NAMES, GOOD.split(","), strict=True)) | changed
    return ",".join(fields[name] for name in NAMES)


def message(path, **options):
    with pytest.raises(RegistryError) as caught:
        Registry.open(path, **options)
    return str(caught.value)


WHOLE_LINES = [
    (
        {"prefix": "10.1.0.0/33"},
        "registered.csv:3: '10.1.0.0/33' is not a prefix; lengths end at 32 for IPv4",
    ),
    (
        {"prefix": "2001:db8::/129"},
        "registered.csv:3: '2001:db8::/129' is not a prefix; lengths end at 128 for IPv6",
    ),
    (
        {"prefix": "10.1.2.3/8"},
        ("registered.csv:3: '10.1.2.3/8' has bits set behind its length; "
        "write '10.0.0.0/8' for the network or '10.1.2.3/32' for the address"),
    ),
    (
        {"prefix": "vpn.example"},
        ("registered.csv:3: 'vpn.example' is not a prefix; "
        "write it like 203.0.113.64/28 or 2001:db8::/32"),
    ),
    (
        {"prefix": ""},
        "registered.csv:3: the prefix is empty; write it like 203.0.113.64/28 or 2001:db8::/32",
    ),
    (
        {"prefix": "fe80::1%eth0"},
        ("registered.csv:3: 'fe80::1%eth0' is not a prefix; "
        "write it like 203.0.113.64/28 or 2001:db8::/32"),
    ),
    (
        {"prefix": "10.0.0.0/-1"},
        "registered.csv:3: '10.0.0.0/-1' is not a prefix; lengths end at 32 for IPv4",
    ),
    (
        {"side": "both"},
        "registered.csv:3: 'both' is not a side; write client, server or either",
    ),
    (
        {"status": "ACTIVE"},
        ("registered.csv:3: 'ACTIVE' is not a status; "
        "write active, pending, rejected, revoked or expired"),
    ),
    (
        {"proto": "quic"},
        ("registered.csv:3: 'quic' is not a protocol; "
        "write any, tcp, udp, esp ... or a number up to 255"),
    ),
    (
        {"proto": "256"},
        ("registered.csv:3: '256' is not a protocol; "
        "write any, tcp, udp, esp ... or a number up to 255"),
    ),
    (
        {"port": "65536"},
        "registered.csv:3: '65536' is not a port; write any or a number from 1 to 65535",
    ),
    ({"port": "0"}, "registered.csv:3: '0' is not a port; write any or a number from 1 to 65535"),
    ({"port": ""}, "registered.csv:3: port is empty; write any or a number from 1 to 65535"),
    (
        {"proto": "esp", "port": "500"},
        "registered.csv:3: port 500 is given but esp has no ports; write any as port",
    ),
    (
        {"valid_from": "2021-13-01"},
        ("registered.csv:3: valid_from '2021-13-01' is not a date; "
        "write ISO 8601 like 2021-03-01 or 2021-03-01T09:30Z"),
    ),
    (
        {"valid_from": ""},
        ("registered.csv:3: valid_from is empty; "
        "write ISO 8601 like 2021-03-01 or 2021-03-01T09:30Z"),
    ),
    (
        {"valid_to": "01.03.2021"},
        ("registered.csv:3: valid_to '01.03.2021' is not a date; "
        "write ISO 8601 like 2021-03-01 or 2021-03-01T09:30Z"),
    ),
    (
        {"valid_to": "2021-03-01"},
        ("registered.csv:3: valid_to '2021-03-01' is not after valid_from '2021-03-01'; "
        "valid_to is the first day that is no longer valid; leave it empty for no end"),
    ),
    (
        {"registration_id": ""},
        "registered.csv:3: registration_id is empty; give each registration a name",
    ),
    (
        {"organisation": "a\0b"},
        "registered.csv:3: organisation holds the control character '\\x00'; remove it",
    ),
    (
        {"organisation": "a\x1b[2Jb"},
        "registered.csv:3: organisation holds the control character '\\x1b'; remove it",
    ),
    (
        {"category": "a\x9bb"},
        "registered.csv:3: category holds the control character '\\x9b'; remove it",
    ),
    ({"organisation": "\udcff"}, "registered.csv:3: organisation is not UTF-8; save the file as UTF-8"),
    (
        {"organisation": "x" * 5000},
        "registered.csv:3: organisation has 5,000 bytes; fields end at 4,096",
    ),
    (
        {"organisation": "a,b"},
        ("registered.csv:3: the row has 11 fields and the header 10; "
        'put a text with commas between "'),
    ),
    (
        {"organisation": '"a"b'},
        'registered.csv:3: text follows a closing quote; write a quote inside a text as ""',
    ),
    (
        {"status": '"active'},
        ("registered.csv:3: a quoted field is never closed; "
        'end it with "; nothing after it is read'),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "expected"), WHOLE_LINES)
def test_bad_row_is_named_with_file_line_and_remedy(register, changed, expected):
    assert message(register(GOOD, row(**changed))) == expected


@pytest.mark.parametrize(("changed", "expected"), WHOLE_LINES)
def test_bad_row_is_skipped_and_listed(register, changed, expected):
    registry = Registry.open(register(GOOD, row(**changed)), skip_bad_rows=True)
    assert len(registry) == 1
    assert [str(problem) for problem in registry.problems] == [expected]


def test_error_has_path_line_and_remedy_as_attributes(register):
    with pytest.raises(RegistryError) as caught:
        Registry.open(register(row(side="both")))
    error = caught.value
    assert (error.path, error.line) == ("registered.csv", 2)
    assert error.remedy == "write client, server or either"


def test_first_problem_says_how_many_more_there_are(register):
    bad = [row(side="both"), GOOD, row(port="x"), "short", row(prefix="no")]
    assert message(register(*bad)).startswith("registered.csv:2: 'both' is not a side")
    more = "(3 more rows are bad; skip_bad_rows=True, as a command --skip-bad-rows, loads the rest)"
    assert more in message(register(*bad))
    registry = Registry.open(register(*bad), skip_bad_rows=True)
    assert [problem.line for problem in registry.problems] == [2, 4, 5, 6]


def test_a_row_with_too_few_fields_is_told_to_have_empty_ones(register):
    assert message(register(GOOD, "R-2,Holder")) == (
        "registered.csv:3: the row has 2 fields and the header 10; "
        "write an empty field where there is nothing to say"
    )


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2021-03-01", "2021-03-01"),
        (" 2021-03-01 ", "2021-03-01"),
        ("2020-02-29", "2020-02-29"),
        ("1969-12-31", "1969-12-31"),
        ("2021-W09-1", "2021-03-01"),
        ("20210301", "2021-03-01"),
        ("2021-03-01T00:00+01:00", "2021-02-28T23:00"),
    ],
)
def test_dates_are_read_in_each_form_of_iso_8601(text, ns):
    assert parse_time(text) == int(np.datetime64(ns, "ns").astype(np.int64))


@pytest.mark.parametrize(
    "text", ["2021-02-29", "2021-13-01", "2021-3-1", "0000-01-01", "2021-03-1x"]
)
def test_what_is_no_date_is_refused_though_it_looks_like_one(text):
    with pytest.raises(BadField, match="is not a date"):
        parse_time(text)


def test_dates_beyond_64_bits_are_the_nearest_that_there_are():
    assert parse_time("9999-12-31") == OPEN_END
    assert parse_time("0001-01-01") == -OPEN_END


def test_a_row_too_short_is_the_first_problem_if_it_comes_first(register):
    assert message(register("short", row(side="both"))).startswith(
        "registered.csv:2: the row has 1"
    )


def test_no_more_than_ten_thousand_problems_are_kept(register):
    path = register(GOOD, *["x"] * 10_500, *[row(side="no")] * 10_500)
    problems = Registry.open(path, skip_bad_rows=True).problems
    assert len(problems) == 10_001
    assert str(problems[-1]) == "registered.csv: 11000 more rows are bad; mend those above first"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", f"r.csv: is empty; the first line is {HEADER}"),
        (b"\n\n", f"r.csv: is empty; the first line is {HEADER}"),
        (b"\xff\xfea\0", "r.csv: is UTF-16; save it as UTF-8"),
        (
            HEADER.replace(",port", "").encode(),
            f"r.csv:1: the header lacks port; the first line is {HEADER}",
        ),
        (
            HEADER.replace(",", ";").encode(),
            f"r.csv:1: the header lacks {', '.join(NAMES)}; separate the columns by commas",
        ),
        (
            f"{HEADER},side".encode(),
            "r.csv:1: the header names 'side' twice; name each column once",
        ),
        (b"\xff", f"r.csv:1: the header cannot be read; the first line is {HEADER}"),
        (b'"a', f"r.csv:1: the header cannot be read; the first line is {HEADER}"),
    ],
)
def test_unusable_header_is_refused_even_with_skip_bad_rows(tmp_path, content, expected):
    path = tmp_path / "r.csv"
    path.write_bytes(content)
    assert message(path, skip_bad_rows=True) == expected


def test_missing_file_says_where_it_was_looked_for(tmp_path):
    path = tmp_path / "none.csv"
    assert message(path) == f"none.csv: no such file or directory; looked for it at {path}"
    path = tmp_path / "none.db"
    assert message(path) == f"none.db: no such file; looked for it at {path}"
    assert not path.exists()


def test_unknown_suffix_is_refused(tmp_path):
    assert message(tmp_path / "r.xlsx") == (
        "r.xlsx: is no register; use a .csv, .json or .db file or an SQLAlchemy URL"
    )


def test_header_alone_is_an_empty_register(register):
    registry = Registry.open(register())
    assert len(registry) == 0
    assert registry.compile().lookup("10.0.0.1") is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_any_kind_and_blank_lines_keep_line_numbers(register, end):
    path = register(GOOD, "", row(registration_id='"a""b, c"'), "", row(side="both"), end=end)
    registry = Registry.open(path, skip_bad_rows=True)
    assert registry.rows["registration_id"].to_pylist() == ["R-1", 'a"b, c']
    assert registry.problems[0].line == 6


def test_line_break_inside_quotes_counts_as_a_line(register):
    path = register(row(organisation='"two\nlines"'), row(side="both"))
    problems = Registry.open(path, skip_bad_rows=True).problems
    assert [problem.line for problem in problems] == [2, 4]


def test_order_of_columns_is_free_and_further_ones_are_ignored(register):
    names = ["note", *reversed(NAMES)]
    fields = ["hello, x", *reversed(GOOD.split(","))]
    path = register(",".join(f'"{field}"' for field in fields), header="\ufeff" + ",".join(names))
    assert Registry.open(path).rows.to_pylist() == [dict(zip(NAMES, GOOD.split(","), strict=True))]


def test_missing_line_end_at_the_end_of_the_file_is_fine(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text(f"{HEADER}\n{GOOD}")
    assert len(Registry.open(path)) == 1


def test_spaces_around_codes_and_words_are_ignored(register):
    path = register(row(prefix=" 10.0.0.0/8 ", side=" server", port=" 443 ", proto="TCP"))
    table = Registry.open(path).compile()
    assert table.lookup("10.0.0.1", proto="tcp", port=443) is not None
    assert table.lookup("10.0.0.1", proto="udp") is None


def test_every_cut_of_a_register_opens_or_says_why(register):
    whole = register(row(organisation='"A, ""B"""'), GOOD, end="\r\n").read_bytes()
    for stop in range(len(whole)):
        path = register(name="cut.csv")
        path.write_bytes(whole[:stop])
        if stop >= len(HEADER):
            registry = Registry.open(path, skip_bad_rows=True)
            assert len(registry) + len(registry.problems) <= 2
        else:
            message(path, skip_bad_rows=True)


ITEM = dict(zip(NAMES, GOOD.split(","), strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "r.json: is empty; write [{...}, ...], one object per row"),
        ("{}", "r.json: is not a JSON list; write [{...}, ...], one object per row"),
        ("[\n{]", "r.json:2: is not JSON; write objects like those of the export"),
        ("[1 2]", "r.json:1: is not JSON; write objects like those of the export"),
        ("[", "r.json:1: is not JSON; write objects like those of the export"),
        ("[" * 100_000, "r.json:1: is not JSON; write objects like those of the export"),
        ("[]\n\nx", "r.json:3: text follows the list; write one list per file"),
        ("[\n\n1]", "r.json:3: the item is not an object; give it the keys registration_id"),
        ("[{}]", f"r.json:1: the object lacks {', '.join(NAMES)}; its keys are"),
        (json.dumps([ITEM | {"side": 3}]), "r.json:1: side is not a text"),
        (json.dumps([ITEM | {"port": True}]), "r.json:1: port is not a text"),
        (json.dumps([ITEM | {"port": 10**30}]), "r.json:1: '?' is not a port"),
        (json.dumps([ITEM | {"organisation": "\ud800"}]), "r.json:1: organisation is not UTF-8"),
        (json.dumps([ITEM | {"organisation": "a\0"}]), "r.json:1: organisation holds the control"),
    ],
)
def test_bad_json_is_named_with_its_line(tmp_path, text, expected):
    path = tmp_path / "r.json"
    path.write_text(text)
    assert message(path).startswith(expected)


def test_json_numbers_and_null_are_read(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps([ITEM | {"proto": 17, "port": 1194, "valid_to": None, "more": []}]))
    facts = Registry.open(path).rows.to_pylist()[0]
    assert (facts["proto"], facts["port"], facts["valid_to"]) == ("17", "1194", "")


def database(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


CREATE = f"CREATE TABLE registrations ({HEADER})"
INSERT = f"INSERT INTO registrations VALUES {tuple(GOOD.split(','))}"


def test_a_table_of_ones_own_is_read_without_entry_and_time(tmp_path):
    path = database(tmp_path / "own.db", CREATE, INSERT)
    registry = Registry.open(path)
    assert registry.rows.to_pylist() == [ITEM]
    assert len(registry.compile(known_at="1990-01-01")) == 1


def test_a_bad_database_row_is_named_by_its_number(tmp_path):
    path = database(
        tmp_path / "own.db",
        CREATE,
        INSERT,
        INSERT,
        "UPDATE registrations SET side=x'ff' WHERE rowid=2",
    )
    assert message(path).startswith("own.db:2: side is not UTF-8")


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["CREATE TABLE other (x)"], "h.db: has no table registrations"),
        (["CREATE TABLE registrations (x)"], "h.db: the table registrations lacks registration_id"),
        (
            ["CREATE TABLE t (x)", "CREATE VIEW registrations AS SELECT * FROM t"],
            "h.db: registrations is not a plain table",
        ),
        (
            [CREATE[:-1] + ", row AS (zeroblob(1000000000)))"],
            "h.db: registrations is not a plain table",
        ),
        (
            [CREATE[:-1] + ", entry)", INSERT[:-1] + ", 'x')"],
            "h.db: a row or entry number is no number",
        ),
        (
            [CREATE[:-1] + ", recorded_at)", INSERT[:-1] + ", 'yesterday')"],
            "h.db:1: recorded_at 'yesterday' is not a date",
        ),
    ],
)
def test_a_database_of_another_kind_is_refused(tmp_path, statements, expected):
    assert message(database(tmp_path / "h.db", *statements)).startswith(expected)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "r.db"
    path.write_bytes(b"registration_id" * 100)
    assert message(path).startswith("r.db: the database says: file is not a database")


def test_a_url_never_shows_its_password_and_names_a_missing_driver():
    text = message("nosuchdriver://user:secret@host/db")
    assert "secret" not in text
    assert text.startswith("nosuchdriver://user:***@host/db: ")
    assert message("://").startswith("://...: is not an SQLAlchemy URL")


def test_an_sqlite_url_is_the_same_as_its_file(tmp_path):
    path = database(tmp_path / "own.db", CREATE, INSERT)
    assert Registry.open(f"sqlite:///{path}").rows.equals(Registry.open(path).rows)

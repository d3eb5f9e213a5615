"""The compiled table, flows against it, and which endpoint is the client."""

import datetime
import gc
import inspect
import ipaddress
import itertools
import json
import os
import pickle

import build
import numpy as np
import pytest

from classifier import _native, _translate
from classifier._jit import plain
from classifier.errors import ClassifierError, RegistryError
from classifier.registry import (
    NEAR_MISSES,
    Registry,
    Table,
    _one,
    _table_kernels,
    _text_kernels,
    client_is_orig,
    inside,
    match_flows,
)
from classifier.registry import table as table_module
from classifier.registry._index import MAX_ROWS_PER_PREFIX

HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
DAY = 86_400 * 10**9


@pytest.fixture
def table(tmp_path):
    """Compile rows given as (prefix, side, proto, port, valid_from, valid_to, status)."""

    def compile_rows(*rows):
        path = tmp_path / "r.csv"
        lines = [f"R-{i},Holder,bank," + ",".join(row) for i, row in enumerate(rows)]
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        return Registry.open(path).compile()

    return compile_rows


def entry(
    prefix, side="server", proto="any", port="any", start="2021-03-01", end="", status="active"
):
    return prefix, side, proto, port, start, end, status


def ns(text):
    return int(np.datetime64(text, "ns").astype(np.int64))


def v4(*texts):
    return np.array([int(ipaddress.IPv4Address(text)) for text in texts], np.uint32)


def v6(*texts):
    values = [int(ipaddress.IPv6Address(text)) for text in texts]
    return np.array([(value >> 64, value & (2**64 - 1)) for value in values], np.uint64)


def test_valid_from_is_inclusive_and_valid_to_exclusive(table):
    compiled = table(entry("10.0.0.0/8", start="2021-03-01", end="2021-03-02"))
    start, end = ns("2021-03-01"), ns("2021-03-02")
    times = np.array([start - 1, start, end - 1, end])
    assert compiled.match(v4(*["10.1.1.1"] * 4), times).tolist() == [-1, 0, 0, -1]
    assert compiled.match(v4("10.1.1.1")).tolist() == [0]


def test_times_can_be_texts_numbers_and_datetimes(table):
    compiled = table(entry("10.0.0.0/8", end="2027-01-01"))
    zone = datetime.timezone(datetime.timedelta(hours=5))
    for at in (
        "2027-01-01T04:59+05:00",
        ns("2026-12-31"),
        datetime.datetime(2027, 1, 1, 4, tzinfo=zone),
    ):
        assert compiled.lookup("10.0.0.1", at=at) is not None
    assert compiled.lookup("10.0.0.1", at="2027-01-01") is None


def test_the_longest_prefix_that_applies_wins_not_the_longest(table):
    compiled = table(
        entry("10.0.0.0/8"),
        entry("10.0.0.0/24", status="revoked"),
        entry("10.0.0.0/28", side="client"),
        entry("10.0.0.0/30", end="2022-01-01"),
        entry("10.0.0.1", proto="tcp"),
    )
    query = {"at": "2024-01-01", "side": "server", "proto": "udp", "port": 53}
    assert compiled.lookup("10.0.0.1", **query).row == 0
    assert compiled.lookup("10.0.0.1", **query | {"proto": "tcp"}).row == 4
    assert compiled.lookup("10.0.0.1", **query | {"side": "client"}).row == 2
    assert compiled.lookup("10.0.0.1", **query | {"at": "2021-06-01"}).row == 3


def test_ties_go_to_the_narrower_scope_then_the_earlier_row(table):
    compiled = table(
        entry("10.0.0.0/8"),
        entry("10.0.0.0/8"),
        entry("10.0.0.0/8", proto="udp"),
        entry("10.0.0.0/8", port="53"),
        entry("10.0.0.0/8", proto="udp", port="53"),
    )
    addresses = v4(*["10.0.0.1"] * 4)
    rows = compiled.match(addresses, proto=np.array([17, 17, 6, 6]), port=np.array([53, 1, 53, 1]))
    assert rows.tolist() == [4, 2, 3, 0]


def test_match_says_what_the_register_says(table):
    match = table(entry("203.0.113.64/28", end="2027-02-28")).lookup("203.0.113.79", side="server")
    assert match.registration_id == "R-0"
    assert (match.organisation, match.category, match.side, match.row) == (
        "Holder",
        "bank",
        "server",
        0,
    )
    assert (match.prefix, match.valid_from, match.valid_to) == (
        "203.0.113.64/28",
        "2021-03-01",
        "2027-02-28",
    )


def test_mapped_addresses_are_ipv4_in_register_and_query(table):
    compiled = table(entry("::ffff:10.0.0.0/104"), entry("::/0"), entry("2001:db8::/32"))
    assert compiled.match(v4("10.0.0.1", "11.0.0.1")).tolist() == [0, -1]
    asked = v6("::ffff:10.0.0.1", "::ffff:11.0.0.1", "::1", "2001:db8::1")
    assert compiled.match(asked).tolist() == [0, -1, 1, 2]
    assert compiled.lookup("::ffff:10.0.0.1").row == 0


def test_sides_can_differ_by_query(table):
    compiled = table(entry("10.0.0.0/8", side="client"), entry("10.0.0.0/16", side="either"))
    addresses = v4("10.0.0.1", "10.1.0.1", "10.1.0.1", "10.1.0.1")
    rows = compiled.match(addresses, side=["server", "server", "client", None])
    assert rows.tolist() == [1, -1, 0, 0]


def test_many_addresses_at_once_equal_one_at_a_time(table):
    rng = np.random.default_rng(7)
    rows = []
    values, lengths = rng.integers(0, 1 << 32, 600), rng.integers(8, 33, 600)
    for value, length in zip(values.tolist(), lengths.tolist(), strict=True):
        base = value >> (32 - length) << (32 - length)
        rows.append(entry(f"{ipaddress.IPv4Address(base)}/{length}"))
        rows.append(entry(f"{ipaddress.IPv6Address(base << 94 | 1 << 126)}/{length + 2}"))
    compiled = table(*rows)
    addresses = rng.integers(0, 1 << 32, 5003).astype(np.uint32)
    addresses[::3] = v4(*[row[0].split("/")[0] for row in rows[::2]]).repeat(3)[
        : addresses[::3].size
    ]
    single = [compiled.match(addresses[i : i + 1])[0] for i in range(0, 5003, 7)]
    assert compiled.match(addresses)[::7].tolist() == single
    wide = np.stack(
        [addresses.astype(np.uint64) << 30 | np.uint64(1 << 62), addresses.astype(np.uint64)], 1
    )
    wide[::11] = v6("::ffff:1.2.3.4")
    found = compiled.match(wide)
    assert (found >= 0).sum() > 1000
    for i in range(0, 5003, 5):
        match = compiled.lookup(ipaddress.IPv6Address(int(wide[i, 0]) << 64 | int(wide[i, 1])))
        assert found[i] == (-1 if match is None else match.row)


def test_a_crowded_block_that_is_split_twice_is_read_while_nothing_is_compiled(table):
    compiled = table(*(entry(f"10.0.0.{n}") for n in range(0, 256, 2)))
    asked = v4(*(f"10.0.0.{n}" for n in range(256)))
    with plain(True):
        assert compiled.match(asked).tolist() == [-1 if n % 2 else n // 2 for n in range(256)]


def test_arrays_of_any_kind_of_storage_are_one_type_to_the_kernels(table):
    compiled = table(entry("10.0.0.0/8"))
    fixed = v4("10.0.0.1", "11.0.0.1")
    fixed.flags.writeable = False
    strided = v4("10.0.0.1", "0.0.0.0", "11.0.0.1")[::2]
    swapped = v4("10.0.0.1", "11.0.0.1").astype(">u4").astype("<u4")
    for addresses in (fixed, strided, swapped, v4("10.0.0.1", "11.0.0.1")):
        for at in (None, np.array([ns("2024-01-01")] * 2, np.int64), ns("2024-01-01")):
            assert compiled.match(addresses, at).tolist() == [0, -1]
    for name in (
        "find_v4",
        "find_v6",
        "find_small_v4",
        "resolve",
        "replace_rows",
        "nearest_miss",
    ):
        assert len(getattr(_table_kernels, name).signatures) <= 1, name
    for name in ("split_rows", "read_prefixes"):
        assert len(getattr(_text_kernels, name).signatures) <= 1, name


@pytest.mark.parametrize(
    "arguments",
    [
        {"addresses": np.zeros(3, np.int64)},
        {"addresses": np.zeros((3, 3), np.uint64)},
        {"addresses": np.uint32(3)},
        {"addresses": np.zeros(3, np.uint32), "at_ns": np.zeros(2, np.int64)},
        {"addresses": np.zeros(3, np.uint32), "at_ns": np.zeros(3)},
        {"addresses": np.zeros(3, np.uint32), "proto": "udp"},
        {"addresses": np.zeros(3, np.uint32), "side": "both"},
        {"addresses": np.zeros(3, np.uint32), "side": ["client", "server"]},
        {"addresses": np.zeros(3, np.uint32), "side": np.array([1, 2, 4])},
        {"addresses": np.zeros(3, np.uint32), "side": np.array([1, 2])},
    ],
)
def test_wrong_arguments_are_refused(table, arguments):
    with pytest.raises(ValueError, match=r"not|neither"):
        table(entry("10.0.0.0/8")).match(**arguments)


def test_no_addresses_give_no_rows(table):
    compiled = table(entry("10.0.0.0/8"))
    assert compiled.match(np.zeros(0, np.uint32), at_ns=np.zeros(0, np.int64)).size == 0
    assert compiled.match(np.zeros((0, 2), np.uint64)).size == 0


def test_one_prefix_with_too_many_rows_is_refused(table):
    rows = [entry("10.0.0.0/8")] * MAX_ROWS_PER_PREFIX
    assert table(*rows).lookup("10.0.0.1").row == 0
    with pytest.raises(
        RegistryError, match=r"r\.csv: '10\.0\.0\.0/8' has more than 4,096 rows; merge"
    ):
        table(*rows, rows[0])


@pytest.fixture
def translated(table):
    """Compile rows to a table whose single look-ups run as machine code."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        pytest.skip("nothing is compiled")

    def compile_rows(*rows):
        made = table(*rows)
        made._translate()
        assert made._ask("10.0.0.1", None, None, None, None) is not _one.ASK_PYTHON
        return made

    return compile_rows


def test_what_is_no_plain_text_is_not_read_as_one_by_machine_code(translated):
    class Text(str):
        __slots__ = ()

    compiled = translated(entry("10.0.0.0/8"), entry("2001:db8::/32"))
    for address in (ipaddress.ip_address("10.0.0.1"), Text("10.0.0.1"), 0x0A000001):
        for _ in range(1000):
            assert compiled.lookup(address).row == 0
    for text in ("2001:db8::1", "::ffff:10.0.0.1", "::ffff:a00:1"):
        row = 1 if text.startswith("2") else 0
        assert compiled.lookup(text).row == compiled.lookup(ipaddress.ip_address(text)).row == row
    wrong = [None, b"10.0.0.1x", 1.5, ["10.0.0.1"], "\ud800", "10.0.0.\u0661", "1\u0416", "", "\0"]
    for address in (*wrong, "10.0.0.1\0", "1" * 100_000, "9" * 30 + ".0.0.1", ":" * 1000):
        with pytest.raises(ValueError, match="is not an address"):
            compiled.lookup(address)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"at": "2026-01-01"},
        {"at": 1_780_000_000_000_000_000},
        {"at": np.int64(1_780_000_000_000_000_000)},
        {"at": datetime.datetime(2026, 1, 1)},
        {"at": 0},
        {"at": -1},
        {"at": -(2**63)},
        {"at": 2**63},
        {"at": True},
        {"at": 1.5},
        {"side": "server"},
        {"side": "client-"[:-1]},
        {"side": "both"},
        {"side": 2},
        {"side": ["server"]},
        {"proto": "udp"},
        {"proto": " UDP"},
        {"proto": 17},
        {"proto": 6},
        {"proto": 0},
        {"proto": 255},
        {"proto": 256},
        {"proto": -1},
        {"proto": -2},
        {"proto": 2**70},
        {"proto": "17"},
        {"proto": "nonsense"},
        {"proto": True},
        {"port": 1194},
        {"port": 0},
        {"port": -1},
        {"port": 65535},
        {"port": 65536},
        {"port": 2**31},
        {"port": "1194"},
        {"at": "2026-01-01", "side": "server", "proto": "udp", "port": 1194},
        {"at": 1_780_000_000_000_000_000, "side": "server", "proto": "tcp", "port": 1194},
    ],
)
@pytest.mark.parametrize("address", ["10.0.0.1", "10.128.0.1", "2001:db8::1", "203.0.113.1"])
def test_machine_code_answers_and_refuses_as_plain_python_does(table, translated, address, asked):
    rows = [
        entry("10.0.0.0/8", "client"),
        entry("10.128.0.0/9", "server", "udp", "1194", "2025-01-01", "2030-01-01"),
        entry("2001:db8::/32", "either", "tcp"),
        entry("2001:db8::/48", end="2022-01-01", status="revoked"),
    ]
    said = []
    for make in (table, translated):
        try:
            match = make(*rows).lookup(address, **asked)
            said.append(None if match is None else (match.row, match.prefix))
        except ClassifierError as error:
            said.append(str(error))
    assert said[0] == said[1]


def test_the_match_is_the_same_for_the_same_row(translated):
    compiled = translated(*(entry(f"10.0.{n}.0/24") for n in range(5)))
    for _ in range(3):
        for n in range(5):
            match = compiled.lookup(f"10.0.{n}.1")
            assert (match.row, match.prefix) == (n, f"10.0.{n}.0/24")
            assert match is compiled.lookup(ipaddress.ip_address(f"10.0.{n}.2"))


def test_a_process_changes_to_machine_code_after_many_lookups(table, monkeypatch):
    made = []
    monkeypatch.setattr(Table, "_translate", lambda self: made.append(self))
    monkeypatch.setattr(table_module, "_asked", itertools.count(1))
    monkeypatch.setattr(table_module, "is_plain", lambda: False)
    monkeypatch.setattr(table_module, "is_at_hand", lambda _: False)
    one, other = table(entry("10.0.0.0/8")), table(entry("10.0.0.0/8"))
    for _ in range(table_module._PLAIN_LOOKUPS - 1):
        one.lookup("10.0.0.1")
    assert not made
    other.lookup("10.0.0.1")
    assert made == [other]


def test_machine_code_that_is_there_already_answers_from_the_first_lookup_on(table, monkeypatch):
    made = []
    monkeypatch.setattr(Table, "_translate", lambda self: made.append(self))
    monkeypatch.setattr(table_module, "is_at_hand", lambda _: True)
    for never in (True, False):
        monkeypatch.setattr(table_module, "is_plain", lambda never=never: never)
        compiled = table(entry("10.0.0.0/8"))
        assert [compiled.lookup("10.0.0.1").row for _ in range(2)] == [0, 0]
        assert made == ([] if never else [compiled])


def test_sides_of_a_column_can_be_numbers(table):
    compiled = table(entry("10.0.0.0/8", side="client"), entry("10.0.0.0/9", side="server"))
    asked = v4(*["10.0.0.1"] * 4)
    sides = ["client", "server", None, "server"]
    numbers = np.array([1, 2, 3, 2])
    assert compiled.match(asked, side=sides).tolist() == [0, 1, 1, 1]
    assert compiled.match(asked, side=numbers).tolist() == [0, 1, 1, 1]


def test_the_hash_is_of_the_rows_alone(table):
    one, two = table(entry("10.0.0.0/8")), table(entry("10.0.0.0/8"))
    assert one.hash == two.hash != table(entry("10.0.0.0/9")).hash


def test_a_saved_table_answers_as_before(table, tmp_path):
    compiled = table(
        entry("10.0.0.0/8"), entry("10.0.0.0/24", side="client"), entry("2001:db8::/33")
    )
    compiled.save(tmp_path / "r.table")
    loaded = Table.load(tmp_path / "r.table")
    assert (loaded.hash, repr(loaded), len(loaded)) == (compiled.hash, repr(compiled), 3)
    assert loaded.rows.equals(compiled.rows)
    asked = v4("10.0.0.1", "10.1.0.1", "11.0.0.1")
    assert loaded.match(asked, side="client").tolist() == [1, -1, -1]
    assert loaded.match(asked, side="server").tolist() == [0, 0, -1]
    assert loaded.match(v6("2001:db8::1", "2001:db8:8000::")).tolist() == [2, -1]
    assert not loaded._index.active.v4_top.flags.writeable


@pytest.mark.parametrize("status", ["active", "revoked"])
def test_a_pickled_table_answers_as_before(tmp_path, status):
    path = tmp_path / "r.csv"
    ends = "any,any,2021-01-01,,"
    lines = [f"R-1,O,bank,10.0.0.0/8,either,{ends}active", f"R-2,O,bank,10.0.0.0/24,either,{ends}"]
    path.write_text(f"{HEADER}\n" + "\n".join(lines) + f"{status}\n")
    compiled = Registry.open(path).compile()
    again = pickle.loads(pickle.dumps(compiled))
    assert (again.hash, again.rows.equals(compiled.rows)) == (compiled.hash, True)
    asked = v4("10.0.0.1", "10.1.0.1", "11.0.0.1")
    assert again.match(asked).tolist() == compiled.match(asked).tolist()
    assert again.lookup("10.0.0.1", at="2022-01-01") == compiled.lookup("10.0.0.1", at="2022-01-01")
    assert (again._index.every is again._index.active) == (status == "active")
    assert not again._index.active.v4_top.flags.writeable


def test_an_empty_table_can_be_saved(table, tmp_path):
    table().save(tmp_path / "r.table")
    assert Table.load(tmp_path / "r.table").match(v4("10.0.0.1")).tolist() == [-1]


def test_a_damaged_table_is_refused(table, tmp_path):
    path = tmp_path / "r.table"
    table(entry("10.0.0.0/8"), entry("2001:db8::/33")).save(path)
    whole = path.read_bytes()
    size = int.from_bytes(whole[8:16], "little")
    spots = [0, 8, 9, 15, 16, 20, 16 + size, len(whole) // 2, len(whole) - 1]
    for spot in spots:
        path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 0x41]) + whole[spot + 1 :])
        with pytest.raises(
            RegistryError, match=r"r\.table: is (damaged|not a compiled register); compile"
        ):
            Table.load(path)
    for stop in (0, 7, 12, 16, 100, 16 + size, len(whole) - 64):
        path.write_bytes(whole[:stop])
        with pytest.raises(RegistryError, match=r"r\.table: "):
            Table.load(path)
    with pytest.raises(RegistryError, match=r"none: cannot be read"):
        Table.load(tmp_path / "none")


def with_next(entries, rows):
    """Return entries with other next rows."""
    forged = entries.copy()
    forged["next"] = rows
    return forged


FORGED = {
    "active.v4_top": [
        lambda a: np.full_like(a, 10**6),
        lambda a: np.full_like(a, 2 << 27),  # more records than there are
        lambda a: np.full_like(a, 17 << 27),  # more bits than there are
        lambda a: a[:-2],
    ],
    "active.v4_words": [lambda a: np.full_like(a, 99), lambda a: a[:4], lambda a: a[:0]],
    "active.v6_top": [
        lambda a: a[::-1] + np.arange(a.size, dtype=a.dtype),
        lambda a: np.full_like(a, 4 << 27 | 10**6),
        lambda a: np.full_like(a, 5 << 27 | 10**6),  # nodes
        lambda a: np.full_like(a, 13 << 27),  # of more bits than there are
    ],
    "active.v6_words": [lambda a: np.full_like(a, 1 << 31), lambda a: a[:6]],
    "active.shape": [
        lambda a: a[:4],
        lambda a: a * 0,
        lambda a: np.array([17, *a[1:]], a.dtype),
        lambda a: np.array([a[0], 3, *a[2:]], a.dtype),
        lambda a: np.array([*a[:2], 60, *a[3:]], a.dtype),
        lambda a: np.array([*a[:6], 5, 0], a.dtype),
    ],
    "every.v4_words": [lambda a: np.full_like(a, 99)],
    "entries": [
        lambda a: with_next(a, np.arange(a.size)),  # each is its own next
        lambda a: with_next(a, 99),
        lambda a: with_next(a, -2),
        lambda a: a[:-1],
    ],
}


FORGED_LARGE = {
    "active.v4_top": [
        lambda a: np.full_like(a, 10**6),
        lambda a: np.full_like(a, 10 << 27 | 10**6),
        lambda a: np.full_like(a, 11 << 27 | 10**6),  # nodes
        lambda a: np.full_like(a, 19 << 27),  # of more bits than there are
        lambda a: np.full_like(a, 31 << 27),
        lambda a: a[:-2],
    ],
    "active.v4_words": [
        lambda a: np.full_like(a, 99),
        lambda a: np.full_like(a, 1 << 31),
        lambda a: np.full_like(a, 12 << 27),  # of two bits for ever
        lambda a: a[:4],
    ],
    "active.shape": [lambda a: np.array([a[0], 2, *a[2:]], a.dtype)],
}


@pytest.mark.parametrize(
    ("large", "name", "which"),
    [
        (large, name, i)
        for large, forged in ((False, FORGED), (True, FORGED_LARGE))
        for name, forgers in forged.items()
        for i in range(len(forgers))
    ],
)
def test_arrays_that_point_outside_are_refused_though_the_digest_is_right(
    table, tmp_path, monkeypatch, large, name, which
):
    from classifier.registry import _index, _tablefile

    if large:
        monkeypatch.setattr(_index, "_LARGE", 0)

    revoked = entry("10.0.4.0/24", status="revoked")
    compiled = table(entry("10.0.0.0/8"), entry("10.0.3.0/24"), entry("2001:db8::/33"), revoked)
    path = tmp_path / "r.table"
    write = _tablefile.write_arrays

    def forge(place, facts, arrays):
        forger = (FORGED_LARGE if large else FORGED)[name][which]
        write(place, facts, arrays | {name: forger(arrays[name])})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tablefile, "write_arrays", forge)
        compiled.save(path)
    with pytest.raises(RegistryError, match=r"r\.table: is damaged"):
        Table.load(path)


def test_a_header_that_is_no_object_is_refused(tmp_path):
    for header in (b"[]", b'{"facts": 3}', b"[" * 50_000, json.dumps({"facts": {}}).encode()):
        header = header + b" " * (-len(header) % 8)
        path = tmp_path / "r.table"
        path.write_bytes(b"VPNTBL\x00\x02" + len(header).to_bytes(8, "little") + header)
        with pytest.raises(RegistryError, match=r"r\.table: is damaged"):
            Table.load(path)


def test_a_file_of_another_layout_is_refused_by_name(table, tmp_path):
    path = tmp_path / "r.table"
    table(entry("10.0.0.0/8")).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:7] + b"\x01" + whole[8:])
    with pytest.raises(RegistryError, match="was compiled by another version; compile the reg"):
        Table.load(path)


def flow(orig, resp, *, proto=17, orig_port=40000, resp_port=1194):
    orig, resp = int(ipaddress.ip_address(orig)), int(ipaddress.ip_address(resp))
    return build.F(proto, [build.P(0, b"x")], orig_port, resp_port, orig=orig, resp=resp)


def flows(*made, at="2024-01-01"):
    return build.batch(*made, start_ns=ns(at)).flows


def test_each_endpoint_is_looked_up_as_the_side_that_it_is(table):
    compiled = table(entry("203.0.113.0/24"), entry("10.0.0.0/8", side="client"))
    made = flows(
        flow("10.0.0.1", "203.0.113.1"),
        flow("10.0.0.1", "198.51.100.1"),
        flow("203.0.113.1", "10.0.0.1"),
        flow("192.168.0.1", "10.0.0.1"),
        flow("198.51.100.1", "198.51.100.2"),
    )
    found = match_flows(compiled, made, np.array([True, True, False, True, True]))
    assert found.row.tolist() == [0, 1, 0, -1, -1]  # the server's entry where both match
    assert found.side.tolist() == [2, 1, 2, 0, 0]
    assert [NEAR_MISSES[code] for code in found.near_miss] == ["", "", "", "wrong_side", ""]


def test_the_scope_is_the_servers_port_for_both_endpoints(table):
    compiled = table(entry("10.0.0.0/8", side="client", proto="udp", port="1194"))
    made = flows(
        flow("10.0.0.1", "198.51.100.1"),
        flow("198.51.100.1", "10.0.0.1", orig_port=1194, resp_port=40000),
        flow("10.0.0.1", "198.51.100.1", orig_port=1194, resp_port=40000),
        flow("10.0.0.1", "198.51.100.1", proto=6),
    )
    found = match_flows(compiled, made, np.array([True, False, True, True]))
    assert found.row.tolist() == [0, 0, -1, -1]
    assert [NEAR_MISSES[code] for code in found.near_miss[2:]] == ["wrong_scope", "wrong_scope"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([entry("203.0.113.0/24", end="2023-01-01")], "expired"),
        ([entry("203.0.113.0/24", start="2025-01-01")], "not_yet"),
        ([entry("203.0.113.0/24", side="client")], "wrong_side"),
        ([entry("203.0.113.0/24", proto="tcp")], "wrong_scope"),
        ([entry("203.0.113.0/24", status="revoked")], "not_active"),
        ([entry("203.0.113.0/24", end="2023-01-01", status="expired")], "expired"),
        # fewest failures first, then the longest prefix, then the order of the words
        ([entry("203.0.113.1", end="2023-01-01", status="expired"), entry("203.0.113.0/24", proto="tcp")], "wrong_scope"),
        ([entry("203.0.113.1", status="pending"), entry("203.0.113.0/24", end="2023-01-01")], "not_active"),
        ([entry("203.0.113.1", status="pending"), entry("203.0.113.1", end="2023-01-01")], "expired"),
        ([entry("203.0.113.0/24", status="pending"), entry("10.0.0.1", side="server")], "wrong_side"),
    ],
)  # fmt: skip
def test_near_miss_names_the_entry_that_fails_least(table, rows, reason):
    made = flows(flow("10.0.0.1", "203.0.113.1"), flow("192.0.2.1", "192.0.2.2"))
    found = match_flows(table(*rows), made, np.array([True, True]))
    assert found.row.tolist() == [-1, -1]
    assert NEAR_MISSES[found.near_miss[0]] == reason
    alone = match_flows(table(rows[found.near_row[0]]), made[:1], np.array([True]))
    assert NEAR_MISSES[alone.near_miss[0]] == reason
    assert found.near_row[1] == -1


def test_a_time_given_replaces_the_flows_first_packet(table):
    compiled = table(entry("203.0.113.0/24", end="2023-01-01"))
    made = flows(flow("10.0.0.1", "203.0.113.1"), flow("10.0.0.1", "203.0.113.1"))
    orig = np.array([True, True])
    assert match_flows(compiled, made, orig).row.tolist() == [-1, -1]
    assert match_flows(compiled, made, orig, at_ns=ns("2022-01-01")).row.tolist() == [0, 0]
    times = np.array([ns("2022-01-01"), ns("2023-01-01")])
    found = match_flows(compiled, made, orig, at_ns=times)
    assert (found.row.tolist(), found.near_miss.tolist()) == ([0, -1], [0, 1])


def test_no_flows_give_empty_arrays(table):
    found = match_flows(table(entry("10.0.0.0/8")), flows(), np.zeros(0, bool))
    assert (found.row.size, found.side.size, found.near_miss.size) == (0, 0, 0)
    with pytest.raises(ValueError, match="client_is_orig"):
        match_flows(table(), flows(flow("10.0.0.1", "10.0.0.2")), np.zeros(2, bool))


def test_the_client_is_the_inside_endpoint_if_exactly_one_is():
    made = flows(
        flow("10.0.0.1", "203.0.113.1"),
        flow("203.0.113.1", "172.31.255.255"),
        flow("192.168.0.1", "169.254.0.1"),
        flow("203.0.113.1", "172.32.0.0"),
    )
    assert client_is_orig(made).tolist() == [True, False, True, True]
    orig, resp = inside(made)
    assert (orig.tolist(), resp.tolist()) == (
        [True, False, True, False],
        [False, True, True, False],
    )
    assert client_is_orig(made, ["203.0.113.0/24"]).tolist() == [False, True, True, True]
    assert client_is_orig(made, []).all()
    assert inside(made, "203.0.113.0/24")[0].tolist() == [False, True, False, True]


def test_unique_local_and_link_local_ipv6_are_inside():
    made = flows(flow("10.0.0.1", "10.0.0.2"))
    made["ip_version"] = 6
    for text, expected in (
        ("fe80::1", True),
        ("fdff::1", True),
        ("2001:db8::1", False),
        ("::ffff:10.0.0.1", True),
    ):
        made["orig_hi"], made["orig_lo"] = v6(text)[0]
        assert inside(made)[0].tolist() == [expected]


def test_a_wrong_local_prefix_is_named():
    with pytest.raises(ClassifierError) as caught:
        inside(flows(), ["10.0.0.0/8", "10.0.0.0/33"])
    assert str(caught.value) == "local: '10.0.0.0/33' is not a prefix; lengths end at 32 for IPv4"


def test_what_answers_in_machine_code_outlives_its_table(translated):
    ask = translated(entry("10.0.0.0/8"))._ask
    gc.collect()
    junk = [np.full(25, -1) for _ in range(1000)]  # each of a state's size, to lie where one lay
    assert ask("10.0.0.1", None, None, None, None) == 0  # its row, as its match was not made yet
    assert ask("11.0.0.1", None, None, None, None) is None
    assert len(junk) == 1000


def test_a_changed_source_leaves_look_ups_to_plain_python(table, monkeypatch):
    monkeypatch.setattr(_translate, "_made", {})
    monkeypatch.setattr(_native, "folder", lambda: None)
    monkeypatch.setattr(inspect, "getsource", lambda _: "def find_match():\n    return 0\n")
    compiled = table(entry("10.0.0.0/8"))
    compiled._translate()
    assert compiled.lookup("10.0.0.1").row == 0

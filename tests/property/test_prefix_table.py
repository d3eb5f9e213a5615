"""The compiled prefix table equals a linear scan, and the prefix kernel equals ``ipaddress``."""

import ipaddress
import os
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import lpm

from classifier.errors import RegistryError
from classifier.registry import NEAR_MISSES, Registry, Table, _index, _tablefile, match_flows
from classifier.registry._fields import COLUMN_NAMES, BadField, parse_prefix
from classifier.registry._parse import Raw, binary_column, parse
from classifier.registry._text_kernels import read_prefixes
from classifier.tables import FLOW

SETS = ("active", "every")
PROTOS = [6, 17, 50]
PORTS = [443, 1194]
TIMES = [0, 1_000, 2_000, 3_000, 4_000]  # ns; multiples of a microsecond


def stamp(ns):
    return f"{np.datetime64(ns // 1000, 'us')}Z"


def raw_of(entries):
    rows = [
        (
            f"R-{i}", "", "", e.prefix, e.side,
            "any" if e.proto is None else str(e.proto),
            "any" if e.port is None else str(e.port),
            stamp(e.from_ns), "" if e.to_ns is None else stamp(e.to_ns), e.status,
        )
        for i, e in enumerate(entries)
    ]  # fmt: skip
    columns = {
        name: binary_column([row[k].encode() for row in rows])
        for k, name in enumerate(COLUMN_NAMES)
    }
    return Raw("made-up", columns, np.arange(len(rows)), [])


@contextmanager
def large_tables():
    """Build every table as those are built that a second-level cache does not hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_index, "_LARGE", 0)
        yield


def table_of(entries) -> Table:
    return Registry("made-up", parse(raw_of(entries), skip_bad_rows=False)).compile()


# Few distinct bits, so that prefixes nest, repeat and touch.
v4_values = st.builds(
    lambda a, b, c: a << 30 | b << 14 | c, st.integers(0, 3), st.integers(0, 7), st.integers(0, 3)
)
v6_values = st.builds(
    lambda a, b, c, d: a << 126 | b << 78 | c << 62 | d,
    st.integers(0, 3), st.integers(0, 3), st.integers(0, 7), st.integers(0, 3),
)  # fmt: skip
mapped_values = v4_values.map(lambda value: 0xFFFF << 32 | value)


def prefix_text(kind, bits, value, length):
    return f"{kind(value >> (bits - length) << (bits - length))}/{length}"


v4_prefixes = st.builds(
    lambda v, n: prefix_text(ipaddress.IPv4Address, 32, v, n),
    v4_values, st.sampled_from([0, 1, 2, 15, 16, 17, 18, 31, 32]),
)  # fmt: skip
v6_prefixes = st.builds(
    lambda v, n: prefix_text(ipaddress.IPv6Address, 128, v, n),
    v6_values | mapped_values,
    st.sampled_from([0, 1, 2, 48, 49, 63, 64, 65, 66, 96, 97, 127, 128]),
)
addresses = st.one_of(
    v4_values.map(ipaddress.IPv4Address), (v6_values | mapped_values).map(ipaddress.IPv6Address)
)


@st.composite
def entries(draw):
    proto = draw(st.sampled_from([None, *PROTOS]))
    port = draw(st.sampled_from([None, *PORTS])) if proto != 50 else None
    start = draw(st.sampled_from(TIMES[:3]))
    return lpm.Entry(
        draw(v4_prefixes | v6_prefixes),
        draw(st.sampled_from(["client", "server", "either"])),
        proto,
        port,
        start,
        draw(st.sampled_from([None, *(t for t in TIMES if t > start)])),
        draw(st.sampled_from(["active", "active", "active", "revoked", "pending"])),
    )


queries = st.tuples(
    addresses,
    st.sampled_from([None, *TIMES]),
    st.sampled_from([None, "client", "server"]),
    st.sampled_from([None, *PROTOS]),
    st.sampled_from([None, *PORTS, 80]),
)


def split(address):
    return np.array([[int(address) >> 64, int(address) & (2**64 - 1)]], np.uint64)


def matched(table, address, at, side, proto, port):
    if address.version == 4:
        return table.match(np.array([int(address)], np.uint32), at, side, proto, port)[0]
    return table.match(split(address), at, side, proto, port)[0]


def looked_up(table, *query):
    match = table.lookup(*query)
    return -1 if match is None else match.row


def compiled_lookups(table):
    """Let machine code answer single look-ups from now on."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") == "0":
        table._translate()


def linear_answers(table, rows, asked):
    """Say that each way of asking gives what a linear scan does."""
    expected = [lpm.lookup(rows, *query) for query in asked]
    assert [matched(table, *query) for query in asked] == expected
    assert [looked_up(table, *query) for query in asked] == expected
    compiled_lookups(table)
    assert [looked_up(table, str(address), *rest) for address, *rest in asked] == expected
    assert [looked_up(table, *query) for query in asked] == expected
    for (address, *rest), row in zip(asked[:2], expected, strict=False):  # one question of many
        value = int(address)
        if address.version == 4:
            many = np.full(len(rows) + 1, value, np.uint32)
        else:
            many = np.repeat(split(address), len(rows) + 1, 0)
        assert table.match(many, *rest).tolist() == [row] * len(many)


everything = [lpm.Entry("0.0.0.0/0"), lpm.Entry("::/0"), lpm.Entry("255.255.255.255/32")]
deepest = [lpm.Entry(f"255.255.255.255/{n}" if n == 32 else f"0.0.0.0/{n}") for n in range(33)]


@settings(deadline=None, max_examples=150)
@example(everything, [(ipaddress.ip_address("255.255.255.255"), None, None, None, None)])
@example(deepest, [(ipaddress.ip_address("0.0.0.1"), None, None, None, None)])
@given(st.lists(entries(), max_size=12), st.lists(queries, min_size=1, max_size=12))
def test_table_equals_linear_scan(rows, asked):
    linear_answers(table_of(rows), rows, asked)
    with large_tables():
        linear_answers(table_of(rows), rows, asked)


@settings(deadline=None, max_examples=50)
@given(st.lists(entries(), max_size=12), st.lists(queries, min_size=1, max_size=20))
def test_columns_of_questions_equal_linear_scan(rows, asked):
    asked = [(q[0], q[1] or 0, *q[2:]) for q in asked if q[0].version == 4]
    expected = [lpm.lookup(rows, *query) for query in asked]
    times = 1 + 300 // max(len(asked), 1)  # more than a block of them
    asked, expected = asked * times, expected * times
    numbers = np.array([[int(q[0]), q[1], q[3] or -1, q[4] or -1] for q in asked], np.int64)
    addresses, at_ns, proto, port = numbers.reshape(-1, 4).T
    sides = [query[2] for query in asked]
    found = table_of(rows).match(addresses.astype(np.uint32), at_ns, sides, proto, port)
    assert found.tolist() == expected


not_addresses = ["", ":", "::1::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:", ":1:2:3:4:5:6:7:8",
    "12345::", "::1%eth0", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1..2.3", "1.2.3.4 ", "1.2.3.\u0664", "::g"]  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    st.one_of(
        st.ip_addresses().map(str),
        st.ip_addresses(v=6).map(lambda address: address.exploded),
        st.text("0123456789abcdefABCDEF:.", max_size=40),
        st.from_regex(r"([0-9a-f]{0,4}:){2,8}[0-9a-f]{0,4}", fullmatch=True),
        st.from_regex(r"([0-9]{1,3}\.){3}[0-9]{1,3}", fullmatch=True),
        st.sampled_from(not_addresses),
    )
)
def test_texts_are_looked_up_as_ipaddress_reads_them(text):
    rows = [lpm.Entry(f"{n}::/{4}") for n in ("1000", "2000", "a000", "f000")]
    rows += [lpm.Entry(f"{64 * n}.0.0.0/2") for n in range(4)]
    rows += [lpm.Entry("::/16"), lpm.Entry("::2:0:0:0/80"), lpm.Entry("::ffff:0:0/112")]
    table = table_of(rows)
    compiled_lookups(table)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        with pytest.raises(ValueError, match="is not an address"):
            table.lookup(text)
    else:
        assert looked_up(table, text) == lpm.lookup(rows, address, None, None, None, None)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([12, 15, 20, 30]), st.booleans())
def test_crowded_blocks_equal_linear_scan(seed, spread, large):
    rng = np.random.default_rng(seed)
    rows, asked = [], []
    for _ in range(150):
        value, upper, lower = (int(rng.integers(0, 1 << spread)) for _ in range(3))
        length = int(rng.integers(32 - spread, 33))
        rows.append(lpm.Entry(prefix_text(ipaddress.IPv4Address, 32, 10 << 24 | value, length)))
        wide = 0x2001_0DB8 << 96 | upper << 64 | lower << int(rng.choice([0, 20, 34]))
        length = int(rng.integers(64 - spread, 129))
        rows.append(lpm.Entry(prefix_text(ipaddress.IPv6Address, 128, wide, length)))
        asked.append(ipaddress.IPv4Address(10 << 24 | value))
        asked.append(ipaddress.IPv6Address(wide + int(rng.integers(-2, 3))))
    with large_tables() if large else nullcontext():
        table = table_of(rows)
    linear_answers(table, rows, [(address, None, None, None, None) for address in asked])


@settings(deadline=None, max_examples=100)
@given(st.lists(entries(), min_size=1, max_size=8), st.data(), addresses, st.booleans())
def test_forged_arrays_are_refused_or_read_inside(rows, data, address, large):
    """The digest of a table file is no secret: whoever changes an array can change it too."""
    written = {}
    with pytest.MonkeyPatch.context() as patch, large_tables() if large else nullcontext():
        patch.setattr(_tablefile, "write_arrays", lambda *args: written.update(args[2]))
        table_of(rows).save("unused")
    numbers = [name for name in written if "." in name and name.split(".")[0] in SETS]
    name = data.draw(st.sampled_from([*numbers, "entries"]))
    forged = written[name].copy()
    words = forged.view(np.uint32)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(words.size, 400) - 1))
        words[at if data.draw(st.booleans()) else words.size - 1 - at] = data.draw(
            st.integers(0, 40) | st.integers(0, 2**32 - 1)
        )
    read = {**written, name: forged}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tablefile, "read_arrays", lambda *_: ({}, read))
        try:
            table = Table.load("unused")
        except RegistryError as error:
            assert "is damaged" in str(error)
            return
    places = [address, *(lpm.network(row.prefix).network_address for row in rows)]
    plainly = [looked_up(table, asked, 3_000) for asked in places]
    compiled_lookups(table)
    assert [looked_up(table, asked, 3_000) for asked in places] == plainly
    for asked in places:
        matched(table, asked, None, None, None, None)
        matched(table, asked, 1_000, "client", 6, 443)


@settings(deadline=None, max_examples=100)
@given(st.lists(entries(), max_size=8))
def test_each_first_and_last_address_and_its_neighbours_equal_linear_scan(rows):
    table = table_of(rows)
    for row in rows:
        prefix = lpm.network(row.prefix)
        kind = type(prefix.network_address)
        ends = int(prefix.network_address), int(prefix.broadcast_address)
        for value in {ends[0] - 1, ends[0], ends[1], ends[1] + 1}:
            if 0 <= value < 1 << prefix.max_prefixlen:
                query = (kind(value), None, None, None, None)
                assert matched(table, *query) == lpm.lookup(rows, *query)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(entries(), max_size=10),
    st.lists(
        st.tuples(
            st.booleans(), st.data(), st.booleans(), st.sampled_from(TIMES),
            st.sampled_from(PROTOS), st.sampled_from(PORTS),
        ),
        min_size=1,
        max_size=6,
    ),
)  # fmt: skip
def test_flows_equal_linear_scan(rows, asked):
    table = table_of(rows)
    flows = np.zeros(len(asked), FLOW)
    client_is_orig = np.array([query[2] for query in asked])
    ends = []
    for f, (is_v4, data, orig, at, proto, port) in zip(flows, asked, strict=True):
        kind = ipaddress.IPv4Address if is_v4 else ipaddress.IPv6Address
        values = v4_values if is_v4 else v6_values
        client, server = (kind(data.draw(values)) for _ in range(2))
        ends.append((client, server))
        for end, address in zip(
            ("orig", "resp"), (client, server) if orig else (server, client), strict=True
        ):
            f[f"{end}_hi"], f[f"{end}_lo"] = split(address)[0]
        f["ip_version"], f["proto"], f["first_ns"] = client.version, proto, at
        f["resp_port" if orig else "orig_port"] = port
    found = match_flows(table, flows, client_is_orig)
    for i, (client, server) in enumerate(ends):
        at, proto, port = asked[i][3:]
        by_client = lpm.lookup(rows, client, at, "client", proto, port)
        by_server = lpm.lookup(rows, server, at, "server", proto, port)
        assert found.row[i] == (by_server if by_server >= 0 else by_client)
        assert found.side[i] == (2 if by_server >= 0 else 1 if by_client >= 0 else 0)
        expected = lpm.near_miss(rows, client, server, at, proto, port)
        assert NEAR_MISSES[found.near_miss[i]] == expected


def read_by_kernel(text):
    data = np.frombuffer(text.encode() + b"\0", np.uint8)
    offsets = np.array([0, data.size - 1], np.int32)
    offsets.flags.writeable = False
    out = [np.zeros(1, kind) for kind in (np.uint8, np.uint64, np.uint64, np.uint8)]
    read_prefixes(data, offsets, *out)
    return tuple(int(column[0]) for column in out)


spellings = st.one_of(
    v4_prefixes,
    v6_prefixes,
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded.upper()),
    st.text("0123456789abcdefF:./ ", max_size=44),
    st.builds("{}/{}".format, st.ip_addresses(), st.integers(0, 140)),
)


@settings(deadline=None, max_examples=600)
@given(spellings)
@example("::")
@example("1::2::3")
@example("1:2:3:4:5:6:7::")
@example("::2:3:4:5:6:7:8")
@example("1:2:3:4:5:6:7:8::")
@example("1.2.3.4/")
@example("::/")
@example("01.2.3.4")
@example("1:2:3:4:5:6:7:8:9")
@example(":1:2:3:4:5:6:7")
@example("1:")
@example("")
def test_prefix_kernel_equals_ipaddress_wherever_it_answers(text):
    version, *rest = read_by_kernel(text)
    if version:
        assert parse_prefix(text) == (version, *rest)
    else:
        # Left to Python: spellings with embedded IPv4, leading zeros or spaces, and mistakes.
        try:
            usual = str(ipaddress.ip_network(text)) == text
            parse_prefix(text)
        except (ValueError, BadField):
            return
        assert not usual or "." in text

"""Why a registration does not apply: the same as what look-ups and flows say."""

import ipaddress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifier.errors import QueryError
from classifier.registry import NEAR_MISSES, covering, match_flows
from classifier.registry._parse import Raw, binary_column, parse
from classifier.registry.table import Table
from classifier.tables import FLOW

NAMES = ["registration_id", "organisation", "category", "prefix", "side", "proto", "port"]
NAMES += ["valid_from", "valid_to", "status"]
PREFIXES = ["0.0.0.0/0", "9.0.0.0/8", "9.9.0.0/16", "9.9.9.9", "9.9.9.8/31", "10.0.0.0/8"]
PREFIXES += ["::/0", "2a00::/16", "2a00::9", "2a00::8/125", "::ffff:9.9.9.9"]
ADDRESSES = ["9.9.9.9", "9.9.9.8", "10.1.1.1", "2a00::9", "2a00::8", "::1"]
DAY = 86_400 * 10**9

rows = st.tuples(
    st.sampled_from(PREFIXES),
    st.sampled_from(["client", "server", "either"]),
    st.sampled_from([("any", "any"), ("udp", "53"), ("tcp", "any"), ("any", "53"), ("esp", "any")]),
    st.integers(1, 8),
    st.integers(1, 8),
    st.sampled_from(["active", "active", "revoked", "pending"]),
)


def table_of(listed):
    texts = [
        (
            f"R-{k}",
            "H",
            "bank",
            prefix,
            side,
            *scope,
            f"1970-01-{first:02}",
            f"1970-01-{first + n:02}",
            status,
        )
        for k, (prefix, side, scope, first, n, status) in enumerate(listed)
    ]
    columns = {
        name: binary_column([text[k].encode() for text in texts]) for k, name in enumerate(NAMES)
    }
    raw = Raw("r", columns, np.arange(len(texts)), [])
    return Table.build(parse(raw, skip_bad_rows=False))


@settings(max_examples=300, deadline=None)
@given(
    listed=st.lists(rows, max_size=8),
    client=st.sampled_from(ADDRESSES),
    server=st.sampled_from(ADDRESSES),
    day=st.integers(0, 16),
    proto=st.sampled_from([6, 17, 50]),
    port=st.sampled_from([53, 80]),
)
def test_the_first_reason_is_the_near_miss_of_the_flow(listed, client, server, day, proto, port):
    one, other = ipaddress.ip_address(client), ipaddress.ip_address(server)
    if one.version != other.version:
        other = one
    table = table_of(listed)
    flow = np.zeros(1, FLOW)
    flow["ip_version"] = one.version
    for side, address in (("orig", one), ("resp", other)):
        flow[f"{side}_hi"], flow[f"{side}_lo"] = int(address) >> 64, int(address) & (1 << 64) - 1
    flow["proto"], flow["resp_port"], flow["first_ns"] = proto, port, day * DAY
    found = match_flows(table, flow, np.array([True]))
    asked = {"at": day * DAY, "proto": proto, "port": port}
    around = {
        "client": covering(table, one, side="client", **asked),
        "server": covering(table, other, side="server", **asked),
    }
    chosen = {side: [c.match.row for c in listed if c.chosen] for side, listed in around.items()}
    if found.row[0] >= 0:
        assert (chosen["server"] or chosen["client"]) == [found.row[0]]
        return
    assert chosen == {"client": [], "server": []}
    best = [listed[0] for listed in around.values() if listed]
    ranks = [
        (
            len(c.reasons),
            -ipaddress.ip_network(c.match.prefix).prefixlen,
            NEAR_MISSES.index(c.reasons[0]),
        )
        for c in best
        if "ffff" not in c.match.prefix
    ]
    if len(ranks) < len(best):
        return  # a mapped prefix is longer as it is written
    assert NEAR_MISSES[found.near_miss[0]] == (NEAR_MISSES[min(ranks)[2]] if ranks else "")


@settings(max_examples=200, deadline=None)
@given(
    listed=st.lists(rows, max_size=8), address=st.sampled_from(ADDRESSES), day=st.integers(0, 16)
)
def test_what_is_chosen_is_what_a_lookup_returns_and_all_around_is_listed(listed, address, day):
    table = table_of(listed)
    around = covering(table, address, at=day * DAY)
    match = table.lookup(address, at=day * DAY)
    assert [c.match for c in around if c.chosen] == ([match] if match else [])
    assert all(bool(c.reasons) == bool(c.why) for c in around)
    one = ipaddress.ip_address(address)
    expected = set()
    for k, row in enumerate(listed):
        network = ipaddress.ip_network(row[0].replace("::ffff:9.9.9.9", "9.9.9.9"))
        if network.version == one.version and one in network:
            expected.add(k)
    assert {c.match.row for c in around} == expected


def test_reasons_are_told_in_words():
    listed = [
        ("9.9.9.9", "client", ("udp", "53"), 3, 2, "revoked"),
        ("9.9.0.0/16", "server", ("any", "any"), 3, 2, "active"),
        ("9.0.0.0/8", "server", ("any", "any"), 1, 30 - 2, "active"),
    ]
    table = table_of(listed)
    around = covering(table, "9.9.9.9", at="1970-01-06T12:00", side="server", proto="tcp", port=80)
    assert [c.match.prefix for c in around] == ["9.0.0.0/8", "9.9.0.0/16", "9.9.9.9"]
    assert around[0].chosen
    assert around[1].why == ("it ended 1 day before",)
    assert around[2].reasons == ("expired", "wrong_side", "wrong_scope", "not_active")
    assert around[2].why[1:] == (
        "it is for a client",
        "it is for another protocol and port",
        "it is revoked",
    )
    early = covering(table, "9.9.9.9", at="1970-01-02T23:00", side="server")
    assert early[1].why == ("it begins 1 hour later",)


@pytest.mark.parametrize(
    "query",
    [
        {"addr": "here"},
        {"addr": None},
        {"addr": "9.9.9.9", "at": "soon"},
        {"addr": "9.9.9.9", "at": []},
        {"addr": "9.9.9.9", "at": 10**30},
        {"addr": "9.9.9.9", "side": "both"},
        {"addr": "9.9.9.9", "side": 3},
        {"addr": "9.9.9.9", "proto": "zz"},
        {"addr": "9.9.9.9", "proto": 1.5},
        {"addr": "9.9.9.9", "proto": 10**12},
        {"addr": "9.9.9.9", "port": "53"},
        {"addr": "9.9.9.9", "port": 10**30},
    ],
    ids=str,
)
def test_a_lookup_of_what_is_none_is_a_registry_error_and_a_value_error(query):
    table = table_of([])
    for function in (table.lookup, lambda **asked: covering(table, **asked)):
        with pytest.raises(QueryError) as caught:
            function(**query)
        assert isinstance(caught.value, ValueError)
        assert caught.value.remedy

"""Whatever a capture or a register holds, the report says it exactly and harmlessly."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
from flow_rows import rows
from hypothesis import given
from hypothesis import strategies as st
from reference.address import ipv4_text, ipv6_text
from reference.community_id import community_id

from classifier.report.addresses import address_column, community_id_column
from classifier.report.columns import string_column
from classifier.report.expectations import check_expectations
from classifier.report.html_repr import table_html
from classifier.report.sorting import Sorter
from classifier.report.text import flow_table, safe_text
from classifier.report.writers import write_flows
from classifier.tables import FLOW

ADDRESSES = st.one_of(
    st.integers(0, 2**128 - 1),
    # addresses with runs of zero groups, where the rules are
    st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF, 0xAB]), min_size=8, max_size=8).map(
        lambda groups: sum(g << 16 * i for i, g in enumerate(groups))
    ),
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
ANY_TEXTS = st.text(max_size=20)  # with lone surrogates


@given(st.lists(st.tuples(ADDRESSES, st.sampled_from([4, 6])), max_size=20))
def test_address_kernel_agrees_with_its_twin(addresses: list[tuple[int, int]]) -> None:
    hi = np.array([a >> 64 for a, _ in addresses], np.uint64)
    lo = np.array([a & 2**64 - 1 for a, _ in addresses], np.uint64)
    version = np.array([v for _, v in addresses], np.uint8)
    expected = [ipv6_text(a) if v == 6 else ipv4_text(a & 2**32 - 1) for a, v in addresses]
    assert address_column(hi, lo, version).to_pylist() == expected


PORTS = st.integers(0, 65535)


@given(
    st.sampled_from([4, 6]),
    st.integers(0, 255) | st.sampled_from([1, 6, 17, 58, 132]),
    ADDRESSES,
    ADDRESSES,
    PORTS,
    PORTS,
    PORTS,
    st.booleans(),
)
def test_community_id_kernel_agrees_with_its_twin(
    version: int, proto: int, a: int, b: int, sport: int, dport: int, icmp: int, same: bool
) -> None:
    size = 4 if version == 4 else 16
    source = (a % 2 ** (8 * size)).to_bytes(size, "big")
    target = source if same else (b % 2 ** (8 * size)).to_bytes(size, "big")
    flow = np.zeros(1, FLOW)
    for side, address in (("orig", source), ("resp", target)):
        flow[f"{side}_hi"], flow[f"{side}_lo"] = divmod(int.from_bytes(address, "big"), 2**64)
    flow["proto"], flow["ip_version"], flow["icmp"] = proto, version, icmp
    flow["orig_port"], flow["resp_port"] = sport, dport
    expected = community_id(source, target, proto, sport, dport, icmp)
    assert community_id_column(flow).to_pylist() == [expected]


def written(table: pa.Table, format: str) -> str:
    sink = io.BytesIO()
    write_flows(table, sink, format)
    return sink.getvalue().decode("utf-8")


@given(st.lists(st.tuples(TEXTS, st.integers(-(2**63), 2**63 - 1), TEXTS), max_size=5))
def test_ndjson_gives_every_text_and_number_back(cells: list[tuple[str, int, str]]) -> None:
    made = [
        {
            "server_name": text,
            "first_ns": number,
            "vlan": [number] * (number & 3),
            "evidence": [
                {"detector": detail, "strength": text, "detail": detail, "packet": number}
            ] * (number & 1),
        }
        for text, number, detail in cells
    ]  # fmt: skip
    table = rows(*made)
    lines = written(table, "ndjson").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == table.to_pylist()


@given(st.lists(TEXTS, max_size=5))
def test_no_cell_of_csv_is_a_formula_or_steers_a_terminal(texts: list[str]) -> None:
    text = written(rows(*({"server_name": t, "rule": t} for t in texts)), "csv")
    cells = [row["server_name"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert len(cells) == len(texts)
    assert not any(
        cell[:1] in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20") for cell in cells if cell
    )
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text.replace("\n", ""))


@given(ANY_TEXTS)
def test_any_text_becomes_a_column(text: str) -> None:
    (value,) = string_column([text]).to_pylist()
    value.encode("utf-8")
    if not any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert value == text


@given(ANY_TEXTS, st.integers(10, 60))
def test_safe_text_is_short_and_has_no_controls(text: str, limit: int) -> None:
    shown = safe_text(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable() or not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)


@given(TEXTS, st.integers(40, 200))
def test_no_text_adds_a_line_or_markup(text: str, width: int) -> None:
    table = rows({"family": text, "rule": text, "registration_id": text, "registered": True})
    assert len(flow_table(table, width=width).split("\n")) == 3
    made = table_html(["a"], rows=[[text]])
    assert made.count("<") == table_html(["a"], rows=[["x"]]).count("<")


@given(
    st.permutations(range(40)),
    st.integers(1, 50),
    st.integers(1, 12),
    st.integers(1, 9),
)
def test_sorter_gives_every_row_back_in_order(
    ids: list[int], limit: int, window: int, size: int
) -> None:
    batch = pa.record_batch({"flow_id": ids})
    with Sorter(limit, window_rows=window) as sorter:
        for start in range(0, len(ids), size):
            sorter.add(batch.slice(start, size))
        found = [i for part in sorter.batches() for i in part.column("flow_id").to_pylist()]
    assert found == list(range(40))


@given(st.lists(st.tuples(TEXTS, st.booleans()), min_size=1, max_size=4))
def test_a_run_always_agrees_with_its_own_ndjson(cells: list[tuple[str, bool]]) -> None:
    import tempfile
    from pathlib import Path

    table = rows(*({"server_name": t, "is_vpn": v, "vlan": [1] * v} for t, v in cells))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.ndjson"
        write_flows(table, path)
        assert all(result.passed for result in check_expectations(table, path))

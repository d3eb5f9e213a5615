import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flow_rows import WIREGUARD, rows

from classifier.errors import ClassifierError, ResourceError
from classifier.report.columns import SCHEMA
from classifier.report.writers import read_flows, write_flows


@pytest.mark.parametrize("suffix", ["ndjson", "parquet"])
def test_everything_comes_back(tmp_path: Path, suffix: str) -> None:
    table = rows(WIREGUARD | {"vlan": [7], "first_ns": 2**63 - 1, "server_name": "a\x1b"}, {})
    write_flows(table, tmp_path / f"run.{suffix}")
    assert read_flows(tmp_path / f"run.{suffix}")[0].equals(table)


def test_csv_brings_all_back_but_evidence_and_control_characters(tmp_path: Path) -> None:
    table = rows(WIREGUARD | {"vlan": [7, 8], "organisation": "=x", "server_name": "'a"}, {})
    write_flows(table, tmp_path / "run.csv")
    back = read_flows(tmp_path / "run.csv")[0]
    for name in set(SCHEMA.names) - {"evidence"}:
        assert back.column(name).to_pylist() == table.column(name).to_pylist(), name
    assert back.column("evidence").to_pylist() == [[], []]


@pytest.mark.parametrize("suffix", ["ndjson", "parquet", "csv"])
def test_labels_come_back_and_unknown_columns_are_ignored(tmp_path: Path, suffix: str) -> None:
    table = rows({}, {})
    table = table.append_column("label_is_vpn", pa.array([True, None]))
    table = table.append_column("label_family", pa.array(["tor", ""]))
    table = table.append_column("of_the_future", pa.array([1, 2]))
    write_flows(table, tmp_path / f"run.{suffix}")
    back = read_flows(tmp_path / f"run.{suffix}")[0]
    assert back.schema.names == [*SCHEMA.names, "label_is_vpn", "label_family"]
    assert back.column("label_is_vpn").to_pylist() == [True, None]
    assert back.column("label_family").to_pylist() == ["tor", ""]


@pytest.mark.parametrize("suffix", ["ndjson", "parquet", "csv"])
def test_missing_columns_are_filled(tmp_path: Path, suffix: str) -> None:
    table = rows({}, {}).select(["orig_ip", "resp_ip", "resp_port"])
    write_flows(table, tmp_path / f"run.{suffix}")
    back = read_flows(tmp_path / f"run.{suffix}")[0]
    assert back.schema.equals(SCHEMA)
    assert back.column("flow_id").to_pylist() == [0, 1]
    row = back.slice(1, 1).to_pylist()[0]
    assert (row["parent_flow_id"], row["application"], row["evidence"]) == (-1, "unknown", [])
    assert (row["verdict"], row["rule"], row["resp_port"]) == ("allow", "default", 443)


BROKEN = [
    ("a.parquet", b""),
    ("a.parquet", b"PAR1" + bytes(100) + b"PAR1"),
    ("a.parquet", b"no parquet at all"),
    ("a.ndjson", b"{"),
    ("a.ndjson", b'{"orig_ip": 5, "resp_ip": "x"}\n'),
    ("a.ndjson", b'{"orig_ip": "a", "resp_ip": "b", "flow_id": 1.5}\n'),
    ("a.ndjson", b'{"x": 1}\n'),
    ("a.ndjson", b"[1]\n"),
    ("a.ndjson", b'{"orig_ip":"\xff","resp_ip":"b"}\n'),
    ("a.ndjson", b'{"orig_ip":"a","resp_ip":"b","label_x":' + b"[" * 9000 + b"]" * 9000 + b"}\n"),
    ("a.csv", b""),
    ("a.csv", b"a,b\n1\n"),
    ("a.csv", b"orig_ip,resp_ip,flow_id\na,b,c\n"),
]


@pytest.mark.parametrize(("name", "content"), BROKEN)
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ClassifierError) as caught:
        read_flows(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_every_truncation_of_a_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_flows(rows(WIREGUARD), path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(ClassifierError):
            read_flows(path)


def test_meta_that_is_no_json_is_refused(tmp_path: Path) -> None:
    for value in ("{", "[" * 100_000):
        path = tmp_path / "a.parquet"
        with pq.ParquetWriter(path, SCHEMA) as writer:
            writer.write_table(rows({}))
            writer.add_key_value_metadata({"classifier.meta": value})
        with pytest.raises(ClassifierError, match="cannot be read as flow rows"):
            read_flows(path)


def test_a_missing_file_and_an_unknown_suffix_are_named(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"no\.parquet: no such file"):
        read_flows(tmp_path / "no.parquet")
    with pytest.raises(ResourceError, match=r"\.parquet, \.ndjson"):
        read_flows(tmp_path / "run.txt")


def test_an_ndjson_file_of_another_tool_may_have_other_orders_and_blank_lines(
    tmp_path: Path,
) -> None:
    row = {"resp_ip": "b", "new": {"x": [1]}, "flow_id": 4, "orig_ip": "a"}
    (tmp_path / "a.ndjson").write_text("\n" + json.dumps(row) + "\n\n")
    back = read_flows(tmp_path / "a.ndjson")[0].to_pylist()
    assert [(r["flow_id"], r["orig_ip"]) for r in back] == [(4, "a")]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("verdict", "bllow", "verdict is 'bllow', not one of allow, flag"),
        ("strength", "certain", "strength is 'certain', not one of weak, strong, proof"),
        ("vpn_probability", 1.5, "vpn_probability is 1.5, not 0 to 1"),
    ],
)
@pytest.mark.parametrize("suffix", ["ndjson", "parquet", "csv"])
def test_a_value_that_no_run_writes_is_named(
    tmp_path: Path, suffix: str, column: str, value: object, said: str
) -> None:
    path = tmp_path / f"run.{suffix}"
    write_flows(rows({}, {column: value}), path)
    with pytest.raises(ClassifierError) as error:
        read_flows(path)
    assert said in str(error.value)

import contextlib
import csv
import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flow_rows import WIREGUARD, rows

from classifier.errors import CaptureError, ClassifierError, ResourceError
from classifier.report.columns import SCHEMA
from classifier.report.writers import read_flows, write_flows


def ndjson_of(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    write_flows(table, sink, "ndjson")
    return sink.getvalue()


def csv_of(table: pa.Table) -> list[dict[str, str]]:
    sink = io.BytesIO()
    write_flows(table, sink, "csv")
    return list(csv.DictReader(io.StringIO(sink.getvalue().decode(), newline="")))


def test_ndjson_has_the_keys_in_order_and_exact_values() -> None:
    table = rows(WIREGUARD | {"first_ns": 2**63 - 1, "vlan": [5, 9]}, {"vpn_probability": 1e-9})
    lines = ndjson_of(table).splitlines()
    first = json.loads(lines[0])
    assert list(first) == SCHEMA.names
    assert first == table.slice(0, 1).to_pylist()[0]
    assert b'"first_ns":9223372036854775807,' in lines[0]
    assert b'"vpn_probability":0.999000,' in lines[0]
    assert b'"vpn_probability":0.000000,' in lines[1]
    assert b'"vlan":[5,9],' in lines[0]


def test_ndjson_writes_empty_text_and_list_for_null() -> None:
    nulls = {f.name: None for f in SCHEMA}
    table = pa.Table.from_pylist([nulls], schema=SCHEMA)
    values = json.loads(ndjson_of(table))
    assert values.pop("vlan") == values.pop("evidence") == []
    assert set(values.values()) == {""}


@pytest.mark.parametrize(
    "text", ['"', "\\", "\n", "\x00", "\x1b[2J", "\x9b", "\u202e", "\u2028", "\U000e0041", "é漢"]
)
def test_ndjson_keeps_every_text_and_shows_no_control(text: str) -> None:
    detail = [{"detector": text, "strength": "weak", "detail": text, "packet": 1}]
    data = ndjson_of(rows({"server_name": text, "evidence": detail}, {}))
    assert json.loads(data.splitlines()[0])["server_name"] == text
    assert json.loads(data.splitlines()[0])["evidence"] == detail
    hidden = set("\x00\x1b\x9b\u202e\u2028\U000e0041")
    assert not hidden & set(data.decode())
    assert data.count(b"\n") == 2


def test_ndjson_of_slices_and_batches_is_that_of_the_whole() -> None:
    table = rows(*({"vlan": [i], "evidence": WIREGUARD["evidence"] * (i % 3)} for i in range(9)))
    whole = ndjson_of(table)
    parts = b"".join(ndjson_of(table.slice(i, 2)) for i in range(0, 9, 2))
    sink = io.BytesIO()
    write_flows(iter(table.to_batches(max_chunksize=4)), sink, "ndjson")
    assert whole == parts == sink.getvalue()


def test_further_columns_follow_the_flow_columns() -> None:
    table = rows({}, {}).append_column("label_is_vpn", pa.array([None, True]))
    lines = ndjson_of(table).splitlines()
    assert lines[0].endswith(b'"label_is_vpn":""}')
    assert lines[1].endswith(b'"label_is_vpn":true}')


FORMULAS = ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "'=1", "\uff1d1", "\uff0d1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_csv_never_begins_a_text_like_a_formula(text: str) -> None:
    (row,) = csv_of(rows({"server_name": text, "organisation": text}))
    assert row["server_name"].startswith("'")
    assert row["organisation"] == row["server_name"]


def test_csv_guards_joined_evidence_too() -> None:
    evidence = [{"detector": "=cmd()", "strength": "weak", "detail": "x", "packet": 3}]
    (row,) = csv_of(rows({"evidence": evidence}))
    assert row["evidence"] == "'=cmd() weak @3: x"


def test_csv_has_one_line_for_each_flow_whatever_the_texts_hold() -> None:
    sink = io.BytesIO()
    write_flows(rows({"server_name": 'a\r\n"b",c\x1b'}, {"vlan": [1, 2]}), sink, "csv")
    assert sink.getvalue().count(b"\n") == 3
    assert b"\x1b" not in sink.getvalue()
    first, second = csv_of(rows({"server_name": 'a\r\n"b",c\x1b'}, {"vlan": [1, 2]}))
    assert first["server_name"] == 'a\\x0d\\x0a"b",c\\x1b'
    assert (second["vlan"], second["parent_flow_id"], second["is_vpn"]) == ("1 2", "-1", "false")


@pytest.mark.parametrize("suffix", [".ndjson", ".jsonl", ".csv", ".parquet", ".NDJSON"])
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    written = []
    for name in ("a", "b"):
        path = tmp_path / (name + suffix)
        write_flows(rows(WIREGUARD, {}), path, meta={"a": 1}, accounting={"packets_read": 5})
        written.append(path.read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("format", ["ndjson", "csv", "parquet"])
def test_no_rows_make_a_file_that_can_be_read(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"empty.{format}"
    write_flows([], path)
    table, _, _ = read_flows(path)
    assert table.num_rows == 0
    assert table.schema.names == SCHEMA.names


def test_parquet_keeps_schema_version_meta_and_accounting(tmp_path: Path) -> None:
    accounting = {"packets_read": 0}

    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows(WIREGUARD).to_batches()
        accounting["packets_read"] = 7  # known only when all has been read

    path = tmp_path / "run.parquet"
    write_flows(batches(), path, meta={"options": {"idle": 600}}, accounting=accounting)
    table, meta, counts = read_flows(path)
    assert table.equals(rows(WIREGUARD))
    assert (meta, counts) == ({"options": {"idle": 600}}, {"packets_read": 7})
    stored = pq.read_schema(path)
    assert stored.metadata[b"schema_version"] == b"1"
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("format", ["ndjson", "csv", "parquet"])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, format: str) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from rows({}).to_batches()
        raise CaptureError("is damaged", path="x.pcap")

    path = tmp_path / f"out.{format}"
    path.write_text("before")
    with pytest.raises(CaptureError, match="is damaged"):
        write_flows(broken(), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_gets_the_usual_permissions_and_links_survive(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    target = tmp_path / "real.csv"
    (tmp_path / "link.csv").symlink_to(target)
    write_flows(rows({}), tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing/out.csv", "the folder does not exist"),
        ("out.txt", "'.txt' names no format; end the name in .ndjson, .jsonl, .parquet, .csv"),
        ("out", "has no suffix"),
        (".", "has no suffix"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, name: str, problem: str
) -> None:
    with pytest.raises(ResourceError) as caught:
        write_flows(rows({}), tmp_path / name)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_place_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(ResourceError, match="is a folder"):
        write_flows(rows({}), tmp_path / "out.csv")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("format", ["ndjson", "csv", "parquet"])
def test_a_full_device_is_one_line_and_is_not_replaced(format: str) -> None:
    with pytest.raises(ResourceError, match="/dev/full: cannot be written"):
        write_flows(rows({}), "/dev/full", format)
    assert Path("/dev/full").is_char_device()


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(
        ResourceError, match="'xml' is no format; choose ndjson, csv, parquet, html or pcapng"
    ):
        write_flows(rows({}), "-", "xml")


def test_a_dash_is_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_flows(rows({}), "-")
    assert json.loads(capfdbinary.readouterr().out)["proto"] == "tcp"


def test_standard_output_may_take_text_alone() -> None:
    held = io.StringIO()
    with contextlib.redirect_stdout(held):
        write_flows(rows({}), "-")
    assert json.loads(held.getvalue())["proto"] == "tcp"


class ShortWriter(io.BytesIO):
    """A raw stream that takes seven bytes at a time."""

    def write(self, data: Any) -> int:
        return super().write(bytes(data[:7]))


@pytest.mark.parametrize("format", ["ndjson", "csv", "parquet"])
def test_a_stream_that_takes_little_at_a_time_gets_everything(format: str) -> None:
    short, whole = ShortWriter(), io.BytesIO()
    write_flows(rows(WIREGUARD), short, format)
    write_flows(rows(WIREGUARD), whole, format)
    assert short.getvalue() == whole.getvalue()


def test_errors_of_the_library_are_not_hidden_by_the_writer() -> None:
    with pytest.raises(ClassifierError):
        write_flows(rows({}), "out.csvx")

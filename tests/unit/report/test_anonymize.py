"""Addresses are mapped as the published scheme says, in everything that is written."""

import hashlib
import ipaddress
import json
import re
import struct
from pathlib import Path

import flow_rows
import numpy as np
import pytest
from flow_rows import WIREGUARD
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.cryptopan import mapped

import classifier
from classifier.cli import main
from classifier.errors import ClassifierError, ResourceError
from classifier.report.anonymize import Anonymizer

DEMO = classifier.datasets.demo()

# Key and addresses of the sample trace that the authors published with their program
KEY = bytes.fromhex("1522178d33a4cf80130a5b1649907d10d8988f83797965276257 4c2d2a842202")
TRACE = {
    "128.11.68.132": "135.242.180.132",
    "129.118.74.4": "134.136.186.123",
    "130.132.252.244": "133.68.164.234",
    "141.223.7.43": "141.167.8.160",
    "141.233.145.108": "141.129.237.235",
    "152.163.225.39": "151.140.114.167",
    "156.29.3.236": "147.225.12.42",
    "165.247.96.84": "162.9.99.234",
    "166.107.77.190": "160.132.178.185",
    "192.102.249.13": "252.138.62.131",
    "192.41.57.43": "252.222.221.184",
    "198.51.77.238": "249.18.186.254",
    "64.14.118.196": "0.255.183.58",
    "10.185.25.118": "117.161.29.118",
    # IPv6 is not in the trace; these are what other programs (Yawning/cryptopan) give
    "::1": "78ff:f001:9fc0:20df:8380:b1f1:704:ed",
    "::ffff": "78ff:f001:9fc0:20df:8380:b1f1:704:f838",
    "2001:db8::1": "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e",
    "2001:db8::2": "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1c",
}


@pytest.fixture(scope="module")
def run() -> classifier.Run:
    return classifier.classify(
        DEMO.capture, registry=DEMO.register, labels=DEMO.labels, progress=False
    )


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.bin"
    path.write_bytes(KEY)
    return path


@pytest.mark.parametrize(("address", "stand_in"), TRACE.items())
def test_the_published_trace_is_mapped_as_published(address: str, stand_in: str) -> None:
    assert Anonymizer(KEY).address(address) == stand_in


@given(
    st.binary(min_size=32, max_size=32),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    st.lists(st.integers(0, 2**128 - 1), min_size=1, max_size=2),
)
@settings(max_examples=20, deadline=None)
def test_columns_are_mapped_as_bit_by_bit(key: bytes, four: list[int], six: list[int]) -> None:
    numbers, version = four + six, np.array([4] * len(four) + [6] * len(six), np.uint8)
    hi = np.array([n >> 64 for n in numbers], np.uint64)
    lo = np.array([n & 2**64 - 1 for n in numbers], np.uint64)
    got_hi, got_lo = Anonymizer(key).addresses(hi, lo, version)
    got = [int(h) << 64 | int(w) for h, w in zip(got_hi, got_lo, strict=True)]
    bits = [32 if v == 4 else 128 for v in version]
    assert got == [mapped(key, n, b) for n, b in zip(numbers, bits, strict=True)]


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
@settings(max_examples=30, deadline=None)
def test_a_prefix_goes_where_its_addresses_go(number: int, length: int) -> None:
    mapper, address = Anonymizer(KEY), str(ipaddress.ip_address(number))
    network = ipaddress.ip_network(mapper.prefix(f"{address}/{length}"))
    assert network.prefixlen == length
    assert ipaddress.ip_address(mapper.address(address)) in network


def test_nothing_of_a_mapped_run_names_an_address_a_host_or_a_holder(
    run: classifier.Run, tmp_path: Path, key_file: Path
) -> None:
    names = {*run.flows["orig_ip"], *run.flows["resp_ip"], *run.flows["community_id"]}
    names |= {*run.flows["server_name"], *run.flows["organisation"], *run.flows["registration_id"]}
    names -= {""}
    assert len(names) > 100
    for suffix in ("ndjson", "csv", "html"):
        path = tmp_path / f"run.{suffix}"
        run.write(path, anonymize=key_file)
        text = path.read_text("utf-8")
        found = [n for n in names if re.search(rf"(?<![\w.:]){re.escape(n)}(?![\w.])", text)]
        assert not found, suffix
    path = tmp_path / "run.parquet"
    run.write(path, anonymize=key_file)
    opened = classifier.open_run(path)
    held = {str(cell) for column in opened.flows for cell in opened.flows[column]}
    assert not held & names
    assert set(opened.evidence["detail"]) == {""}
    assert opened.meta["anonymized"] is True


def test_all_formats_and_the_data_frame_hold_the_same_stand_ins(
    run: classifier.Run, tmp_path: Path
) -> None:
    frame = run.anonymized(KEY).flows
    run.write(tmp_path / "run.ndjson", anonymize=KEY)
    rows = [json.loads(line) for line in (tmp_path / "run.ndjson").read_text().splitlines()]
    for name in ("orig_ip", "resp_ip", "community_id", "server_name", "organisation"):
        assert [row[name] for row in rows] == list(frame[name])
    kept = ["verdict", "rule", "family", "category", "near_miss", "ja4", "label_is_vpn"]
    assert frame[kept].equals(run.flows[kept])
    ends = dict(zip(run.flows["orig_ip"], frame["orig_ip"], strict=True))
    assert ends == {address: Anonymizer(KEY).address(address) for address in ends}


def community_id(source: str, target: str, proto: int, first: int, second: int) -> str:
    """Hash as the specification says, for ends that are in order."""
    import base64

    a, b = (ipaddress.ip_address(text).packed for text in (source, target))
    if (a, first) > (b, second):
        a, b, first, second = b, a, second, first
    message = struct.pack("!H", 0) + a + b + struct.pack("!BBHH", proto, 0, first, second)
    return "1:" + base64.b64encode(hashlib.sha1(message).digest()).decode()


def test_community_ids_are_those_of_the_mapped_addresses(run: classifier.Run) -> None:
    flows = run.anonymized(KEY).flows
    checked = 0
    for row in flows.itertuples():
        if row.proto in ("tcp", "udp"):
            number = 6 if row.proto == "tcp" else 17
            ends = (row.orig_ip, row.resp_ip, number, row.orig_port, row.resp_port)
        elif row.proto == "icmp":  # the demo pings: echo request and reply
            ends = (row.orig_ip, row.resp_ip, 1, 8, 0)
        else:
            continue
        checked += 1
        assert row.community_id == community_id(*ends)
    assert checked > 50
    assert (flows["community_id"] != "").all()


def test_an_icmp_flow_of_unknown_type_loses_its_community_id() -> None:
    row = {"proto": "icmp", "orig_port": 0, "resp_port": 0, "community_id": "1:AAAA"}
    table = Anonymizer(KEY).table(flow_rows.rows(row, {}))
    assert table.column("community_id").to_pylist()[0] == ""
    assert table.column("community_id").to_pylist()[1] != ""


def test_a_slice_of_rows_is_mapped_like_the_rows() -> None:
    table = flow_rows.rows({}, WIREGUARD, {"orig_ip": "2001:db8::1", "resp_ip": "::1"}, WIREGUARD)
    whole = Anonymizer(KEY).table(table)
    assert Anonymizer(KEY).table(table.slice(1, 3)).to_pylist() == whole.slice(1, 3).to_pylist()
    assert whole.column("evidence").to_pylist()[1][0]["detector"] == "wireguard"


def test_the_inside_network_is_mapped_too(run: classifier.Run, tmp_path: Path) -> None:
    run.write(tmp_path / "run.parquet", anonymize=KEY)
    opened = classifier.open_run(tmp_path / "run.parquet").impact()
    assert opened.addresses == run.impact().addresses > 0
    assert opened.headline() == run.impact().headline()


def test_a_mapped_run_knows_no_register_no_packets_and_no_second_key(run: classifier.Run) -> None:
    other = run.anonymized(KEY)
    for refused in (
        lambda: other.judge(registry=DEMO.register),
        lambda: other.anonymized(KEY),
        lambda: other.packets(0),
    ):
        with pytest.raises(ClassifierError):
            refused()
    assert set(other.judge(policy="observe-only").flows["verdict"]) <= {"allow", "flag"}


def test_a_key_file_holds_bytes_or_digits(tmp_path: Path, key_file: Path) -> None:
    digits = tmp_path / "key.txt"
    digits.write_text(KEY.hex()[:32] + "\n" + KEY.hex()[32:].upper() + "\n")
    assert Anonymizer.open(digits) == Anonymizer.open(key_file) == Anonymizer.open(KEY)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 64, b"0" * 63, b"0" * 2000])
def test_what_is_no_key_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ResourceError, match=r"key: is no key: it holds neither .*; make one with"):
        Anonymizer.open(path)


def test_a_missing_key_a_folder_and_another_type_are_refused(tmp_path: Path) -> None:
    for bad in (tmp_path / "none", tmp_path, 5, b"short", "a\0b"):
        with pytest.raises(ResourceError) as caught:
            Anonymizer.open(bad)  # type: ignore[arg-type]
        assert caught.value.remedy


def test_a_key_is_not_shown() -> None:
    assert "15" not in repr(Anonymizer(KEY))


def test_replay_maps_what_it_prints_and_writes(
    tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    arguments = ["replay", str(DEMO.capture), "--registry", str(DEMO.register)]
    arguments += ["--anonymize", str(key_file)]
    for shown in ("table", "ndjson"):
        assert main([*arguments, "--out", str(out), "--format", shown]) == 0
        printed = capsys.readouterr().out
        assert "10.20." not in printed + out.read_text()
        assert Anonymizer(KEY).address("10.20.20.4") in printed


def test_keeping_and_mapping_addresses_exclude_each_other(
    run: classifier.Run, tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ClassifierError, match="not both"):
        run.write(tmp_path / "x.html", anonymize=KEY, keep_addresses=True)
    arguments = ["replay", str(DEMO.capture), "--anonymize", str(key_file), "--keep-addresses"]
    assert main(arguments) == 2
    assert "exclude each other" in capsys.readouterr().err

from pathlib import Path

import pandas as pd
import pytest
from flow_rows import WIREGUARD, rows

from classifier.errors import ClassifierError, ResourceError
from classifier.report.labels import label_columns, match_labels, read_labels

HEADER = "path,proto,src,sport,dst,dport,is_vpn,family\n"
ROW = "set/office.pcap,tcp,10.0.0.1,40000,198.51.100.1,443,1,OpenVPN"


def written(tmp_path: Path, *lines: str, header: str = HEADER) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(header + "".join(line + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    "line",
    [
        ROW,
        "office.pcap,6,198.51.100.1,443,10.0.0.1,40000,true,open_vpn",  # the other direction
        "C:\\caps\\office.pcap, TCP ,10.0.0.1,40000,198.51.100.1,443,TRUE,OPENVPN",
    ],
)
def test_a_label_finds_its_flow(tmp_path: Path, line: str) -> None:
    labels = read_labels(written(tmp_path, line))
    assert match_labels(rows({}, {"proto": "udp"}), labels).tolist() == [0, -1]
    assert (labels.is_vpn, labels.family) == ([True], ["openvpn"])


@pytest.mark.parametrize(
    "change",
    [{"capture": "other.pcap"}, {"resp_port": 444}, {"orig_ip": "10.0.0.2"}, {"proto": "sctp"}],
)
def test_another_flow_is_not_labelled(tmp_path: Path, change: dict[str, object]) -> None:
    assert match_labels(rows(change), read_labels(written(tmp_path, ROW))).tolist() == [-1]


def test_ports_of_protocols_without_ports_do_not_matter(tmp_path: Path) -> None:
    labels = read_labels(written(tmp_path, "office.pcap,icmp,198.51.100.1,0,10.0.0.1,8,0,"))
    flow = {"proto": "icmp", "orig_port": 0, "resp_port": 0}
    assert match_labels(rows(flow), labels).tolist() == [0]


@pytest.mark.parametrize("text", ["2001:DB8:0:0::1", "2001:db8::1"])
def test_addresses_are_compared_as_addresses(tmp_path: Path, text: str) -> None:
    line = f"office.pcap,17,{text},1,::ffff:c000:201,2,0,"
    flow = {"proto": "udp", "orig_ip": "2001:db8::1", "orig_port": 1}
    flow |= {"resp_ip": "::ffff:192.0.2.1", "resp_port": 2}
    assert match_labels(rows(flow), read_labels(written(tmp_path, line))).tolist() == [0]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (ROW.replace("tcp", "tpc"), "'tpc' is not an IP protocol"),
        (ROW.replace("tcp", "256"), "'256' is not an IP protocol"),
        (ROW.replace("tcp", "9" * 5000), "is not an IP protocol"),
        (ROW.replace("10.0.0.1", "10.0.0"), "10.0.0"),
        (ROW.replace("40000", "70000"), "'70000' is not a port"),
        (ROW.replace("40000", "x"), "'x' is not a port"),
        (ROW.replace(",1,O", ",2,O"), "is_vpn is '2', not 0, 1, true or false"),
        (ROW + ",more", "9 fields, but the header has 8"),
        ("a", "1 fields"),
        (ROW.replace(",1,O", ",0,O"), "contradicts line 2"),
    ],
)
def test_a_bad_row_is_one_line_with_its_place(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(ClassifierError) as caught:
        read_labels(written(tmp_path, ROW, line))
    assert "labels.csv:3: " in str(caught.value)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match=r"labels\.csv:1: there is no column proto"):
        read_labels(written(tmp_path, header="path,is_vpn\n"))
    with pytest.raises(ClassifierError, match="there is no column path"):
        read_labels(written(tmp_path, header=""))
    with pytest.raises(ClassifierError, match="a column comes twice"):
        read_labels(written(tmp_path, header=HEADER.strip() + ",family\n"))


def test_a_file_that_is_no_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ResourceError, match="not UTF-8"):
        read_labels(path)
    path.write_text(HEADER + '"' + "x" * 200_000)
    with pytest.raises(ClassifierError, match=r"labels\.csv:2: "):
        read_labels(path)
    with pytest.raises(ResourceError, match="no such file"):
        read_labels(tmp_path / "missing.csv")


def test_equal_rows_count_once(tmp_path: Path) -> None:
    assert len(read_labels(written(tmp_path, ROW, "", ROW)).is_vpn) == 1


def test_a_data_frame_is_as_good_as_a_file() -> None:
    frame = pd.DataFrame(
        {
            "path": ["office.pcap", "office.pcap"],
            "proto": ["tcp", "icmp"],
            "src": ["10.0.0.1", "10.0.0.0"],
            "sport": [40000, None],
            "dst": ["198.51.100.1", "10.0.0.1"],
            "dport": [443, None],
            "is_vpn": [True, 0.0],
            "family": ["tor", None],
        }
    )
    labels = read_labels(frame)
    assert match_labels(rows({}), labels).tolist() == [0]
    assert labels.family == ["tor", ""]


def test_labels_are_joined_as_columns(tmp_path: Path) -> None:
    header = HEADER.strip() + ",holder,verdict\n"
    path = written(tmp_path, ROW + ",=A Ltd,x", header=header)
    joined = label_columns(rows({}, WIREGUARD), path)
    assert joined.column("label_is_vpn").to_pylist() == [True, None]
    assert joined.column("label_family").to_pylist() == ["openvpn", ""]
    assert joined.column("label_holder").to_pylist() == ["=A Ltd", ""]
    assert joined.column("verdict").to_pylist() == ["allow", "would_block"]
    again = label_columns(joined, path)
    assert again.schema.names == joined.schema.names


def test_a_long_cell_makes_a_short_message(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "path,proto,src,sport,dst,dport,is_vpn\na,6," + "1" * 5000 + ",1,10.0.0.2,2,1\n"
    )
    with pytest.raises(ClassifierError) as error:
        read_labels(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert len(str(error.value)) < len(str(path)) + 200

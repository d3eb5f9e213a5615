"""The packets of captures with what was found written beside them."""

import gzip
import shutil
import subprocess
import warnings
from pathlib import Path

import dpkt
import frames as f
import pytest

import classifier
from classifier import Detector, Evidence, Strength
from classifier.cli import main
from classifier.errors import CaptureError, ClassifierError, ResourceError
from classifier.tables import FlowBatch

DEMO = classifier.datasets.demo()


@pytest.fixture(scope="module")
def run() -> classifier.Run:
    return classifier.classify(DEMO.capture, registry=DEMO.register, progress=False)


@pytest.fixture(scope="module")
def annotated(run: classifier.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("annotated") / "demo.pcapng"
    run.write(path)
    return path


def frames_of(path: Path) -> list[tuple[bytes, list[str], int]]:
    """Read data, comments and wire length of each frame with dpkt."""
    found = []
    data, at = path.read_bytes(), 0
    while at < len(data):
        kind, length = (int.from_bytes(data[at + i : at + i + 4], "little") for i in (0, 4))
        if kind == 6:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                block = dpkt.pcapng.EnhancedPacketBlockLE(data[at : at + length])
            comments = [bytes(o.data).decode() for o in block.opts if o.code == 1]
            found.append((bytes(block.pkt_data), comments, block.pkt_len))
        at += length
    return found


def comments(path: Path, number: int) -> list[str]:
    return frames_of(path)[number - 1][1]


def test_each_flow_begins_with_a_comment_on_its_verdict(
    run: classifier.Run, annotated: Path
) -> None:
    said = [text for _, texts, _ in frames_of(annotated) for text in texts]
    for row in run.flows.itertuples():
        begins = [text for text in said if text.startswith(f"flow {row.flow_id}: {row.verdict} by")]
        assert len(begins) == 1
        assert row.rule in begins[0]
        assert (row.family or row.application) in begins[0]
        assert f"p(vpn) {row.vpn_probability:.3f}" in begins[0]
    assert any("nearly registered: expired" in text for text in said)
    assert any("registered as R-" in text for text in said)


def test_frames_that_evidence_names_hold_its_words(run: classifier.Run, annotated: Path) -> None:
    assert len(run.evidence) > 10
    for item in run.evidence.itertuples():
        words = f"flow {item.flow_id}: {item.detector} {item.strength}: {item.detail}"
        assert words in comments(annotated, item.packet)


def test_payload_is_left_out_unless_asked_for(
    run: classifier.Run, annotated: Path, tmp_path: Path
) -> None:
    run.write(tmp_path / "whole.pcapng", keep_payload=True)
    with DEMO.capture.open("rb") as file:
        original = [data for _, data in dpkt.pcapng.Reader(file)]
    cut, whole = frames_of(annotated), frames_of(tmp_path / "whole.pcapng")
    assert [data for data, _, _ in whole] == original
    assert [texts for _, texts, _ in whole] == [texts for _, texts, _ in cut]
    assert all(o.startswith(data) for o, (data, _, _) in zip(original, cut, strict=True))
    assert [length for _, _, length in cut] == [len(o) for o in original]
    assert max(len(data) for data, _, _ in cut) <= 14 + 40 + 60
    assert b"HTTP/1.1" not in annotated.read_bytes()
    assert b"HTTP/1.1" in (tmp_path / "whole.pcapng").read_bytes()


def test_the_same_run_gives_the_same_bytes(
    run: classifier.Run, annotated: Path, tmp_path: Path
) -> None:
    run.write(tmp_path / "again.pcapng")
    assert (tmp_path / "again.pcapng").read_bytes() == annotated.read_bytes()


def test_an_annotated_capture_is_a_capture_with_the_same_flows(
    run: classifier.Run, annotated: Path
) -> None:
    again = classifier.classify(annotated, model=None, progress=False).flows
    same = ["community_id", "first_ns", "last_ns", "orig_packets", "orig_bytes", "resp_bytes"]
    assert again[same].equals(run.flows[same])


def test_comments_go_to_the_capture_that_a_frame_is_from(tmp_path: Path) -> None:
    one, two = (
        f.Record(f.START + at * f.SECOND, f.eth(f.ip4(f.udp(port, 53, b"payload"))))
        for at, port in ((0, 1111), (1, 2222))
    )
    (tmp_path / "one.pcap").write_bytes(f.pcap([one]))
    (tmp_path / "two.pcap.gz").write_bytes(gzip.compress(f.pcapng([two])))
    captures = [tmp_path / "two.pcap.gz", tmp_path / "one.pcap"]
    run = classifier.classify(captures, model=None, progress=False)
    run.write(tmp_path / "both.pcapng")
    found = frames_of(tmp_path / "both.pcapng")
    assert [texts[0][:14] for _, texts, _ in found] == ["flow 0: allow ", "flow 1: allow "]
    assert int.from_bytes(found[0][0][34:36], "big") == 1111


def test_what_steers_a_terminal_is_spelled_out(tmp_path: Path) -> None:
    run = classifier.classify(DEMO.capture, model=None, progress=False)
    rules = run.table.schema.get_field_index("rule")
    import pyarrow as pa

    hostile = pa.array(["\x1b[2J\u202e"] * run.table.num_rows)
    run.table = run.table.set_column(rules, "rule", hostile)
    run.write(tmp_path / "x.pcapng")
    data = (tmp_path / "x.pcapng").read_bytes()
    assert b"\x1b[2J" not in data
    assert "\u202e".encode() not in data


def test_a_later_file_s_frame_of_the_same_number_is_not_what_evidence_names(tmp_path: Path) -> None:
    frame = f.eth(f.ip4(f.udp(1111, 2222, b"payload")))
    packets = [f.Record(f.START + at * f.SECOND, frame) for at in range(45)]
    parts = [tmp_path / "one.pcap", tmp_path / "two.pcap"]
    for path, part in zip(parts, (packets[:40], packets[40:]), strict=True):
        path.write_bytes(f.pcap(part))

    def detect(batch: FlowBatch) -> list[Evidence]:
        return [Evidence(0, "mine", Strength.WEAK, "packet 2", 1, "generic-vpn")]

    mine = Detector("mine", "generic-vpn", (17,), 4, detect)
    run = classifier.classify(parts, model=None, detectors=[mine], progress=False)
    assert run.table["orig_packets"].to_pylist() == [45]
    assert [p["capture"] for p in run.explain(0).packets] == ["one.pcap"]
    assert run.packets(0)["capture"].value_counts().to_dict() == {"one.pcap": 40, "two.pcap": 5}
    run.write(tmp_path / "both.pcapng")
    found = frames_of(tmp_path / "both.pcapng")
    assert [k for k, (_, texts, _) in enumerate(found) if any("mine" in t for t in texts)] == [1]


def test_a_capture_is_not_written_over_and_streams_and_keys_are_refused(
    run: classifier.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, key = tmp_path / "copy.pcapng", tmp_path / "key"
    shutil.copy(DEMO.capture, copy)
    key.write_bytes(bytes(32))
    before = copy.read_bytes()
    with pytest.raises(ResourceError, match="is one of the captures"):
        classifier.classify(copy, model=None, progress=False).write(copy)
    for arguments in (
        [str(copy), "--out", str(copy)],
        ["-", "--out", str(tmp_path / "x.pcapng")],
        [str(copy), "--out", str(tmp_path / "x.pcapng"), "--anonymize", str(key)],
    ):
        assert main(["replay", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert copy.read_bytes() == before
    with pytest.raises(ClassifierError, match="a key does not reach"):
        run.write(tmp_path / "x.pcapng", anonymize=bytes(32))
    run.write(tmp_path / "run.parquet")
    with pytest.raises(CaptureError):
        classifier.open_run(tmp_path / "run.parquet").write(tmp_path / "x.pcapng")
    assert not (tmp_path / "x.pcapng").exists()


@pytest.mark.tshark
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_shows_the_comments(run: classifier.Run, annotated: Path) -> None:
    wanted = ["-Y", "frame.comment", "-T", "fields", "-e", "frame.number", "-e", "frame.comment"]
    done = subprocess.run(
        ["tshark", "-r", str(annotated), *wanted], capture_output=True, text=True, check=True
    )
    lines = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    assert len(lines) >= run.table.num_rows
    for item in run.evidence.itertuples():
        assert item.detail in lines[str(item.packet)]
    counted = subprocess.run(
        ["tshark", "-r", str(annotated), "-T", "fields", "-e", "frame.time_epoch"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(counted.stdout.splitlines()) == run.accounting["packets_read"]

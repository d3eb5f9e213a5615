import io
import lzma
from pathlib import Path

import pandas as pd
import pytest

import classifier
from classifier.errors import CaptureError, ClassifierError, ModelError, ResourceError
from classifier.model import load_model

DEMO = classifier.datasets.demo()


@pytest.fixture(scope="module")
def run() -> classifier.Run:
    return classifier.classify(
        DEMO.capture, registry=DEMO.register, policy=DEMO.policy, labels=DEMO.labels, progress=False
    )


def test_every_packet_is_accounted_for(run: classifier.Run) -> None:
    assert run.accounting.balanced
    assert {type(n) for n in run.accounting.values()} == {int}
    both = run.flows[["orig_packets", "resp_packets"]].to_numpy().sum()
    assert run.accounting["packets_in_flows"] == both


def test_identification_agrees_with_the_labels(run: classifier.Run) -> None:
    assert (run.flows["is_vpn"] == run.flows["label_is_vpn"]).all()
    vpn = run.flows[run.flows["is_vpn"]]
    assert (vpn["family"] == vpn["label_family"]).all()


def test_judging_again_gives_what_classifying_with_it_gives(run: classifier.Run) -> None:
    plain = classifier.classify(DEMO.capture, progress=False)
    again = plain.judge(policy=DEMO.policy, registry=DEMO.register)
    columns = run.table.schema.names[:40]
    assert again.table.select(columns).equals(run.table.select(columns))
    assert again.meta["policy"] == run.meta["policy"]


def test_meta_names_the_model_that_scored_the_flows(run: classifier.Run) -> None:
    shipped = load_model("lab")
    assert run.meta["model"] == {"name": "lab", "sha256": shipped.card["sha256"]}
    assert len(shipped.card["sha256"]) == 64
    alone = classifier.classify(DEMO.capture, model=None, progress=False)
    assert alone.meta["model"] is None


def test_runs_without_a_flow_in_common_can_be_compared(run: classifier.Run) -> None:
    empty = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")
    none = classifier.classify(empty, progress=False)
    changes = run.compare(none)
    assert (changes.paired, changes.only_before) == (0, run.table.num_rows)
    assert changes.flows.empty
    assert none.compare(run).only_after == run.table.num_rows
    assert "0 of 0 flows change verdict" in str(none.compare(none))


def test_judging_keeps_label_columns(run: classifier.Run) -> None:
    again = run.judge(policy="observe-only")
    assert "label_is_vpn" in again.table.schema.names
    assert set(again.flows["verdict"]) == {"allow", "flag"}


def test_written_runs_open_again_and_can_be_judged(run: classifier.Run, tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    run.write(path)
    opened = classifier.open_run(path)
    assert opened.table.equals(run.table)
    assert opened.accounting == run.accounting
    assert opened.judge(policy=DEMO.policy, registry=DEMO.register).table.equals(run.table)


def test_a_replay_hashes_its_captures_while_it_reads(run: classifier.Run, tmp_path: Path) -> None:
    from classifier.pipeline import make_options
    from classifier.run import replay

    options = make_options(registry=DEMO.register, policy=DEMO.policy)
    with replay([DEMO.capture], options, False, hashed=True) as rows:
        rows.write(tmp_path / "run.parquet")
    assert classifier.open_run(tmp_path / "run.parquet").meta["captures"] == run.meta["captures"]


def test_a_register_as_of_another_time_registers_others() -> None:
    before = classifier.classify(
        DEMO.capture, registry=DEMO.register, at="2001-01-01", progress=False
    )
    assert not before.flows["registered"].any()


def test_iter_flows_gives_the_same_rows(run: classifier.Run) -> None:
    frames = [batch.to_pandas() for batch in classifier.iter_flows(DEMO.capture)]
    rows = pd.concat(frames).sort_values("flow_id")
    assert rows["community_id"].tolist() == run.flows["community_id"].tolist()


def test_evidence_names_the_flows_it_belongs_to(run: classifier.Run) -> None:
    proven = set(run.flows.loc[run.flows["strength"] == "proof", "flow_id"])
    assert set(run.evidence.loc[run.evidence["strength"] == "proof", "flow_id"]) == proven
    for row in run.evidence.itertuples():
        frames = run.packets(row.flow_id)["frame"].tolist()
        assert row.packet in frames
        break


def test_packets_are_those_of_the_flow(run: classifier.Run) -> None:
    flow = run.flows.loc[5]
    packets = run.packets(5)
    assert (packets["direction"] == "orig").sum() == flow["orig_packets"]
    assert (packets["direction"] == "resp").sum() == flow["resp_packets"]
    assert packets["ip_bytes"].sum() == flow["orig_bytes"] + flow["resp_bytes"]
    assert packets["ts_ns"].min() == flow["first_ns"]


@pytest.mark.tshark
def test_dissection_is_of_the_same_frames(run: classifier.Run) -> None:
    from captures import program

    program("tshark")
    frames = [int(packet.number) for packet in run.dissect(10)]
    assert frames == run.packets(10)["frame"].tolist()


def test_two_parts_of_a_capture_are_one_run(tmp_path: Path, run: classifier.Run) -> None:
    import dpkt

    parts = [tmp_path / "b.pcap", tmp_path / "a.pcap"]
    with DEMO.capture.open("rb") as file:
        packets = list(dpkt.pcapng.Reader(file))
    for path, chosen in zip(parts, (packets[:700], packets[700:]), strict=True):
        with path.open("wb") as file:
            writer = dpkt.pcap.Writer(file, nano=True)
            for ts, frame in chosen:
                writer.writepkt(frame, ts)
    whole = classifier.classify(list(reversed(parts)), progress=False)
    assert whole.flows["community_id"].tolist() == run.flows["community_id"].tolist()
    assert whole.flows["orig_bytes"].tolist() == run.flows["orig_bytes"].tolist()
    apart = classifier.classify(parts, separate=True, progress=False)
    assert len(apart.flows) > len(whole.flows)
    assert apart.flows["flow_id"].tolist() == list(range(len(apart.flows)))


def test_detectors_can_be_picked_and_added() -> None:
    only = classifier.classify(DEMO.capture, detectors=["wireguard"], model=None, progress=False)
    assert set(only.flows["family"]) == {"", "wireguard"}

    def detect(batch: object) -> list[classifier.Evidence]:
        return [classifier.Evidence(0, "mine", classifier.Strength.WEAK, "seen", 0, "tinc")]

    mine = classifier.Detector("mine", "tinc", (6, 17), 0, detect)
    run = classifier.classify(DEMO.capture, detectors=[mine], model=None, progress=False)
    assert run.flows.loc[0, "family"] == "tinc"
    assert run.flows.loc[0, "method"] == "behaviour"
    assert not run.flows["is_vpn"].any()


def test_progress_reaches_the_size_of_the_capture() -> None:
    seen: list[tuple[int, int]] = []
    classifier.classify(DEMO.capture, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (DEMO.capture.stat().st_size,) * 2


@pytest.mark.parametrize("given", ["bytes", "stream"])
def test_bytes_and_streams_are_captures(given: str, run: classifier.Run) -> None:
    data = DEMO.capture.read_bytes()
    source = data if given == "bytes" else io.BytesIO(data)
    got = classifier.classify(source, progress=False)
    assert got.flows["community_id"].tolist() == run.flows["community_id"].tolist()
    if given == "stream":
        with pytest.raises(CaptureError, match="second time"):
            got.packets(0)


def test_one_unreadable_capture_of_several_is_warned_about(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(b"no capture")
    with pytest.warns(UserWarning, match=r"bad\.pcap"):
        run = classifier.classify([bad, DEMO.capture], progress=False)
    assert len(run.problems) == 1
    with pytest.raises(CaptureError, match="not a capture"):
        classifier.classify(bad, progress=False)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"threshold": 0}, "threshold"),
        ({"idle_timeout_s": -1}, "idle_timeout_s"),
        ({"local": ["10.0.0.0/40"]}, "local"),
        ({"detectors": ["wiregard"]}, "wireguard"),
        ({"policy": "observe"}, "observe-only"),
        ({"at": "yesterday"}, "at"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ClassifierError, match=problem):
        classifier.classify(DEMO.capture, progress=False, **options)


def test_a_model_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="no model that can be loaded"):
        classifier.classify(DEMO.capture, model="forest", progress=False)


@pytest.mark.parametrize("flow_id", [66, -1, 2**70, "x", 1.5])
def test_an_unknown_flow_is_refused(run: classifier.Run, flow_id: int) -> None:
    with pytest.raises(ClassifierError, match="flow ids go from 0 to 65"):
        run.explain(flow_id)


@pytest.mark.parametrize("captures", [None, 3])
def test_what_is_no_capture_is_refused(captures: object) -> None:
    with pytest.raises(CaptureError, match="is no capture"):
        classifier.classify(captures, progress=False)


@pytest.mark.tshark
def test_a_capture_that_tshark_cannot_unpack_is_told(tmp_path: Path) -> None:
    from captures import program

    program("tshark")
    path = tmp_path / "demo.xz"
    path.write_bytes(lzma.compress(DEMO.capture.read_bytes(), preset=0))
    run = classifier.classify(path, model=None, progress=False)
    with pytest.raises(ResourceError, match="tshark unpacks neither bzip2 nor xz; unpack it first"):
        run.dissect(10)


@pytest.mark.tshark
def test_dissection_tells_captures_of_the_same_name_apart(tmp_path: Path) -> None:
    import dpkt
    from captures import program

    program("tshark")
    paths = []
    for i in (1, 2):
        packet = dpkt.ip.IP(src=bytes([10, 0, 0, i]), dst=bytes([192, 0, 2, 1]), p=17)
        packet.data = dpkt.udp.UDP(sport=1000, dport=2000, data=b"hello", ulen=13)
        packet.len = len(packet)
        paths.append(tmp_path / str(i) / "same.pcap")
        paths[-1].parent.mkdir()
        with paths[-1].open("wb") as file:
            dpkt.pcap.Writer(file, linktype=101).writepkt(bytes(packet), ts=i)
    run = classifier.classify(paths, progress=False)
    assert [packet.ip.src for packet in run.dissect(1)] == ["10.0.0.2"]


def test_an_explanation_says_why_it_shows_no_packets(run: classifier.Run) -> None:
    assert "not at hand" not in str(run.explain(5))
    stream = classifier.classify(io.BytesIO(DEMO.capture.read_bytes()), progress=False)
    assert "packets behind it\n  not at hand: streams" in str(stream.explain(5))
    assert "packets behind it" not in str(stream.explain(1)), "no evidence, so no packets either"


def test_packets_of_a_view_of_memory_are_read_again() -> None:
    run = classifier.classify(memoryview(DEMO.capture.read_bytes()), model=None, progress=False)
    assert len(run.packets(5)) == 91

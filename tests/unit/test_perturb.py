"""Perturbations change what they say, and nothing else; movements are counted by labels."""

import io
import json
from typing import Any

import frames
import numpy as np
import pandas as pd
import pytest

import classifier
from classifier import cli
from classifier.perturb import (
    MISSED_PACKETS,
    PERTURBATIONS,
    SEGMENT_BYTES,
    movements,
    movements_text,
    perturbation,
)
from classifier.pipeline import make_options
from classifier.report.labels import read_labels
from classifier.wire import open_capture

DEMO = classifier.datasets.demo()


def table(packets: list[bytes]) -> tuple[Any, Any]:
    """Return the packet table of a capture of IP packets, and the buffer behind it."""
    (batch,) = open_capture(frames.pcap(packets, link=frames.RAW)).batches()
    return batch


def tcp(payload: bytes, seq: int = 1) -> bytes:
    return frames.ip4(frames.tcp(40000, 443, payload, seq=seq), 6)


def udp(payload: bytes, port: int = 40000) -> bytes:
    return frames.ip4(frames.udp(port, 443, payload), 17)


def payloads(packets: Any, buffer: Any) -> list[bytes]:
    return [buffer[p["payload_start"] : p["payload_stop"]].tobytes() for p in packets]


def same_but_for(packets: Any, changed: Any, *names: str) -> None:
    for name in packets.dtype.names:
        if name not in names:
            np.testing.assert_array_equal(changed[name], packets[name], err_msg=name)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_same_packets_give_the_same_answer_and_stay_as_they_were(name: str) -> None:
    packets, buffer = table([udp(bytes([k]) * 50) for k in range(40)])
    before = packets.copy()
    results = [perturbation(name)(packets, buffer) for _ in range(2)]
    np.testing.assert_array_equal(packets, before)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert payloads(*results[0]) == payloads(*results[1])


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_no_packets_are_no_packets(name: str) -> None:
    packets, buffer = table([udp(b"a")])
    assert perturbation(name)(packets[:0], buffer)[0].size == 0


def test_padding_goes_behind_the_payload_and_moves_the_stream() -> None:
    packets, buffer = table([tcp(b"abc", 1), tcp(b"", 4), tcp(b"defg", 4), udp(b"hi")])
    changed, data = perturbation("padding")(packets, buffer)
    same_but_for(
        packets, changed, "seq", "payload_bytes", "ip_bytes", "payload_start", "payload_stop"
    )
    pads = changed["payload_bytes"].astype(int) - packets["payload_bytes"]
    assert (pads[[0, 2, 3]] >= 1).all()
    assert pads[1] == 0
    assert (changed["ip_bytes"].astype(int) - packets["ip_bytes"] == pads).all()
    assert changed["seq"].tolist() == [1, 4 + pads[0], 4 + pads[0], 0]
    for was, now, pad in zip(
        payloads(packets, buffer), payloads(changed, data), pads.tolist(), strict=True
    ):
        assert now.startswith(was)
        assert len(now) == len(was) + pad


def test_padding_goes_on_from_one_batch_to_the_next() -> None:
    change = perturbation("padding")
    packets, buffer = table([tcp(b"abc", 1)])
    first, _ = change(packets, buffer)
    packets, buffer = table([tcp(b"def", 4)])
    second, _ = change(packets, buffer)
    assert second["seq"][0] == 1 + first["payload_bytes"][0]


def test_jitter_lets_no_packet_overtake_another_of_its_direction() -> None:
    packets, buffer = table([udp(bytes([k]), 40000 + k % 3) for k in range(60)])
    changed, _ = perturbation("jitter")(packets, buffer)
    assert (np.diff(changed["ts_ns"]) >= 0).all()
    assert sorted(changed["frame"]) == sorted(packets["frame"])
    for port in range(40000, 40003):
        frames_of_it = changed["frame"][changed["src_port"] == port]
        assert (np.diff(frames_of_it) > 0).all()
    order = np.argsort(changed["frame"])
    assert (changed["ts_ns"][order] >= packets["ts_ns"]).all()


def test_loss_drops_some_packets_and_changes_none() -> None:
    packets, buffer = table([udp(bytes([k % 256])) for k in range(2000)])
    changed, _ = perturbation("loss")(packets, buffer)
    assert 40 < packets.size - changed.size < 180
    np.testing.assert_array_equal(changed, packets[np.isin(packets["frame"], changed["frame"])])


def test_truncation_keeps_what_a_snaplen_of_96_keeps() -> None:
    packets, buffer = table([tcp(bytes(300)), udp(bytes(54)), udp(bytes(55))])
    changed, _ = perturbation("truncation")(packets, buffer)
    same_but_for(packets, changed, "payload_stop", "truncated")
    kept = changed["payload_stop"] - changed["payload_start"]
    assert kept.tolist() == [96 - 14 - 40, 54, 54]
    assert changed["truncated"].tolist() == [1, 0, 1]


def test_midflow_leaves_out_the_first_packets_of_both_directions() -> None:
    there = udp(b"a")
    back = frames.ip4(frames.udp(443, 40000, b"b"), 17, src=0x0A000002, dst=0x0A000001)
    other = udp(b"c", 41000)
    packets, buffer = table([there, back] * MISSED_PACKETS + [other])
    changed, _ = perturbation("midflow")(packets, buffer)
    assert changed["frame"].tolist() == list(range(MISSED_PACKETS + 1, 2 * MISSED_PACKETS + 1))


def test_small_segments_together_are_the_large_one() -> None:
    data = bytes(range(256)) * 5
    packets, buffer = table([tcp(data, 2**32 - 100), tcp(b"", 5), udp(data)])
    changed, its_buffer = perturbation("mtu")(packets, buffer)
    assert changed["payload_bytes"].tolist() == [SEGMENT_BYTES, SEGMENT_BYTES, 208, 0, 1280]
    assert b"".join(payloads(changed, its_buffer)[:3]) == data
    assert changed["seq"].tolist()[:3] == [
        2**32 - 100,
        SEGMENT_BYTES - 100,
        2 * SEGMENT_BYTES - 100,
    ]
    assert (changed["ip_bytes"] - changed["payload_bytes"]).tolist() == [40, 40, 40, 40, 28]


def test_small_segments_of_a_truncated_one_hold_what_was_kept() -> None:
    packets, buffer = table([tcp(bytes(1000))])
    packets["payload_stop"] = packets["payload_start"] + 600
    changed, _ = perturbation("mtu")(packets, buffer)
    assert (changed["payload_stop"] - changed["payload_start"]).tolist() == [536, 64]


def test_ports_are_exchanged_one_for_one() -> None:
    packets, buffer = table([udp(b"a", port) for port in range(1, 65536, 61)])
    changed, _ = perturbation("ports")(packets, buffer)
    same_but_for(packets, changed, "src_port", "dst_port")
    assert (changed["src_port"] != packets["src_port"]).all()
    assert len(set(changed["src_port"].tolist())) == packets.size
    assert (changed["src_port"] > 0).all()


def test_unknown_perturbation_is_refused_with_those_there_are() -> None:
    with pytest.raises(classifier.ClassifierError, match=r"no perturbation 'rain'.*padding"):
        perturbation("rain")


def test_movements_of_the_demo() -> None:
    run = classifier.classify(DEMO.capture, separate=True, model=None)
    labels = read_labels(DEMO.labels)
    options = make_options(separate=True, model=None)
    moved = movements(run.table, labels, [DEMO.capture], options, ["ports", "midflow", "padding"])
    by = {(m.perturbation, m.family): m for m in moved}
    assert {m.family for m in moved} == {"ipsec", "openvpn", "wireguard", "ordinary"}
    for family in ("ipsec", "openvpn", "wireguard"):  # detectors look at no port
        ports = by["ports", family]
        assert (ports.called_after, ports.lost, ports.gained, ports.gone) == (ports.labels, 0, 0, 0)
        assert ports.probability_change == 0
    assert by["midflow", "ordinary"].gone > 0
    assert by["padding", "wireguard"].lost == by["padding", "wireguard"].labels
    assert all(m.called_after == m.called_before - m.lost + m.gained for m in moved)
    text = movements_text(moved)
    assert "unmoved: " in text
    assert text.index("ports:") < text.index("midflow:") < text.index("padding:")


def test_packets_behind_a_fragment_that_stays_open_are_changed_too() -> None:
    piece = frames.ip4(frames.udp(5000, 443, bytes(40)), 17, ident=7, more=True)
    data = frames.pcap([udp(b"a", 40000), piece, udp(b"b", 41000)], link=frames.RAW)
    rows = "path,proto,src,sport,dst,dport,is_vpn,family\n" + "".join(
        f"<bytes>,udp,10.0.0.1,{port},10.0.0.2,443,0,\n" for port in (40000, 41000)
    )
    labels = read_labels(pd.read_csv(io.StringIO(rows)))
    run = classifier.classify(data, separate=True)
    (moved,) = movements(run.table, labels, [data], make_options(separate=True), ["ports"])
    assert (moved.labels, moved.gone) == (2, 0)


def test_stream_is_refused() -> None:
    run = classifier.classify(DEMO.capture, separate=True)
    with pytest.raises(classifier.CaptureError, match="a stream cannot"):
        movements(run.table, read_labels(DEMO.labels), ["-"], make_options(), ["loss"])


def test_command_prints_movements(capsys: pytest.CaptureFixture[str]) -> None:
    verb = ["evaluate", str(DEMO.capture), "--labels", str(DEMO.labels), "--perturb", "loss,ports"]
    assert cli.main(verb) == 0
    assert capsys.readouterr().out.startswith("loss: 5%")
    assert cli.main([*verb, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["perturbation"] for row in rows} == {"loss", "ports"}


def test_command_refuses_what_does_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    verb = ["evaluate", str(DEMO.capture), "--labels", str(DEMO.labels), "--perturb"]
    assert cli.main([*verb, "--min-recall", "0.5"]) == 2
    assert "--min-recall says nothing" in capsys.readouterr().err

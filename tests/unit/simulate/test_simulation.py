"""What a box does to packets whose fate can be worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import flow_rows
import numpy as np
import pytest

import classifier
from classifier.errors import ClassifierError
from classifier.simulate import (
    Box,
    Packets,
    ServiceTime,
    Simulation,
    Throttle,
    parse_rate,
    parse_service,
    simulate,
)

MS = 1_000_000
WEB: dict[str, Any] = {}
BLOCKED = flow_rows.WIREGUARD | {"decided_ns": 20 * MS}
THROTTLED = BLOCKED | {"verdict": "would_throttle"}


def sent(*packets: tuple[int, int, int, int], size: int = 1000) -> Packets:
    """Packets as (ms, flow, sender, payload bytes)."""
    ms, flow, sender, payload = (
        np.array(column, np.int64) for column in zip(*packets, strict=True)
    )
    return Packets(ms * MS, flow, np.full(ms.size, size), payload, sender.astype(np.uint64))


def through(packets: Packets, rows: list[dict[str, Any]], box: Box, **settings: Any) -> Simulation:
    return simulate(packets, flow_rows.rows(*rows), box, **settings)


def test_a_packet_waits_for_the_one_before_it() -> None:
    packets = sent((0, 0, 0, 10), (1, 0, 1, 10), (9, 0, 0, 10))
    result = through(packets, [WEB], Box(service=ServiceTime("constant", 2.0 * MS)))
    assert result.added_delay_ns.tolist() == [2 * MS, 3 * MS, 2 * MS]
    assert result.utilisation == pytest.approx(6 / 9)


def test_the_first_packet_of_a_flow_may_take_longer() -> None:
    packets = sent((0, 0, 0, 10), (100, 1, 0, 10), (200, 0, 0, 10))
    service = ServiceTime("constant", 1.0 * MS, 5.0 * MS)
    result = through(packets, [WEB, WEB], Box(service=service))
    assert result.added_delay_ns.tolist() == [6 * MS, 6 * MS, 1 * MS]


def test_an_answered_packets_delay_holds_up_the_rest_of_its_flow() -> None:
    """0 -> 10 ms is a question and its answer; 11 ms follows the answer from the same side."""
    packets = sent((0, 0, 0, 10), (10, 0, 1, 10), (11, 0, 1, 10))
    result = through(packets, [WEB], Box(service=ServiceTime("constant", 0.5 * MS)))
    assert result.web.loc["without", "p50_ms"] == pytest.approx(11)
    assert result.web.loc["with", "p50_ms"] == pytest.approx(11 + 0.5 + 0.5)


def test_packets_are_blocked_after_the_one_that_decided_and_not_before() -> None:
    packets = sent((0, 0, 0, 10), (20, 0, 1, 10), (21, 0, 0, 10), (30, 1, 0, 10))
    result = through(packets, [BLOCKED, WEB], Box())
    assert result.lost.tolist() == [0, 0, 4, 0]
    assert result.traffic.loc["vpn", "blocked"] == pytest.approx(1 / 3)
    assert result.traffic.loc["ordinary", "delivered"] == 1
    assert result.traffic.loc["all", "goodput_bps"] == pytest.approx(30 * 8 / 0.030)


@pytest.mark.parametrize(("verdict", "fate"), [("would_block", 4), ("would_throttle", 3)])
def test_a_flow_hit_without_identification_is_known_by_its_first_packet(
    verdict: str, fate: int
) -> None:
    """A rule may ask for a class of use: the box acts on flows that are no VPN, too."""
    packets = sent((0, 0, 0, 10), (20, 0, 1, 10), (30, 0, 0, 10))
    hit = WEB | {"verdict": verdict, "first_ns": 0}
    result = through(packets, [hit], Box(throttle=Throttle(1e3, burst_bytes=10, most_ms=1)))
    assert result.lost.tolist() == [0, fate, fate]
    assert result.web.loc["with", "broken"] == 1
    assert result.web.loc["without", "broken"] == 0


def test_each_class_of_use_has_a_bucket_of_its_own() -> None:
    web = WEB | {"verdict": "would_throttle", "first_ns": 0}
    packets = sent((21, 0, 0, 10), (22, 1, 0, 10), (22, 2, 0, 10))
    box = Box(service=ServiceTime("constant", 0.0), throttle=Throttle(1e6, 1000, "class"))
    result = through(packets, [THROTTLED, web, THROTTLED], box)
    # The bucket of the VPNs has filled by 125 bytes since 21 ms, that of the web is full
    assert result.added_delay_ns.tolist() == [0, 0, 7 * MS]


def test_throttled_packets_wait_for_their_tokens() -> None:
    """A bucket of 1,000 bytes at 1 Mbit/s gives a packet of 1,000 bytes every 8 ms."""
    packets = sent((0, 0, 0, 10), (21, 0, 0, 10), (21, 0, 0, 10), (21, 0, 0, 10))
    free = ServiceTime("constant", 0.0)
    box = Box(service=free, throttle=Throttle(1e6, burst_bytes=1000, most_ms=10))
    result = through(packets, [THROTTLED], box)
    assert result.added_delay_ns[:3].tolist() == [0, 0, 8 * MS]
    assert result.lost.tolist() == [0, 0, 0, 3]  # 16 ms are more than 10


@pytest.mark.parametrize(("per", "late"), [("flow", 0), ("address", 8 * MS), ("class", 8 * MS)])
def test_flows_share_the_bucket_of_their_address_or_class(per: str, late: int) -> None:
    packets = sent((0, 0, 0, 10), (21, 0, 0, 10), (21, 1, 0, 10))
    box = Box(service=ServiceTime("constant", 0.0), throttle=Throttle(1e6, 1000, per))
    result = through(packets, [THROTTLED] * 2, box, clients=np.array([5, 5]))
    assert result.added_delay_ns[2] == late


def test_a_slow_link_delays_with_and_without_the_box() -> None:
    packets = sent((0, 0, 0, 10), (0, 0, 0, 10))
    box = Box(service=ServiceTime("constant", 1.0 * MS), link_bps=8e6)  # 1 ms per packet
    result = through(packets, [WEB], box)
    assert result.added_delay_ns.tolist() == [1 * MS, 1 * MS]  # 2 and 3 ms, less 1 and 2 ms


def test_a_full_link_loses_packets() -> None:
    packets = sent(*[(0, 0, 0, 10)] * 4)
    box = Box(service=ServiceTime("constant", 0.0), link_bps=8e6, buffer=2)
    assert through(packets, [WEB], box).lost.tolist() == [0, 0, 0, 2]


def test_speeding_up_raises_the_load_until_the_box_collapses() -> None:
    rng = np.random.default_rng(1)
    n = 20_000
    ts = np.sort(rng.integers(0, 10_000 * MS, n))
    packets = Packets(
        ts, np.zeros(n, np.int64), np.full(n, 100), np.full(n, 50), np.zeros(n, np.uint64)
    )
    box = Box(service=ServiceTime("constant", 0.05 * MS), buffer=100)
    result = through(packets, [WEB], box)
    assert result.utilisation == pytest.approx(0.1, rel=0.01)
    assert 0.95 < result.collapse_load < 1.1
    assert result.collapse_speed_up == pytest.approx(result.collapse_load / result.utilisation)
    faster = through(packets, [WEB], box, speed_up=result.collapse_speed_up * 1.05)
    assert faster.traffic.loc["all", "buffer"] > 0.01
    assert result.traffic.loc["all", "buffer"] == 0


def test_a_box_that_bursts_overrun_has_collapsed_at_the_captures_own_rate() -> None:
    """A hundred packets in 0.1 ms, once in an hour: hardly any load, and half of them are lost."""
    n = 100
    ts = np.append(np.arange(n) * 1000, 3600 * 1000 * MS)
    packets = Packets(
        ts, np.zeros(n + 1, np.int64), np.full(n + 1, 100), np.full(n + 1, 50),
        np.zeros(n + 1, np.uint64),
    )  # fmt: skip
    result = through(packets, [WEB], Box(service=ServiceTime("constant", 10_000.0), buffer=40))
    assert result.traffic.loc["all", "buffer"] == pytest.approx(50 / 101)  # ten began, 40 wait
    assert 0.01 < result.collapse_speed_up < 1
    slower = result.collapse_speed_up / 1.02
    mended = through(
        packets, [WEB], Box(service=ServiceTime("constant", 10_000.0), buffer=40), speed_up=slower
    )
    assert mended.traffic.loc["all", "buffer"] <= 0.01


def test_drawn_service_times_come_from_the_seed() -> None:
    packets = sent(*[(i, 0, 0, 10) for i in range(50)])
    box = Box(service=ServiceTime("exponential", 1.0 * MS))
    first, again, other = (
        through(packets, [WEB], box, seed=seed).added_delay_ns.tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_packets_and_flows_must_belong_together() -> None:
    with pytest.raises(ClassifierError, match="belong together"):
        through(sent((0, 1, 0, 10)), [WEB], Box())


@pytest.mark.parametrize(
    ("text", "bps"), [("64k", 64e3), ("1.5M", 1.5e6), ("10Gbit/s", 1e10), ("100", 100.0)]
)
def test_rates_are_read(text: str, bps: float) -> None:
    assert parse_rate(text) == bps


@pytest.mark.parametrize("text", ["", "fast", "-1M", "0", "1e99", "1M1"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ClassifierError, match="is no rate"):
        parse_rate(text)


@pytest.mark.parametrize(
    "text", ["", "constant", "constant:5", "constant:-1us", "gamma:1us", "file:"]
)
def test_what_is_no_service_time_is_refused(text: str) -> None:
    with pytest.raises(ClassifierError, match="is no"):
        parse_service(text)


def test_service_times_are_drawn_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "times.txt"
    path.write_text("# ns\n100\n\n300\n")
    service = parse_service(f"file:{path}", "2us")
    assert set(service.draw(100, 1)) == {100.0, 300.0}
    assert (service.mean_ns, service.flow_ns) == (200.0, 2000.0)


@pytest.mark.parametrize("content", ["", "# nothing\n", "100\nfast\n", "-1\n", "nan\n", "inf\n"])
def test_a_file_without_times_is_refused_with_its_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "times.txt"
    path.write_text(content)
    with pytest.raises(ClassifierError, match=r"times\.txt"):
        parse_service(f"file:{path}")


@pytest.mark.parametrize(
    "wrong",
    [
        {"cores": 0},
        {"buffer": 0},
        {"link_bps": 0.0},
        {"dispatch": "random"},
    ],
)
def test_a_box_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ClassifierError):
        Box(**wrong)


def test_a_run_is_simulated_and_printed_and_is_plain_json() -> None:
    demo = classifier.datasets.demo()
    run = classifier.classify(demo.capture, registry=demo.register, policy=demo.policy)
    result = run.simulate(cores=2, throttle=Throttle(64e3))
    books = result.traffic["packets"]
    assert books["all"] == run.accounting["packets_in_flows"] == books["ordinary"] + books["vpn"]
    assert result.traffic.loc["vpn", "blocked"] > 0
    assert "added delay" in result.text()
    again = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert again["traffic"][0]["packets"] == books["all"]
    assert "<table" in result._repr_html_()


def test_measured_service_times_are_those_of_this_machine() -> None:
    demo = classifier.datasets.demo()
    run = classifier.classify(demo.capture)
    result = run.simulate(service_time="measured")
    assert "measured" in result.settings["service"]
    assert result.utilisation > 0
    assert math.isfinite(result.traffic.loc["all", "delay_p50_us"])


def test_a_stream_cannot_be_simulated(tmp_path: Path) -> None:
    demo = classifier.datasets.demo()
    with Path(demo.capture).open("rb") as stream:
        run = classifier.classify(stream)
    with pytest.raises(ClassifierError, match="cannot be read a second time"):
        run.simulate()

"""The relay delays, loses, reorders and holds back as it was told."""

import itertools
import random

import pytest

from classifier.lab.relay import BACKLOG_S, Shaper, tagged, untagged


def shaper(**settings: float) -> Shaper:
    return Shaper(random.Random("relay"), **settings)


def departures(one: Shaper, count: int, gap: float, size: int = 1000) -> list[float | None]:
    return [one.admit(number * gap, size) for number in range(count)]


def test_without_impairment_a_frame_leaves_at_once() -> None:
    assert departures(shaper(), 3, 0.5) == [0.0, 0.5, 1.0]


def test_delay_is_added_to_every_frame() -> None:
    assert departures(shaper(delay_s=0.02), 3, 0.5) == pytest.approx([0.02, 0.52, 1.02])


def test_jitter_spreads_the_delay_evenly_and_keeps_the_order() -> None:
    out = [due for due in departures(shaper(delay_s=0.1, jitter_s=0.02), 5000, 0.05) if due]
    waits = [due - number * 0.05 for number, due in enumerate(out)]
    assert out == sorted(out)
    assert min(waits) >= 0.1
    assert max(waits) <= 0.12
    assert sum(waits) / len(waits) == pytest.approx(0.11, abs=0.001)


def test_frames_never_overtake_by_jitter() -> None:
    out = [due for due in departures(shaper(delay_s=0.01, jitter_s=0.05), 2000, 0.001) if due]
    assert out == sorted(out)


def test_loss_has_the_share_that_was_asked_for() -> None:
    one = shaper(loss=0.05)
    lost = departures(one, 20_000, 0.001).count(None)
    assert lost == one.counts["lost"]
    assert lost / 20_000 == pytest.approx(0.05, abs=0.005)


def test_reordered_frames_are_overtaken() -> None:
    one = shaper(delay_s=0.01, reorder=0.02)
    out = [due for due in departures(one, 10_000, 0.001) if due is not None]
    behind = sum(due > later for due, later in itertools.pairwise(out))
    assert one.counts["reordered"] / 10_000 == pytest.approx(0.02, abs=0.005)
    assert behind > 0.8 * one.counts["reordered"]


def test_rate_limits_bytes_per_second() -> None:
    out = departures(shaper(rate_bytes=100_000), 20, 0.0)
    assert out == pytest.approx([0.01 * (number + 1) for number in range(20)])


def test_a_queue_that_is_too_long_drops_what_comes_last() -> None:
    one = shaper(rate_bytes=100_000)
    out = departures(one, 100, 0.0)
    assert one.counts["overrun"] == out.count(None) > 50
    assert max(due for due in out if due is not None) <= BACKLOG_S + 0.02


def test_the_same_seed_loses_the_same_frames() -> None:
    first, second = (departures(shaper(loss=0.1), 500, 0.001) for _ in range(2))
    assert first == second


def test_tag_goes_behind_the_addresses_and_comes_off_again() -> None:
    frame = bytes(range(12)) + b"\x08\x00" + b"packet"
    marked = tagged(frame, 100)
    assert marked[12:16] == b"\x81\x00\x00\x64"
    assert marked[16:18] == b"\x08\x00"
    assert untagged(marked) == frame
    assert untagged(frame) == frame

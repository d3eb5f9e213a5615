"""What parts of a capture show, and what they are asked for again."""

from typing import Any

import frames as f
import numpy as np
import pytest
from frames import ACK, FIN, RST, SYN
from numpy.typing import NDArray
from reading import Outcome, collect, group_in_parts, plain

from classifier.errors import ClassifierError
from classifier.flows import FlowTable, PartError, PartTable
from classifier.tables import NO_WRAPPING, PACKET

A, B = 0, 1  # who sends
BUFFER = np.arange(4000).astype(np.uint8)


def rows(*packets: tuple[float, int] | tuple[float, int, dict[str, int]]) -> NDArray[np.void]:
    """Make rows of the packet table of (second, who sends, fields other than these)."""
    out = np.zeros(len(packets), PACKET)
    out["proto"], out["ip_version"], out["tcp_flags"], out["wrapping"] = 6, 4, ACK, NO_WRAPPING
    for i, (row, (second, sender, *fields)) in enumerate(zip(out, packets, strict=True)):
        row["ts_ns"], row["frame"] = f.START + round(second * f.SECOND), i + 1
        row["src_lo"], row["dst_lo"] = (2, 1) if sender else (1, 2)
        row["src_port"], row["dst_port"] = (443, 5000) if sender else (5000, 443)
        row["ip_bytes"] = 40
        for name, value in (fields[0] if fields else {}).items():
            row[name] = value
    return out


def data(seq: int, size: int = 10, **fields: int) -> dict[str, int]:
    return {
        "seq": seq,
        "payload_bytes": size,
        "payload_stop": size,
        "ip_bytes": 40 + size,
        **fields,
    }


def talk(n: int, start: float = 0, step: float = 1, seq: int = 1000) -> list[Any]:
    """Both send in turn."""
    return [(start + step * i, i % 2, data(seq + 10 * (i // 2))) for i in range(n)]


def whole(packets: NDArray[np.void], **timeouts: float | None) -> Outcome:
    table, own = FlowTable(**timeouts), packets.copy()
    batches = [*table.add(own, BUFFER), *table.finish()]
    return collect(batches, own["flow_id"].tolist(), table, [], 0)


def merged(packets: NDArray[np.void], *cuts: int, **timeouts: float | None) -> list[PartError]:
    """Merge parts, see that they give what the whole gives; return why some were made again."""
    got, refused = group_in_parts([(packets.copy(), BUFFER)], cuts, **timeouts)
    want = whole(packets, **timeouts)
    assert plain(got) == plain(want)
    assert got.flow_ids == want.flow_ids
    return refused


def part_of(packets: NDArray[np.void], **options: Any) -> Any:
    table = PartTable(**options)
    table.add(packets.copy(), BUFFER)
    return table.finish()


# --- merged at once -------------------------------------------------------------------------------


def test_a_long_flow_in_many_parts_is_merged_at_once() -> None:
    packets = rows((0, A, data(999, 0, tcp_flags=SYN)), *talk(600, 1))
    assert merged(packets, 1, 2, 100, 300, 301, 599) == []
    assert whole(packets).flows.size == 1


def test_a_hole_and_a_repetition_at_the_border_are_counted_once() -> None:
    before, after = talk(50), talk(100, 50, seq=1300)
    packets = rows(*before, (50, A, data(1240)), (50, A, data(1240)), *after)
    for cut in (49, 50, 51, 52):
        assert merged(packets, cut) == []
    flow = whole(packets).flows[0]
    assert (flow["orig_gaps"], flow["resp_gaps"], flow["orig_retransmissions"]) == (1, 1, 2)


def test_a_direction_that_is_silent_for_long_after_the_border_goes_on() -> None:
    alone = [(100 + i, A, data(1250 + 10 * i, fragment_id=7)) for i in range(50)]
    packets = rows(*talk(50), *alone, (150, B, data(1250)), (151, B, data(1260)))
    assert merged(packets, 50) == []


def test_one_that_was_silent_before_the_border_begins() -> None:
    alone = [(i, A, data(1000 + 10 * i)) for i in range(50)]
    assert merged(rows(*alone, *talk(80, 50, seq=1500)), 50) == []
    late = [(50 + i, A, data(1500 + 10 * i)) for i in range(50)]
    packets = rows(*alone, *late, (100, B, data(7)), (101, B, data(17)))
    assert merged(packets, 50) == []
    assert merged(packets, 101) == []


@pytest.mark.parametrize("opening", [[], [(19.5, A, {"tcp_flags": SYN})]])
def test_a_connection_closed_on_both_sides_of_the_border_ends_at_the_next_syn(
    opening: list[Any],
) -> None:
    closing = [(19, A, data(1100, 0, tcp_flags=FIN))]
    then = [(90, B, data(1350, 0, tcp_flags=FIN)), (91, A, {"tcp_flags": SYN})]
    packets = rows(*talk(20), *closing, *opening, *talk(60, 20, seq=1100), *then, *talk(40, 92))
    cut = 21
    assert merged(packets, cut) == []
    assert whole(packets).flows.size == 2


def test_a_syn_that_only_may_have_ended_the_flow_did_not() -> None:
    packets = rows(*talk(20), *talk(40, 20, seq=1100), (61, A, data(1300, 0, tcp_flags=SYN)))
    assert merged(packets, 20) == []
    assert whole(packets).flows.size == 1


def test_a_reset_before_the_border_ends_the_flow_at_a_syn_after_it() -> None:
    stray, syn = (11, B, data(1050)), (12, A, {"tcp_flags": SYN})
    packets = rows(*talk(10), (10, A, {"tcp_flags": RST}), stray, syn, *talk(60, 13))
    for cut in (11, 12, 13):
        assert merged(packets, cut) == []
    assert whole(packets).flows.size == 2


def test_flags_stay_at_the_most_that_is_counted() -> None:
    packets = rows(*[(0, A)] * 10)
    packets = np.concatenate([packets, np.repeat(packets[:1], 70_000)])
    packets = np.concatenate([packets, np.repeat(rows((0, B)), 65_530)])
    assert merged(packets, 10, 70_100, 70_200) == []
    flow = whole(packets).flows[0]
    assert (flow["orig_flags"][4], flow["resp_flags"][4]) == (65535, 65530)


def test_nothing_can_be_merged_with_something() -> None:
    table = FlowTable()
    packets = rows(*talk(40))
    parts = [part_of(packets[:0]), part_of(packets), part_of(packets[:0])]
    batches = [batch for part in parts for batch in table.merge(part)]
    batches += table.finish()
    assert parts[1].flow_ids.tolist() == [0]
    assert plain(collect(batches, [], table, [], 0)) == plain(whole(packets))


# --- made again -----------------------------------------------------------------------------------


def only(refused: list[PartError], problem: str) -> None:
    [error] = refused
    assert problem in str(error)
    assert str(error).endswith("make it again")


def test_old_bytes_alone_for_long_after_the_border() -> None:
    only(merged(rows(*talk(50), *talk(80, 50, seq=800)), 50), "1 flows go on")


def test_a_direction_whose_next_byte_is_number_0_is_not_one_that_is_not_known() -> None:
    before = [(i, A, data(2**32 - 20 + 10 * i)) for i in range(2)]
    resets = [(2 + i, A, {"tcp_flags": RST}) for i in range(40)]
    only(merged(rows(*before, *resets, (50, A, data(5)), (51, A, data(30))), 2), "1 flows go on")


def test_a_time_of_one_direction_that_is_before_the_border_and_yet_later() -> None:
    ahead = (100, A, data(1250))
    after = [(50 + i / 10, A, data(1260 + 10 * i)) for i in range(20)]
    other = [(90 + i, B, data(1250 + 10 * i)) for i in range(30)]
    packets = rows(*talk(50), ahead, *after, *other, (121, A, data(1460)), (122, B, data(1550)))
    only(merged(packets, 51), "1 flows go on")


def test_the_longest_gap_that_there_was_only_without_what_came_before() -> None:
    ahead = [(100, A, data(1250)), (100, B, data(1250))]
    after = [(40 if i < 5 else 130 + i, i % 2, data(1260 + 10 * (i // 2))) for i in range(60)]
    only(merged(rows(*talk(50), *ahead, *after), 52), "1 flows go on")


def test_the_longest_gap_that_there_was_only_without_what_came_before_but_not_of_a_direction() -> (
    None
):
    ahead = [(100, A, data(1250)), (100, B, data(1250))]
    late = [(40, A, data(1260 + 10 * i)) for i in range(5)]
    after = talk(40, 130, step=0.1, seq=1310)
    answers = [(135 + i, B, data(2000 + 10 * i)) for i in range(110)]
    packets = rows(*talk(50), *ahead, *late, (130, B, data(1260)), *after, *answers, (246, A))
    only(merged(packets, 52), "1 flows go on")


def test_the_other_direction_alone_was_already_later() -> None:
    after = [(60 + i, A, data(1250 + 10 * i)) for i in range(160)]
    only(merged(rows(*talk(50), (200, B, data(1250)), *after), 51), "1 flows go on")


def test_a_connection_that_was_half_closed_in_a_time_that_the_part_does_not_know() -> None:
    closing = (100, A, data(1000, 0, tcp_flags=FIN))
    after = [(65 + 3 * i, i % 2, data(1000 + 10 * (i // 2))) for i in range(36)]
    then = [(175, B, data(1180, 0, tcp_flags=FIN)), (176, A, {"tcp_flags": SYN}), (177, B)]
    packets = rows(closing, (50, B, data(1000)), *after, *then)
    only(merged(packets, 1, idle_timeout_s=10), "1 flows go on")


def test_the_active_timeout_after_the_border() -> None:
    packets = rows(*talk(400))
    only(merged(packets, 100, active_timeout_s=150), "1 flows go on")
    assert whole(packets, active_timeout_s=150).flows.size == 3
    assert merged(packets, 100, active_timeout_s=1000) == []


@pytest.mark.parametrize("others", [0, 5000])
def test_a_fragment_whose_first_one_is_before_the_border(others: int) -> None:
    """Of many such fragments only some are told apart; that some of them are not is enough."""
    udp = {"proto": 17, "tcp_flags": 0}
    first = [(0, A, udp | {"fragment": 1, "fragment_id": 70_000})]
    later = [
        (1, A, udp | {"fragment": 2, "fragment_id": i, "src_port": 0, "dst_port": 0})
        for i in [*range(others), 70_000]
    ]
    only(merged(rows(*first, *later), 1), "first one of a fragment")


def test_a_fragment_that_came_before_its_first_one_is_not_asked_for_again() -> None:
    udp = {"proto": 17, "tcp_flags": 0, "fragment_id": 7}
    later = udp | {"fragment": 2, "src_port": 0, "dst_port": 0}
    packets = rows((0, A, later), (1, A, udp | {"fragment": 1}), (2, A, later))
    only(merged(packets, 2), "first one of a fragment")
    assert merged(packets, 1) == []


# --- refused --------------------------------------------------------------------------------------


def backwards() -> NDArray[np.void]:
    """Half of the flows are an hour late: when a sweep ends them matters."""
    packets = rows(*[(40 * i - i % 2 * 3600, A) for i in range(20_000)])
    packets["src_port"] = np.arange(20_000) % 10
    return packets


def test_times_that_run_back_are_refused_and_the_packets_can_be_added() -> None:
    packets, table = backwards(), FlowTable()
    batches = list(table.add(packets[:7000], BUFFER))
    with pytest.raises(PartError, match=r"run back by 3560 s.*; add all") as caught:
        table.merge(part_of(packets[7000:]))
    assert caught.value.again is None
    batches += [*table.add(packets[7000:], BUFFER), *table.finish()]
    got = collect(batches, packets["flow_id"].tolist(), table, [], 0)
    assert plain(got) == plain(whole(backwards()))


def test_times_that_run_back_are_refused_between_parts_too() -> None:
    table, packets = FlowTable(), rows(*talk(9000, step=0.1))
    packets["tcp_flags"][-1] = SYN
    list(table.add(packets, BUFFER))
    with pytest.raises(PartError, match="run back by 900 s"):
        table.merge(part_of(packets[:2]))


def test_and_after_parts_were_merged() -> None:
    table, packets = FlowTable(), rows(*talk(9000, step=0.1))
    list(table.merge(part_of(packets)))
    with pytest.raises(ClassifierError, match=r"run back .* after parts were merged"):
        list(table.add(packets[:2], BUFFER))
    late = rows((900, A))
    list(table.add(late, BUFFER))
    assert late["flow_id"].tolist() == [0]


def test_a_table_is_as_it_was_after_a_part_was_refused() -> None:
    packets, table = rows(*talk(50), *talk(80, 50, seq=800)), FlowTable()
    packets["dst_port"][:10] = 1
    list(table.add(packets[:50], BUFFER))
    for _ in range(2):
        with pytest.raises(PartError, match="1 flows go on"):
            table.merge(part_of(packets[50:]))
    batches = [*table.add(packets[50:], BUFFER), *table.finish()]
    packets["flow_id"] = 0
    assert plain(collect(batches, [], table, [], 0)) == plain(whole(packets))


@pytest.mark.parametrize("name", ["idle_timeout_s", "active_timeout_s"])
def test_a_part_with_another_timeout_is_refused(name: str) -> None:
    with pytest.raises(PartError, match="other timeouts"):
        FlowTable().merge(part_of(rows((0, A)), **{name: 7}))


def test_flows_that_may_be_too_many_are_refused() -> None:
    packets = rows(*[(i, A, {"src_port": i}) for i in range(20)])
    table = FlowTable(max_flows=30)
    list(table.merge(part_of(packets)))
    with pytest.raises(PartError, match="more than 30 live flows"):
        table.merge(part_of(packets))
    with pytest.raises(PartError, match="more than 19 flows"):
        part_of(packets, max_flows=19)


# --- sums -----------------------------------------------------------------------------------------


def test_sums_of_squares_are_exact_however_large() -> None:
    gaps = [3_000_000_001, 59_999_999_999_999, 1, 4_294_967_295, 2**47 + 1, 4_294_967_296]
    seconds = [sum(gaps[:i]) / f.SECOND for i in range(len(gaps) + 1)]
    packets = rows(*[(0, A)] * len(seconds))
    packets["ts_ns"] = f.START + np.cumsum([0, *gaps])
    for cut in range(1, len(seconds)):
        assert merged(packets, cut, idle_timeout_s=None) == []
    flow = whole(packets, idle_timeout_s=None).flows[0]
    assert flow["iat_sumsq"] == flow["orig_iat_sumsq"] == float(sum(gap**2 for gap in gaps))


def test_they_stay_at_the_greatest() -> None:
    times = [0, 400_000, 400_001, 900_000, 900_001] * 8 + [900_002, 900_003]
    packets = rows(*[(max(times[: i + 1]) + i / 10, A) for i in range(len(times))])
    for cut in (1, 2, 3, 20, 41):
        merged(packets, cut, idle_timeout_s=None)
    assert whole(packets, idle_timeout_s=None).flows["iat_sumsq"][0] == 2.0**96

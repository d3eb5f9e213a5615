"""tinc: the first line, data of 1.1, data beside a connection, and what only looks like it."""

import pytest
from build import TCP, UDP, F, P, batch
from overlay_messages import tinc_data
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.tinc import DETECTOR
from classifier.tables import Strength

NEAR, FAR = b"0 near 17\n", b"0 far 17\n1 672 0 0 0 0FAD\n"
A, B = bytes.fromhex("8056c2e21c77"), bytes.fromhex("1d719394a4b2")


def found(*packets: P, proto: int = TCP, **flow):
    return run_detectors(batch(F(proto, list(packets), **flow)), [DETECTOR])


@pytest.mark.parametrize("line", [NEAR, b"0 a_Long_Name42 17.7\n", b"0 ?inv 17.10\n"])
def test_the_line_of_both_sides_is_proof(line):
    (e,) = found(P(0, line), P(1, FAR), resp_port=4444)
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "tinc")


def test_the_line_of_one_side_is_strong():
    assert found(P(1, FAR))[0].strength is Strength.STRONG


@pytest.mark.parametrize(
    "line",
    [
        b"0 near 18\n",
        b"1 near 17\n",
        b"0  17\n",
        b"0 ne-ar 17\n",
        b"0 near 17",
        b"0 near 171\n",
        b"0 near 17.\n",
        b"0 near 17.x\n",
        b"0 " + b"n" * 80 + b" 17\n",
        b"0 near\n17\n",
    ],
)
def test_other_lines_are_nothing(line):
    assert found(P(0, line), P(1, line)) == []


def test_every_truncation_is_nothing():
    for n in range(1, len(NEAR)):
        assert found(P(0, NEAR[:n])) == []


def test_data_of_1_1_both_ways_are_proof():
    packets = [P(d, tinc_data((A, B)[d], 7 + n)) for n in range(2) for d in (0, 1)]
    assert found(*packets, proto=UDP)[0].strength is Strength.PROOF


def test_three_data_messages_of_one_side_are_strong_and_two_nothing():
    packets = [P(0, tinc_data(A, 7 + n)) for n in range(3)]
    assert found(*packets, proto=UDP)[0].strength is Strength.STRONG
    assert found(*packets[:2], proto=UDP) == []


def test_one_source_both_ways_or_jumping_sequences_are_nothing():
    same = [P(d, tinc_data(A, 7 + n)) for n in range(2) for d in (0, 1)]
    jumps = [P(d, tinc_data((A, B)[d], 999 * n)) for n in range(4) for d in (0, 1)]
    assert found(*same, proto=UDP) == []
    assert found(*jumps, proto=UDP) == []


META = F(TCP, [P(0, NEAR), P(1, FAR)], orig_port=40123, resp_port=655)
DATA = [P(d, secret(84)) for _ in range(2) for d in (0, 1)]


def paired(**flow):
    flows = batch(META, F(UDP, flow.pop("packets", DATA), **flow))
    return [e for e in run_detectors(flows, [DETECTOR]) if e.flow == 1]


@pytest.mark.parametrize(
    "flow",
    [
        {"orig_port": 655, "resp_port": 655},
        {"orig_port": 33333, "resp_port": 655},
        {"orig": 0xC6336401, "resp": 0x0A000001, "orig_port": 655, "resp_port": 7777},
    ],
    ids=["both", "to the server", "from the server"],
)
def test_random_datagrams_to_where_the_connection_leads_are_strong(flow):
    (e,) = paired(**flow)
    assert (e.strength, e.family) == (Strength.STRONG, "tinc")
    assert e.detail.startswith("2 messages that look random")


@pytest.mark.parametrize(
    "flow",
    [
        {"resp_port": 656},
        {"resp": 0xC6336402, "resp_port": 655},
        {"orig": 0x0A000002, "resp_port": 655},
        {"resp_port": 655, "packets": [*DATA, P(0, b"plain text, and not a little of it")]},
        {"resp_port": 655, "packets": DATA[:1]},
    ],
    ids=["port", "responder", "originator", "text", "one"],
)
def test_other_datagrams_are_not_taken_for_its_data(flow):
    assert paired(**flow) == []


def test_datagrams_without_the_connection_are_nothing():
    assert found(*DATA, proto=UDP, orig_port=655, resp_port=655) == []


def blocks(*frames: int) -> list[P]:
    """Messages of 1.0 with AES: sequence, frame and padding in whole blocks, MAC of 4 bytes."""
    return [P(n % 2, secret((4 + size) // 16 * 16 + 16 + 4)) for n, size in enumerate(frames)]


FRAMES = (42, 42, 700, 700, 1100, 1100, 66, 66, 300, 98)  # probes of the path's MTU among them
TALKED = (98, 98, 98, 74, 74, 66, 900, 66, 98, 42)  # a connection is opened


def test_whole_blocks_without_the_connection_are_strong():
    (e,) = found(*blocks(*FRAMES), proto=UDP)
    assert (e.strength, e.family, e.packet) == (Strength.STRONG, "tinc", 7)
    assert found(*blocks(*TALKED), proto=UDP)[0].strength is Strength.STRONG


@pytest.mark.parametrize(
    "frames",
    [
        (42, 42, 700, 700, 1100, 1090, 66, 66, 300, 98),  # one probe alone was answered by its like
        (42, 500, 700, 600, 900, 800, 1100, 700, 1000, 1100, 1200, 66),  # most were not
        (42, 42, 300, 300, 200, 200, 66, 90, 66, 98),  # what both sides send is short
        (98, 98, 98, 74, 98, 66, 900, 66, 74, 42),  # a SYN that is not answered
        (98, 98, 98, 74, 74, 66, 300, 66, 98, 42),  # a connection that carries little
    ],
)
def test_blocks_without_probes_or_a_connection_inside_are_nothing(frames):
    assert found(*blocks(*frames), proto=UDP) == []


def test_a_cluster_s_heartbeats_and_messages_are_nothing():
    # Corosync 3.1, AES and SHA1, as our lab captured it: 20 bytes of MAC, 16 of salt, whole blocks
    sizes = (
        "68 68 68 68 68 68 68 68 84 68 68 84 100 100 148 148 148 148 116 116 116 116 500 244 116"
    )
    packets = [P(n % 2, secret(int(size))) for n, size in enumerate(sizes.split())]
    assert run_detectors(batch(F(UDP, packets))) == []


def test_blocks_of_few_sizes_or_with_none_that_is_small_are_nothing():
    assert found(*blocks(66, 66, 98, 98, 300, 300, 66, 66), proto=UDP) == []
    assert found(*blocks(98, 98, 150, 150, 300, 300, 600, 1100), proto=UDP) == []


def test_another_size_or_a_constant_byte_among_blocks_is_nothing():
    packets = blocks(*FRAMES)
    assert found(*packets, P(0, secret(90)), proto=UDP) == []
    assert found(*[P(d, m[:7] + b"\x55" + m[8:]) for d, m, *_ in packets], proto=UDP) == []


OPENED = "<80 >80 <72 <590 >72 >885 <72 >102"
SPLIT = "<72 >1448 >74 <72 >1440 >82 <72 >200"


def stream(exchange: str, random=secret, **flow):
    words = [(int(word[0] == ">"), int(word[1:])) for word in exchange.split()]
    packets = [P(d, random(size)) for d, size in words]
    return found(*packets, **{"start_seen": False, **flow})


@pytest.mark.parametrize(("exchange", "packet"), [(OPENED, 6), (SPLIT, 5)])
def test_packets_over_tcp_joined_under_way_are_strong(exchange, packet):
    (e,) = stream(exchange)
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.STRONG, "tinc", packet, False)
    assert stream(f"{exchange} <5")[0].packet == packet  # the end of a message says nothing


@pytest.mark.parametrize(
    "exchange",
    [
        "<80 >81 <72 <590 >72 >885 <72 >102",
        "<80 <80 <72 >590 >72 >885 <72 >102",
        "<80 >80 <72 <590 >73 >885 <72 >102",
        "<72 >1448 >74 <72 >1440 >81 <72 >200",
        "<72 >1448 <74 <72 >1440 >82 <72 >200",
        "<73 >1448 >74 <73 >1440 >82 <73 >200",
        "<80 >80 <72 <72 <72 >72",
    ],
)
def test_other_lengths_of_a_stream_are_nothing(exchange):
    assert stream(exchange) == []


def test_a_stream_with_its_beginning_or_with_a_header_is_nothing():
    assert stream(OPENED, start_seen=True) == []
    assert stream(OPENED, lambda n: b"\x17\3\3" + secret(n - 3)) == []
    assert stream(OPENED, bytes) == []


def test_every_truncation_of_a_streams_segments_is_nothing_but_by_a_snaplen():
    words = [(int(word[0] == ">"), secret(int(word[1:]))) for word in OPENED.split()]
    for kept in range(24):
        cut = [P(d, message[:kept], wire=len(message)) for d, message in words]
        assert bool(found(*cut, start_seen=False)) == (kept >= 16)


def probe(sequence: int, size: int = 200, first: int = 0) -> bytes:
    return sequence.to_bytes(4) + bytes([first]) + bytes(13) + secret(size)


def frame(sequence: int, size: int = 60, mac: int = 4) -> bytes:
    header = secret(12) + b"\x08\0" + b"\x45\0" + size.to_bytes(2)
    return sequence.to_bytes(4) + header + bytes(size - 4) + secret(mac)


def clear(*messages: bytes):
    packets = [P(n % 2, message) for n, message in enumerate(messages)]
    return run_detectors(batch(F(UDP, packets)), [DETECTOR])


def test_probes_and_frames_in_clear_that_count_are_strong():
    for kind in (probe, frame):
        (e,) = clear(*(kind(1 + n // 2) for n in range(6)))
        assert (e.strength, e.family) == (Strength.STRONG, "tinc")
    mixed = (probe(1), probe(1), probe(2, first=1), probe(2), frame(3), frame(3, mac=0))
    assert clear(*mixed)


def test_in_clear_two_messages_of_a_side_or_a_sequence_that_stands_still_are_nothing():
    assert clear(*(probe(1 + n // 2) for n in range(5))) == []
    assert clear(*(probe(7) for n in range(6))) == []
    assert clear(*(probe(1 + 100 * n) for n in range(6))) == []


def test_in_clear_frames_of_another_length_and_probes_of_zeros_are_nothing():
    assert clear(*(frame(1 + n // 2, mac=65) for n in range(6))) == []
    assert clear(*(frame(1 + n // 2)[:-5] for n in range(6))) == []
    assert clear(*((1 + n // 2).to_bytes(4) + bytes(200) for n in range(6))) == []


def test_every_truncation_of_a_frame_in_clear_is_nothing_but_by_a_snaplen():
    messages = [frame(1 + n // 2, mac=0) for n in range(6)]
    for kept in range(len(messages[4])):
        assert clear(*messages[:4], messages[4][:kept], messages[5]) == []

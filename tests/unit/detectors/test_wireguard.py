"""WireGuard: handshakes, data in mid-conversation, and what only looks like it."""

import numpy as np
import pytest
from build import UDP, F, P, batch
from vpn_messages import secret, wg_cookie, wg_data, wg_initiation, wg_response

from classifier.detectors.wireguard import DETECTOR, probe
from classifier.tables import Strength

A, B = 0x11223344, 0x55667788


def found(*packets: P, **flow):
    return DETECTOR.detect(batch(F(UDP, list(packets), **flow)))


def kind(message: bytes, *, kept: int | None = None) -> int:
    data = np.frombuffer(message[:kept], np.uint8).copy()
    return probe(data, 0, data.size, len(message))


def test_initiation_then_response_to_its_index_is_proof_and_starts_the_flow():
    (e,) = found(P(0, wg_initiation(A)), P(1, wg_response(B, A)))
    assert (e.strength, e.packet, e.starts) == (Strength.PROOF, 1, True)
    assert e.detail.endswith("response with the same index, packets 1 and 2")


def test_response_to_another_index_is_no_proof():
    (e,) = found(P(0, wg_initiation(A)), P(1, wg_response(B, A + 1)))
    assert e.strength is Strength.STRONG


def test_cookie_reply_to_the_initiation_is_proof():
    (e,) = found(P(0, wg_initiation(A)), P(1, wg_cookie(A)))
    assert e.strength is Strength.PROOF


def test_data_to_the_responders_index_is_proof_without_the_initiation():
    (e,) = found(P(1, wg_response(B, A)), P(0, wg_data(B, 0)))
    assert (e.strength, e.packet) == (Strength.PROOF, 1)


def test_response_echoed_by_its_own_sender_is_no_proof():
    (e,) = found(P(0, wg_initiation(A)), P(0, wg_response(B, A)))
    assert e.strength is Strength.STRONG


def test_retransmitted_initiation_is_matched_by_its_latest_index():
    (e,) = found(P(0, wg_initiation(A)), P(0, wg_initiation(A + 9)), P(1, wg_response(B, A + 9)))
    assert e.detail.endswith("packets 2 and 3")


def test_initiation_without_answer_is_strong():
    (e,) = found(P(0, wg_initiation(A)))
    assert (e.strength, e.starts) == (Strength.STRONG, True)


def test_data_both_ways_in_mid_conversation_is_proof():
    packets = [P(d, wg_data((A, B)[d], 900 + n)) for n in range(3) for d in (0, 1)]
    (e,) = found(*packets)
    assert (e.strength, e.starts) == (Strength.PROOF, False)


def test_data_to_the_same_index_both_ways_is_no_proof():
    packets = [P(d, wg_data(A, 900 + n)) for n in range(3) for d in (0, 1)]
    assert found(*packets)[0].strength is Strength.STRONG


def test_two_data_messages_one_way_are_strong_and_one_weak():
    packets = [P(0, wg_data(A, n, 96)) for n in (5, 6)]
    assert found(*packets)[0].strength is Strength.STRONG
    assert found(packets[0])[0].strength is Strength.WEAK


@pytest.mark.parametrize("second", [(A, 5), (A, 4), (B, 6)])
def test_two_data_messages_that_repeat_counter_or_change_index_are_weak(second):
    packets = [P(0, wg_data(A, 5, 96)), P(0, wg_data(*second, 96))]
    assert found(*packets)[0].strength is Strength.WEAK


def test_reordered_and_repeated_counters_do_not_end_a_run():
    packets = [P(0, wg_data(A, n)) for n in (5, 7, 6, 7, 8)]
    (e,) = found(*packets)
    assert e.strength is Strength.STRONG
    assert e.detail.startswith("3 data messages")


def test_the_packet_named_is_the_one_from_which_it_was_known():
    """More messages of a run say no more: a box would not have waited for them."""
    both = [P(d, wg_data((A, B)[d], 900 + n)) for n in range(8) for d in (0, 1)]
    (e,) = found(*both)
    assert (e.strength, e.packet) == (Strength.PROOF, 3)
    one = [P(0, wg_data(A, n)) for n in range(5, 15)]
    (e,) = found(*one, P(1, wg_data(B, 1)))
    assert (e.strength, e.packet) == (Strength.STRONG, 1)
    assert e.detail.startswith("10 data messages one way")


def test_the_middle_of_a_rekey_is_still_a_run_on_each_side():
    old = [P(d, wg_data((A, B)[d], 50 + n)) for n in range(2) for d in (0, 1)]
    new = [P(d, wg_data((A + 7, B + 7)[d], n)) for n in range(2) for d in (0, 1)]
    assert found(*old, *new)[0].strength is Strength.PROOF


def test_a_snaplen_of_96_leaves_enough():
    cut = [P(d, m[:54], wire=len(m)) for d, m in ((0, wg_initiation(A)), (1, wg_response(B, A)))]
    assert found(*cut)[0].strength is Strength.PROOF


def test_any_port_and_ipv6_will_do():
    (e,) = found(
        P(0, wg_initiation(A)), P(1, wg_response(B, A)), orig_port=53, resp_port=443, ip_version=6
    )
    assert e.strength is Strength.PROOF


@pytest.mark.parametrize("message", [wg_initiation(A), wg_response(B, A), wg_cookie(A)])
def test_every_truncation_by_snaplen_is_the_message_or_cannot_be_told(message):
    whole = kind(message)
    assert whole > 0
    for kept in range(len(message)):
        assert kind(message, kept=kept) == (whole if kept >= 16 else -1)


@pytest.mark.parametrize("message", [wg_initiation(A), wg_response(B, A), wg_cookie(A)])
def test_every_truncation_on_the_wire_is_not_ours(message):
    for n in range(len(message)):
        assert kind(message[:n]) in (0, -1 if n < 16 else 0)


def test_cookie_reply_of_63_bytes_is_not_wireguard():
    assert found(P(1, wg_cookie(A)[:63])) == []


def test_data_of_a_length_that_is_no_multiple_of_16_is_not_wireguard():
    assert found(*[P(0, wg_data(A, n) + b"xy") for n in range(5)]) == []


def test_data_that_fill_an_mtu_are_not_padded_to_16():
    # wg-quick's MTU of 1,420, as a download joined in mid-session has it
    full = [P(1, wg_data(A, 900 + n, 1452)) for n in range(8)]
    acknowledgements = [P(0, wg_data(B, 300 + n, 96)) for n in range(2)]
    (e,) = found(*full, *acknowledgements)
    assert (e.strength, e.packet) == (Strength.PROOF, 9)
    assert found(*full)[0].strength is Strength.STRONG
    assert kind(wg_data(A, 1, 1311)) == 0


def test_full_data_of_several_lengths_are_not_wireguard():
    assert found(*[P(0, wg_data(A, n, 1401 + 2 * n)) for n in range(9)]) == []


def test_a_game_with_type_byte_zeros_and_counter_in_clear_is_not_wireguard():
    # As CAPWAP, Roughtime and LoL Wild Rift have: type and zeros, but structure where a key belongs
    packets = [P(0, wg_data(A, n)[:16] + bytes([0, 0, 0, 7, 0, 0, 0, 1] * 2)) for n in range(5)]
    assert found(*packets) == []


def test_data_shaped_packets_with_a_counter_that_jumps_about_are_at_most_weak():
    jumps = (3, 1 << 40, 9, 1 << 33, 77)
    assert found(*[P(0, wg_data(A, n)) for n in jumps])[0].strength is Strength.WEAK


def test_a_changed_reserved_byte_is_not_wireguard():
    message = wg_initiation(A)
    assert found(P(0, message[:2] + b"\1" + message[3:])) == []


def test_an_all_zero_key_or_mac_is_not_wireguard():
    message = wg_initiation(A)
    assert kind(message[:8] + bytes(32) + message[40:]) == 0
    assert kind(message[:116] + bytes(32)) == 0


def test_a_flow_with_tailscale_discovery_is_left_to_that_name():
    disco = bytes.fromhex("5453f09f92ac") + secret(80)
    assert found(P(0, disco), P(0, wg_initiation(A)), P(1, wg_response(B, A))) == []


def test_other_traffic_first_ends_the_search():
    other = [P(0, secret(33)) for _ in range(5)]
    assert found(*other, P(0, wg_initiation(A)), P(1, wg_response(B, A))) == []


def test_tcp_is_not_looked_at():
    assert DETECTOR.detect(batch(F(6, [P(0, wg_initiation(A)), P(1, wg_response(B, A))]))) == []

"""Tailscale: discovery messages among WireGuard's."""

from build import UDP, F, P, batch
from overlay_messages import disco
from vpn_messages import secret, wg_initiation, wg_response

from classifier.detectors import run_detectors
from classifier.detectors.tailscale import DETECTOR
from classifier.detectors.wireguard import DETECTOR as WIREGUARD
from classifier.tables import Strength

KEY, OTHER = secret(32), secret(32)


def found(*packets: P, **flow):
    return run_detectors(batch(F(UDP, list(packets), **flow)), [DETECTOR])


def test_discovery_both_ways_is_proof_and_starts_the_flow():
    (e,) = found(P(0, disco(KEY)), P(1, disco(OTHER)))
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "tailscale")


def test_two_messages_of_one_side_with_the_same_key_are_proof():
    assert found(P(0, disco(KEY)), P(0, disco(KEY)))[0].strength is Strength.PROOF


def test_one_message_or_the_same_twice_is_strong():
    message = disco(KEY)
    assert found(P(0, message))[0].strength is Strength.STRONG
    assert found(P(0, message), P(0, message))[0].strength is Strength.STRONG


def test_wireguard_may_come_first_and_is_then_named_tailscale():
    flow = F(
        UDP,
        [P(0, wg_initiation(7)), P(0, disco(KEY)), P(1, disco(OTHER)), P(1, wg_response(9, 7))],
    )
    (e,) = run_detectors(batch(flow), [DETECTOR, WIREGUARD])
    assert (e.detector, e.strength, e.starts) == ("tailscale", Strength.PROOF, False)


def test_wireguard_alone_is_nothing():
    assert found(P(0, wg_initiation(7)), P(1, wg_response(9, 7))) == []


def test_a_key_of_zeros_or_text_is_nothing():
    assert found(P(0, disco(bytes(32)))) == []
    assert found(P(0, disco(b"what a nice key, all of letters!"))) == []


def test_every_truncation_is_nothing_on_the_wire():
    message = disco(KEY, 18)
    for n in range(1, 80):
        assert found(P(0, message[:n])) == []
    for kept in range(1, len(message)):
        assert bool(found(P(0, message[:kept], wire=len(message)))) == (kept >= 23)

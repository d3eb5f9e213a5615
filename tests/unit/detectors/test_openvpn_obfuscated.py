"""OpenVPN in disguise: the alphabet of first bytes and the sizes survive an XOR."""

import numpy as np
import pytest
from build import TCP, UDP, F, P, batch
from captures import REPOSITORY
from vpn_messages import ovpn_control, secret

from classifier.detectors import run_detectors
from classifier.detectors.openvpn_obfuscated import DETECTOR
from classifier.pipeline import Reading, make_options
from classifier.tables import FlowBatch, Strength

CASES = REPOSITORY / "tests" / "conformance" / "default"
CLIENT, SERVER = secret(8), secret(8)
ACK, CONTROL, DATA = 5, 4, 9


def talk(hmac: int = 0) -> list[tuple[int, bytes]]:
    """Return a handshake and some data, as openvpn 2.6 sends them."""
    acks = [
        (0, ovpn_control(ACK, CLIENT, acks=tuple(range(n)), peer=SERVER, packet_id=None, hmac=hmac))
        for n in (2, 4, 4)
    ]
    return [
        (0, ovpn_control(7, CLIENT, hmac=hmac)),
        (1, ovpn_control(8, SERVER, acks=(0,), peer=CLIENT, hmac=hmac)),
        (0, ovpn_control(CONTROL, CLIENT, acks=(0,), peer=SERVER, hmac=hmac, body=secret(280))),
        (1, ovpn_control(CONTROL, SERVER, hmac=hmac, body=secret(1200))),
        acks[0],
        (1, ovpn_control(CONTROL, SERVER, hmac=hmac, body=secret(103))),
        *acks[1:],
        *((n % 2, bytes([DATA << 3, 0, 0, 0]) + secret(100 + 3 * n)) for n in range(4)),
    ]


def disguised(messages, word: bytes = b"\xa7\x31", proto: int = UDP):
    key = np.resize(np.frombuffer(word, np.uint8), 2000)
    found = []
    for direction, message in messages:
        covered = (np.frombuffer(message, np.uint8) ^ key[: len(message)]).tobytes()
        head = len(message).to_bytes(2) if proto == TCP else b""
        found.append(P(direction, head + covered))
    return F(proto, found)


def found(*flows: F):
    return run_detectors(batch(*flows), [DETECTOR])


@pytest.mark.parametrize("proto", [UDP, TCP])
@pytest.mark.parametrize("hmac", [0, 20, 64])
def test_a_disguised_handshake_is_strong(proto: int, hmac: int) -> None:
    (e,) = found(disguised(talk(hmac), proto=proto))
    assert (e.strength, e.family, e.packet, e.starts) == (Strength.STRONG, "openvpn", 7, True)
    assert e.detail.endswith("packets 1 and 8")


@pytest.mark.parametrize("proto", [UDP, TCP])
def test_a_call_behind_stun_is_no_disguise(proto: int) -> None:
    transaction = bytes.fromhex("2112a442") + secret(12)
    sound = [(n % 2, b"\x80\x12" + secret(30)) for n in range(8)]  # 20 bytes of G.729
    talked = [
        (0, b"\0\1\0\0" + transaction),
        (1, b"\1\1\0\x0c" + transaction + b"\0\x20\0\x08\0\1" + secret(6)),
        *sound[:4],
        (0, b"\x81\xc9\0\7" + secret(28)),
        *sound[4:],
    ]
    assert found(disguised(talked, b"\0", proto)) == []
    talked[1] = (1, talked[1][1][:4] + secret(16) + talked[1][1][20:])
    assert found(disguised(talked, b"\0", proto)) == []


def test_acknowledgements_of_a_side_have_one_random_session_id() -> None:
    messages = talk()
    other = [*messages]
    other[4] = (0, messages[4][1][:1] + secret(8) + messages[4][1][9:])
    assert found(disguised(other)) == []
    plain = [(d, m[:1] + bytes(8) + m[9:]) if len(m) in (26, 34) else (d, m) for d, m in messages]
    assert found(disguised(plain, b"\1")) == []


@pytest.mark.parametrize("hmac", [0, 20])
def test_a_reversed_handshake_is_strong(hmac: int) -> None:
    turned = [(direction, data[:1] + data[:0:-1]) for direction, data in talk(hmac)]
    assert [e.strength for e in found(disguised(turned))] == [Strength.STRONG]


def test_flows_may_stand_in_any_order() -> None:
    other = F(UDP, [P(n % 2, secret(50)) for n in range(6)])
    some = batch(other, disguised(talk()), disguised(talk(20)), other)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        turned = FlowBatch(some.flows[order], some.packets, some.payload)
        evidence = run_detectors(turned, [DETECTOR])
        assert sorted(order[e.flow] for e in evidence) == [1, 2]


def test_without_a_disguise_the_other_detector_speaks() -> None:
    assert found(disguised(talk(), b"\0")) == []


def test_a_reset_that_comes_again_later_is_no_reset() -> None:
    messages = talk()
    assert found(disguised([*messages[:1], *messages]))  # sent twice, before the answer
    assert found(disguised([*messages, messages[0]])) == []
    assert found(disguised([*messages, messages[1]])) == []


def test_sizes_must_fit() -> None:
    messages = talk()
    other = [*messages]
    other[1] = (1, messages[1][1] + b"\0")
    assert found(disguised(other)) == []
    other = [*messages]
    other[4] = (0, messages[4][1] + b"\0")  # an acknowledgement that has no size of one
    assert found(disguised(other)) == []
    assert found(disguised(messages[:7])) == []  # two acknowledgements


def test_random_first_bytes_are_no_alphabet() -> None:
    sizes = [(direction, secret(len(message))) for direction, message in talk()]
    assert found(F(UDP, [P(*one) for one in [*sizes, *sizes]])) == []


def test_one_side_alone_says_nothing() -> None:
    for side in (0, 1):
        alone = [one for one in talk() if one[0] == side]
        assert found(disguised(alone)) == []


def test_the_wrapped_key_of_tls_crypt_v2_is_passed() -> None:
    messages = [(d, m + secret(40)) for d, m in talk()]  # replay id, time and tag
    messages[0] = (0, messages[0][1] + secret(299))
    assert found(disguised(messages))
    messages[1] = (1, messages[1][1] + secret(6))
    assert found(disguised(messages))


@pytest.mark.parametrize("proto", [UDP, TCP])
def test_every_truncation_can_be_read(proto: int) -> None:
    flow = disguised(talk(), proto=proto)
    for size in range(60):
        cut = [P(p.direction, p.payload[:size], wire=len(p.payload)) for p in flow.packets]
        assert len(found(F(proto, cut))) <= 1
    for n in range(len(flow.packets)):
        assert len(found(F(proto, flow.packets[:n]))) == (n >= 8)


@pytest.mark.parametrize("case", ["udp-plain", "udp-tls-crypt", "tcp-tls-auth", "tcp-tls-crypt-v2"])
@pytest.mark.parametrize("word", [b"\x01", b"\x5a", b"\xff"])
def test_a_real_handshake_is_found_under_every_word(case: str, word: bytes) -> None:
    reading = Reading([CASES / f"openvpn-{case}" / "capture.pcap"], make_options(model=None))
    (read,) = reading.batches()
    payload = read.payload.copy()
    for packet in read.packets:
        start = packet["start"] + (2 if "tcp" in case else 0)
        payload[start : packet["stop"]] ^= word[0]
    (e,) = run_detectors(FlowBatch(read.flows, read.packets, payload), [DETECTOR])
    assert e.strength is Strength.STRONG

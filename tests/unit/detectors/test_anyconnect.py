"""AnyConnect: TLS and DTLS to one server, the request in clear text."""

import pytest
from build import TCP, UDP, F, P, batch
from vpn_messages import secret

from classifier.detectors import run_detectors
from classifier.detectors.anyconnect import DETECTOR
from classifier.identify import identify
from classifier.tables import Strength

SECOND = 1_000_000_000
TLS = b"\x16\3\1\0\x80\1" + secret(122)
SESSION = secret(32)


def dtls(
    kind: int, *, session: bytes = SESSION, version: int = 0xFEFF, srtp: bool = False
) -> bytes:
    """Return a hello in a DTLS record, RFC 6347 4.1 and 4.2."""
    tail = b"\0\0\2\0\x39\1\0" + (b"\0\6\0\x0e\0\2\0\0" if srtp else b"")
    body = version.to_bytes(2) + secret(32) + bytes([len(session)]) + session + tail
    size = len(body).to_bytes(3)
    message = bytes([kind]) + size + bytes(5) + size + body
    return b"\x16" + version.to_bytes(2) + bytes(8) + len(message).to_bytes(2) + message


def tls(at: int = 0, **kwargs) -> F:
    packets = [P(0, TLS, at * SECOND), P(1, TLS, at * SECOND + 1)]
    return F(TCP, packets, resp_port=kwargs.pop("resp_port", 443), **kwargs)


def fast_path(hello: bytes, at: int = 5, *, answer: bytes | None = None, **kwargs) -> F:
    packets = [P(0, hello, at * SECOND)]
    packets += [P(1, answer, at * SECOND + 1)] if answer else []
    return F(UDP, packets, resp_port=kwargs.pop("resp_port", 443), **kwargs)


def found(*flows: F):
    return run_detectors(batch(*flows), [DETECTOR])


def test_tls_and_then_dtls_that_names_a_session_are_strong_for_both_flows():
    first, second = found(tls(), fast_path(dtls(1), answer=dtls(2)))
    assert (first.flow, second.flow) == (0, 1)
    assert first.strength is second.strength is Strength.STRONG
    assert first.family == "anyconnect"
    assert (first.packet, second.packet) == (1, 3)


def test_what_dtls_tells_of_tls_is_known_when_it_comes():
    flows = batch(tls(), fast_path(dtls(1), answer=dtls(2)))
    evidence = run_detectors(flows, [DETECTOR])
    told = int(flows.flows["first_ns"][1])
    assert evidence[0].detail.endswith("at packet 3; last kept before it: packet 2")
    assert identify(flows, evidence).decided_ns.tolist() == [told, told + 1]
    assert identify(flows, evidence).decided_packet.tolist() == [2, 2]


def test_the_order_of_the_flows_in_the_batch_does_not_matter():
    assert len(found(fast_path(dtls(1), answer=dtls(2)), tls())) == 2


def test_a_pair_whose_dtls_is_not_answered_is_strong_where_the_hello_is_whole():
    assert [e.strength for e in found(tls(), fast_path(dtls(1)))] == [Strength.STRONG] * 2
    hello = dtls(1)
    cut = F(UDP, [P(0, hello[:59], 5 * SECOND, len(hello))], resp_port=443)
    assert found(tls(), cut) == []


@pytest.mark.parametrize(
    "other",
    [
        fast_path(dtls(1), answer=dtls(2), resp=0xC6336402),
        fast_path(dtls(1), answer=dtls(2), orig=0x0A000002),
        fast_path(dtls(1), answer=dtls(2), resp_port=4433),
        fast_path(dtls(1), at=-5, answer=dtls(2)),
        fast_path(dtls(1), at=90, answer=dtls(2)),
    ],
    ids=["server", "client", "port", "before", "long after"],
)
def test_dtls_with_another_endpoint_or_time_is_no_pair(other):
    assert found(tls(), other) == []


def test_webrtc_that_offers_srtp_or_names_no_session_is_no_pair():
    assert found(tls(), fast_path(dtls(1, srtp=True), answer=dtls(2))) == []
    assert found(tls(), fast_path(dtls(1, session=b""), answer=dtls(2))) == []


def test_dtls_of_the_version_before_rfc_4347_is_strong_by_itself():
    (e,) = found(fast_path(dtls(1, version=0x0100), answer=dtls(2, version=0x0100)))
    assert e.strength is Strength.STRONG
    assert found(fast_path(dtls(1, version=0x0100))) == []


def test_that_version_without_a_session_is_nothing():
    hello = dtls(1, version=0x0100, session=b"")
    assert found(fast_path(hello, answer=dtls(2, version=0x0100))) == []


def test_every_truncation_of_the_hello_is_nothing():
    hello = dtls(1)
    for kept in range(len(hello) - 2):
        cut = F(UDP, [P(0, hello[:kept], 5 * SECOND, wire=len(hello))], resp_port=443)
        assert found(tls(), cut) == []


@pytest.mark.parametrize("kept", [54, 86])
def test_a_hello_cut_by_a_snaplen_is_strong_beside_tls_where_it_is_answered(kept):
    hello = dtls(1)
    cut = F(UDP, [P(0, hello[:kept], 5 * SECOND, wire=len(hello)), P(1, dtls(2))], resp_port=443)
    first, second = found(tls(), cut)
    assert first.strength is second.strength is Strength.STRONG
    assert ("cut before its session" in second.detail) == (kept == 54)
    assert found(cut) == []


def test_the_request_in_clear_text_and_its_answer_are_proof():
    request = b"CONNECT /CSCOSSLC/tunnel HTTP/1.1\r\nHost: vpn\r\n\r\n"
    answer = b"HTTP/1.1 200 CONNECTED\r\n\r\n"
    (e,) = found(F(TCP, [P(0, request), P(1, answer)]))
    assert e.strength is Strength.PROOF
    assert found(F(TCP, [P(0, request[:30]), P(1, answer)])) == []
    assert found(F(TCP, [P(0, b"CONNECT host:443 HTTP/1.1\r\n\r\n"), P(1, answer)])) == []


DATA = b"\x17\xfe\xfd\0\1" + bytes(5) + b"\1\0\x30" + secret(48)  # RFC 6347 4.1: data of epoch 1
TLS_DATA = b"\x17\3\3\0\x40" + secret(64)


def under_way(data: bytes = DATA, first: int = 0, sides: int = 2, at: int = 5, **kwargs) -> F:
    packets = [P((first + n) % 2, data, at * SECOND + n) for n in range(sides)]
    return F(UDP, packets, **{"orig_port": 40001, "resp_port": 443, **kwargs})


def tls_under_way(first: int = 0, **kwargs) -> F:
    packets = [P((first + n) % 2, TLS_DATA, n) for n in range(2)]
    return F(TCP, packets, **{"resp_port": 443, "start_seen": False, **kwargs})


def test_tls_and_dtls_under_way_at_one_port_are_weak_for_both_whoever_is_seen_first():
    turned = {"orig": 0xC6336401, "resp": 0x0A000001, "orig_port": 443, "resp_port": 40000}
    for one in (tls_under_way(), tls_under_way(**turned)):
        for other in (under_way(), under_way(**turned | {"resp_port": 40001})):
            assert [(e.flow, e.strength, e.starts) for e in found(one, other)] == [
                (0, Strength.WEAK, False),
                (1, Strength.WEAK, False),
            ]


@pytest.mark.parametrize(
    "other",
    [
        under_way(resp_port=444),
        under_way(resp=0xC6336402),
        under_way(sides=1),
        under_way(at=90),
        under_way(DATA[:4] + b"\0" + DATA[5:]),  # epoch 0: nothing was agreed on
        under_way(b"\x16" + DATA[1:]),
    ],
)
def test_other_dtls_under_way_is_no_pair(other):
    assert found(tls_under_way(), other) == []


def test_every_truncation_of_dtls_data_is_a_pair_from_its_epoch_on():
    for kept in range(len(DATA)):
        flow = under_way()
        cut = [p._replace(payload=DATA[:kept], wire=len(DATA)) for p in flow.packets]
        assert bool(found(tls_under_way(), flow._replace(packets=cut))) == (kept >= 5)


def test_a_hello_beside_tls_that_was_joined_under_way_is_strong_whoever_is_seen_first():
    turned = tls_under_way(orig=0xC6336401, resp=0x0A000001, orig_port=443, resp_port=40000)
    evidence = found(turned, fast_path(dtls(1), answer=dtls(2)))
    assert [e.strength for e in evidence] == [Strength.STRONG] * 2

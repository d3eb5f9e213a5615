"""Client hellos in pieces: TLS records, DTLS fragments; what they say beside the name."""

import itertools

import numpy as np
import pytest
from build import F, P, batch
from reference.tls import ja4, parse_hello
from unit.detectors.applications.examples import STUN, TCP, UDP, be, h
from unit.detectors.applications.test_tls import described, hello

from classifier.detectors.applications import name_applications
from classifier.detectors.applications.hellos import join_records

BODY = hello()
MESSAGE = h("01") + be(3, BODY)
WHOLE = ("example.com", "t13d1516h2_8daaf6152771_e5627efa2ab1")


def records(*cuts: int) -> bytes:
    borders = [0, *cuts, len(MESSAGE)]
    pieces = (MESSAGE[a:b] for a, b in itertools.pairwise(borders))
    return b"".join(h("16 0301") + be(2, piece) for piece in pieces)


@pytest.mark.parametrize(
    "cuts", [(4,), (43,), (60,), (100,), (120, 121), tuple(range(10, 200, 10))]
)
def test_a_hello_over_several_records_is_put_together(cuts: tuple[int, ...]) -> None:
    assert described(records(*cuts)) == WHOLE


def test_records_over_several_segments_are_put_together() -> None:
    stream = records(100, 150)
    packets = [P(0, stream[:50]), P(0, stream[50:130]), P(0, stream[130:])]
    names = name_applications(batch(F(TCP, packets, resp_port=443)))
    assert (names.server_name[0], names.ja4[0]) == WHOLE


def test_a_hello_whose_next_record_is_no_handshake_is_cut() -> None:
    stream = h("16 0301") + be(2, MESSAGE[:150]) + h("17 0303") + be(2, MESSAGE[150:])
    assert described(stream)[1] == ""
    stream = h("16 0301") + be(2, MESSAGE[:150]) + h("16 0301 ffff")
    assert described(stream)[1] == ""


def test_no_truncation_of_several_records_has_a_fingerprint() -> None:
    stream = records(60, 150)
    seen = {described(stream[:n], wire=len(stream)) for n in range(0, len(stream), 3)}
    assert seen == {("", ""), ("example.com", "")}


def test_records_without_content_end() -> None:
    assert join_records(h("16 0301 0000") * 400) == b""
    assert join_records(h("16 0301 0002 aabb 16 0301 0001 cc 17 0303 0001 dd")) == h("aabbcc")


DTLS_BODY = BODY[:2] + BODY[2:67] + h("00") + BODY[67:]


def fragment(start: int, stop: int, number: int = 0, body: bytes = DTLS_BODY) -> bytes:
    """Return a DTLS record with a fragment of a hello (RFC 6347 4.2.2)."""
    header = h("01") + len(body).to_bytes(3) + number.to_bytes(2)
    piece = header + start.to_bytes(3) + be(3, body[start:stop])
    return h("16 feff 0000 000000000000") + be(2, piece)


def dtls(*packets: bytes | P) -> tuple[str, str, str]:
    made = [p if isinstance(p, P) else P(0, p) for p in packets]
    names = name_applications(batch(F(UDP, made, resp_port=4433)))
    return names.application[0], names.server_name[0], names.ja4[0]


def test_a_dtls_hello_in_fragments_is_put_together() -> None:
    n = len(DTLS_BODY)
    whole = ("dtls", "example.com", ja4(parse_hello(DTLS_BODY, n, dtls=True), "d"))
    assert whole[2].startswith("d12d1516h2_8daaf6152771_")
    assert dtls(fragment(0, n)) == whole
    assert dtls(fragment(0, 90), fragment(90, n)) == whole
    assert dtls(fragment(0, 90) + fragment(90, n)) == whole
    assert dtls(fragment(0, 90), P(1, b"\x16\xfe\xff"), fragment(80, n)) == whole
    assert dtls(fragment(0, 90), fragment(110, n))[2] == ""
    assert dtls(fragment(0, 90), fragment(90, n, number=1))[2] == ""
    assert dtls(fragment(0, 90), P(1, fragment(90, n)))[2] == ""


def test_an_encrypted_hello_counts_as_an_extension_and_the_outer_name_is_shown() -> None:
    body = hello(
        extensions="0000 fe0d 002b", values={"fe0d": h("00 0001 0001 2a 0020") + bytes(32)}
    )
    name, fingerprint = described(h("16 0301") + be(2, h("01") + be(3, body)))
    assert (name, fingerprint[:10]) == ("example.com", "t13d150300")
    assert fingerprint == ja4(parse_hello(body, len(body)))


@pytest.mark.parametrize(
    ("alpn", "application"),
    [(b"dot", "dot"), (b"imap", "imaps"), (b"bep/1.0", "syncthing"), (b"xmpp-client", "xmpps"),
     (b"ntske/1", "nts-ke"), (b"h2", "tls"), (b"coap", "coaps"), (b"postgresql", "postgresql")],
)  # fmt: skip
def test_the_alpn_name_says_what_tls_carries(alpn: bytes, application: str) -> None:
    body = hello(values={"0010": be(2, be(1, alpn))})
    flow = F(TCP, [P(0, h("16 0301") + be(2, h("01") + be(3, body)))], resp_port=40443)
    assert name_applications(batch(flow)).application[0] == application


def test_many_hellos_in_pieces_of_one_batch_do_not_mix() -> None:
    made = []
    for n in range(40):
        body = hello(values={"0000": be(2, h("00") + be(2, b"host%d" % n))})
        message = h("01") + be(3, body)
        cut = 60 + n
        stream = h("16 0301") + be(2, message[:cut]) + h("16 0301") + be(2, message[cut:])
        made.append(F(TCP, [P(0, stream)], resp_port=443))
    names = name_applications(batch(*made))
    assert list(names.server_name) == [f"host{n}" for n in range(40)]
    assert len(set(names.ja4)) == 1
    assert np.all(names.ja4 != "")


def test_a_dtls_hello_after_stun_has_its_fingerprint() -> None:
    names = dtls(STUN, P(1, STUN), fragment(0, len(DTLS_BODY)))
    assert names == ("stun", "example.com", dtls(fragment(0, len(DTLS_BODY)))[2])

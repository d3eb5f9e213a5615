"""JA3, HASSH, banners, requests; names in certificates. Values of the methods' own documents."""

import hashlib

import numpy as np
import pytest
from build import F, P, batch
from reference.quic import crypto, seal
from unit.detectors.applications.examples import DTLS_HELLO, HELLO, TCP, UDP, be, h, http
from unit.detectors.applications.test_tls import hello

from classifier.detectors.applications import fingerprints, server_certificate_names
from classifier.detectors.applications._fingerprints import hassh, ja3
from classifier.detectors.applications.certificates import CertificateNames, certificate_names


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(2) for value in values)


def test_ja3_of_the_examples_of_its_document() -> None:
    # github.com/salesforce/ja3: 769,47-53-5-10-...,0-10-11,23-24-25,0 and 769,4-5-10-...,,,
    ciphers = numbers(47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4)
    groups = be(2, be(2, numbers(23, 24, 25)))
    listed = numbers(0) + be(2, b"") + numbers(10) + groups + numbers(11) + be(2, be(1, h("00")))
    body = numbers(769) + bytes(32) + h("00") + be(2, ciphers) + h("0100") + be(2, listed)
    assert ja3(body) == "ada70206e40642a3e4461f35503241d5"
    ciphers = numbers(4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99)
    body = numbers(769) + bytes(32) + h("00") + be(2, ciphers) + h("0100")
    assert ja3(body) == "de350869b8c85de67a350c8d186f11e6"


def test_ja3_leaves_grease_out() -> None:
    greased = hello("2a2a 1301", "8a8a 000a fafa", {"000a": be(2, numbers(0x3A3A, 29))})
    assert ja3(greased) == ja3(hello("1301", "000a", {"000a": be(2, numbers(29))}))


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_a_cut_hello_has_no_ja3(cut: int) -> None:
    assert ja3(hello()[:-1][:cut]) == ""


def one(flow: F) -> dict[str, str]:
    found = fingerprints(batch(flow))
    return {name: getattr(found, name)[0] for name in found.__dataclass_fields__}


def test_a_hello_of_tls_dtls_and_quic_has_all_its_fingerprints() -> None:
    tls = one(F(TCP, [P(0, HELLO)], resp_port=443))
    assert (tls["server_name"], tls["ja3"]) == ("server", ja3(HELLO[9:]))
    dtls = one(F(UDP, [P(0, DTLS_HELLO)], resp_port=4433))
    assert dtls["ja3"] == tls["ja3"]
    message = h("01") + be(3, hello())
    sealed = seal(crypto(0, message) + bytes(800), b"12345678")
    quic = one(F(UDP, [P(0, sealed)], resp_port=443))
    assert (quic["server_name"], quic["alpn"], quic["ja3"]) == ("example.com", "h2", ja3(hello()))
    assert quic["ja4"].startswith("q13d1516h2")


LISTS = [
    b"curve25519-sha256,ext-info-c", b"ssh-ed25519", b"aes128-ctr", b"aes256-ctr", b"hmac-sha1",
    b"hmac-sha2-256", b"none", b"zlib", b"", b"",
]  # fmt: skip


def key_exchange(lists: list[bytes], banner: bytes = b"SSH-2.0-OpenSSH_9.6\r\n") -> bytes:
    payload = (
        h("14") + bytes(range(16)) + b"".join(be(4, text) for text in lists) + h("00 00000000")
    )
    return banner + be(4, h("04") + payload + bytes(4))


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_hassh_is_made_of_the_lists_of_ones_own_direction() -> None:
    server = [b"curve25519-sha256,ext-info-s", *LISTS[1:]]
    packets = [P(0, key_exchange(LISTS)), P(1, key_exchange(server, b"SSH-2.0-dropbear\n"))]
    found = one(F(TCP, packets, resp_port=22))
    assert found["hassh"] == md5("curve25519-sha256,ext-info-c;aes128-ctr;hmac-sha1;none")
    assert found["hassh_server"] == md5(
        "curve25519-sha256,ext-info-s;aes256-ctr;hmac-sha2-256;zlib"
    )
    assert (found["client_banner"], found["server_banner"]) == (
        "SSH-2.0-OpenSSH_9.6",
        "SSH-2.0-dropbear",
    )
    turned = one(F(TCP, [P(1 - p.direction, p.payload) for p in packets], orig_port=22))
    assert turned == found


def test_a_cut_key_exchange_has_no_hassh() -> None:
    whole = key_exchange(LISTS)
    assert {hassh(whole[:n]) for n in range(len(whole) - 9)} == {""}
    assert hassh(b"SSH-2.0-x\r\n" + h("0000000c 0a 15") + bytes(10)) == ""


def test_a_request_says_what_it_wants() -> None:
    request = http("GET", "User-Agent: curl/8.5\x1b[2J\r\nUpgrade: websocket\r\n")
    found = one(F(TCP, [P(0, request)], resp_port=80))
    assert found["server_name"] == "www.example.com"
    assert (found["method"], found["target"]) == ("GET", "/")
    assert (found["user_agent"], found["upgrade"]) == (r"curl/8.5\x1b[2J", "websocket")


def test_other_flows_say_nothing() -> None:
    assert set(one(F(UDP, [P(0, b"\x99" * 60)])).values()) == {""}
    assert fingerprints(batch()).ja3.shape == (0,)


def der(tag: int, *content: bytes) -> bytes:
    data = b"".join(content)
    if len(data) < 128:
        return bytes([tag, len(data)]) + data
    return bytes([tag, 0x82]) + be(2, data)


def distinguished(**names: str) -> bytes:
    kinds = {"CN": 3, "C": 6, "O": 10, "OU": 11}
    pairs = (
        der(0x31, der(0x30, der(6, bytes([0x55, 4, kinds[k]])), der(12, v.encode())))
        for k, v in names.items()
    )
    return der(0x30, *pairs)


def certificate(key_bytes: int = 800, version: bytes = h("a003020102")) -> bytes:
    issuer = distinguished(C="DE", O="Test CA", CN="Issuer")
    subject = distinguished(O="Fortinet", OU="FortiGate", CN="FGT60Fé\x1b")
    validity = der(0x30, der(23, b"240101000000Z"), der(23, b"340101000000Z"))
    algorithm = der(0x30, der(6, h("2a864886f70d01010b")), h("0500"))
    key = der(0x30, bytes(key_bytes))
    body = der(0x30, version, h("020101"), algorithm, issuer, validity, subject, key)
    return der(0x30, body, algorithm, der(3, bytes(257)))


NAMES = CertificateNames(r"FGT60Fé\x1b", "Fortinet", "FortiGate", "Issuer", "Test CA", "")
SERVER_HELLO = h("02") + be(3, h("0303") + bytes(32) + h("00 c02f 00"))


def flight(cert: bytes, cut: int = 4000) -> bytes:
    """Return a server's first records: a hello, and a certificate over records of ``cut``."""
    message = h("0b") + be(3, be(3, be(3, cert) + be(3, b"\x30\x00")))
    parts = [SERVER_HELLO, *(message[i : i + cut] for i in range(0, len(message), cut))]
    return b"".join(h("16 0303") + be(2, part) for part in parts)


def names_in(stream: bytes, keep: int = 2048, direction: int = 1) -> CertificateNames:
    packets = [P(1 - direction, HELLO), P(direction, stream[:keep], wire=len(stream))]
    made = batch(F(TCP, packets, resp_port=443))
    return server_certificate_names(made, np.array([0]))[0]


@pytest.mark.parametrize("cut", [4000, 300, 50, 7])
def test_names_in_the_servers_certificate_are_read(cut: int) -> None:
    assert names_in(flight(certificate(), cut)) == NAMES
    assert names_in(flight(certificate(version=b""), cut)) == NAMES


def test_a_certificate_that_was_cut_after_the_subject_still_names_it() -> None:
    long = flight(certificate(key_bytes=9000))
    assert names_in(long) == NAMES
    assert names_in(long, direction=0) == NAMES


def test_a_subject_that_was_cut_gives_only_what_is_whole() -> None:
    whole = certificate()
    allowed = {"", *NAMES}
    for n in range(len(whole)):
        assert set(certificate_names(whole[:n])) <= allowed
    assert certificate_names(whole[: whole.index(b"FGT60")]).unit == "FortiGate"


def test_what_is_no_certificate_names_nothing() -> None:
    nothing = CertificateNames()
    assert names_in(flight(b"")) == nothing
    assert names_in(h("16 0303") + be(2, SERVER_HELLO)) == nothing
    assert names_in(flight(certificate())[50:]) == nothing
    assert names_in(h("17 0303 0020") + bytes(32)) == nothing
    assert certificate_names(h("30 84 ffffffff") + bytes(50)) == nothing
    assert server_certificate_names(batch(), np.zeros(0, np.int64)) == []


def test_text_of_two_bytes_a_character_is_read() -> None:
    pair = der(0x30, der(6, h("550403")), der(0x1E, "Büro".encode("utf-16-be")))
    subject = der(0x30, der(0x31, pair))
    body = der(0x30, h("020101"), der(0x30), distinguished(), der(0x30), subject)
    assert certificate_names(der(0x30, body)).common_name == "Büro"

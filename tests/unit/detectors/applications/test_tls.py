"""Client hellos: RFC 8448's example, FoxIO's JA4 examples, cut and odd hellos."""

import hashlib

import numpy as np
import pytest
from build import F, P, batch
from reference.tls import alpn_characters, ja4, parse_hello
from unit.detectors.applications.examples import DTLS_HELLO, HELLO, TCP, UDP, be, h

from classifier.detectors.applications import name_applications
from classifier.detectors.applications.tls import DTLS, describe_hellos

# The lists of technical_details/JA4.md.
CIPHERS = "1301 1302 1303 c02b c02f c02c c030 cca9 cca8 c013 c014 009c 009d 002f 0035"
EXTENSIONS = "001b 0000 0033 0010 4469 0017 002d 000d 0005 0023 0012 002b ff01 000b 000a 0015"
ALGORITHMS = "0403 0804 0401 0503 0805 0501 0806 0601"
VALUES = {
    "0000": be(2, h("00") + be(2, b"example.com")),
    "0010": be(2, be(1, b"h2") + be(1, b"http/1.1")),
    "002b": be(1, h("0a0a 0304 0303")),
    "000d": be(2, h(ALGORITHMS)),
}


def hello(
    ciphers: str = CIPHERS,
    extensions: str = EXTENSIONS,
    values: dict[str, bytes] | None = None,
    version: str = "0303",
    cookie: bytes = b"",
) -> bytes:
    """Return the body of a client hello."""
    known = VALUES | (values or {})
    body = h(version) + bytes(range(32)) + be(1, bytes(32)) + cookie
    body += be(2, h(ciphers)) + be(1, h("00"))
    listed = b"".join(h(kind) + be(2, known.get(kind, b"")) for kind in extensions.split())
    return body + (be(2, listed) if extensions else b"")


def record(body: bytes) -> bytes:
    return h("16 0301") + be(2, h("01") + be(3, body))


def described(payload: bytes, wire: int | None = None) -> tuple[str, str]:
    names = name_applications(batch(F(TCP, [P(0, payload, wire=wire)], resp_port=443)))
    return names.server_name[0], names.ja4[0]


def test_the_worked_example_of_the_specification_is_reproduced() -> None:
    assert described(record(hello())) == ("example.com", "t13d1516h2_8daaf6152771_e5627efa2ab1")


def test_grease_counts_for_nothing() -> None:
    greased = hello(
        f"2a2a {CIPHERS}", f"8a8a {EXTENSIONS} fafa", {"000d": be(2, h("1a1a" + ALGORITHMS))}
    )
    assert described(record(greased))[1] == "t13d1516h2_8daaf6152771_e5627efa2ab1"


def test_without_signature_algorithms_the_hash_has_no_underscore() -> None:
    body = hello(values={"000d": b""})
    assert described(record(body))[1] == "t13d1516h2_8daaf6152771_6d807ffa2a79"


def test_a_hello_without_ciphers_or_extensions_has_zeros() -> None:
    assert described(record(hello("", ""))) == ("", "t12i000000_000000000000_000000000000")


def test_the_hello_of_rfc_8448_has_its_name_and_the_twins_fingerprint() -> None:
    body = HELLO[9:]
    assert described(HELLO) == ("server", ja4(parse_hello(body, len(body))))
    assert described(HELLO)[1].startswith("t13d030900_")


@pytest.mark.parametrize(
    ("name", "characters"),
    [
        (h("ab"), "ab"), (h("abcd"), "ad"), (h("30ab"), "3b"), (h("3031abcd"), "3d"),
        (h("30abcd31"), "01"), (b"h2", "h2"), (b"http/1.1", "h1"), (b"x", "xx"), (b"", "00"),
    ],
)  # fmt: skip
def test_alpn_characters_are_those_of_the_specification(name: bytes, characters: str) -> None:
    body = hello(values={"0010": be(2, be(1, name))})
    assert described(record(body))[1][8:10] == characters
    assert alpn_characters(name) == characters


@pytest.mark.parametrize(
    ("version", "supported", "characters"),
    [("0301", "", "10"), ("0302", "", "11"), ("0300", "", "s3"), ("0303", "0304 7f1c", "00"),
     ("0303", "0302 0304 0303", "13"), ("1234", "", "00")],
)  # fmt: skip
def test_the_version_is_the_highest_that_is_offered(
    version: str, supported: str, characters: str
) -> None:
    values = {"002b": be(1, h(supported)) if supported else b""}
    assert described(record(hello(version=version, values=values)))[1][1:3] == characters


def test_dtls_hellos_have_their_own_letter_and_versions() -> None:
    names = name_applications(batch(F(UDP, [P(0, DTLS_HELLO)], resp_port=4433)))
    assert names.application[0] == "dtls"
    assert names.server_name[0] == "server"
    assert names.ja4[0][:3] == "d13"
    body = hello(version="fefd", cookie=be(1, b"cookie"), values={"002b": b""})
    rows = np.array([[0, len(body), len(body), DTLS]])
    _, found = describe_hellos(np.frombuffer(body, np.uint8).copy(), rows)
    assert found[0] == ja4(parse_hello(body, len(body), dtls=True), "d")
    assert found[0].startswith("dd2d")


def test_a_hello_over_two_segments_is_read_from_the_stream() -> None:
    whole = record(hello(values={"0015": bytes(1700)}))
    flow = F(TCP, [P(0, whole[:1400]), P(0, whole[1400:])], resp_port=443)
    names = name_applications(batch(flow))
    assert (names.server_name[0], names.ja4[0]) == described(whole)
    assert names.ja4[0] == "t13d1516h2_8daaf6152771_e5627efa2ab1"


def test_no_truncation_has_a_fingerprint_and_the_name_is_all_or_nothing() -> None:
    whole = record(hello())
    seen = {described(whole[:n], wire=len(whole)) for n in range(len(whole))}
    assert seen == {("", ""), ("example.com", "")}


def test_a_hello_with_bytes_left_over_or_missing_has_no_fingerprint() -> None:
    body = hello()
    extra = record(body + b"\0")
    lying = bytearray(record(body))
    lying[lying.index(h("0018")) if h("0018") in lying else -1] ^= 1
    assert described(extra)[1] == ""
    odd = hello(ciphers=CIPHERS + "00")
    assert described(record(odd))[1] == ""


@pytest.mark.parametrize(
    "value",
    [b"", be(2, b""), be(2, h("00 0000")), be(2, h("01") + be(2, b"a")), h("0005 00 ffff 61")],
)
def test_a_server_name_extension_without_a_host_name_gives_none(value: bytes) -> None:
    body = hello(values={"0000": value})
    name, fingerprint = described(record(body))
    assert name == ""
    assert fingerprint == ja4(parse_hello(body, len(body)))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"example.com", "example.com"),
        (b"<script>\x1b[2J", r"<script>\x1b[2J"),
        ("bücher.example".encode(), "bücher.example"),
        ("пример.рф".encode(), "пример.рф"),
        (b"a\xffb", r"a\xffb"),
        (b"\xc3", r"\xc3"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),  # a surrogate is no text
        ("\x85a\x9b".encode(), r"\xc2\x85a\xc2\x9b"),  # C1 controls
        ("ü".encode() * 300, "ü" * 255),
        (b"a" * 253 + b"\xff" * 3, "a" * 253),
        (b"a" * 251 + b"\xff" * 3, "a" * 251 + r"\xff"),
        (b"a\\x41", r"a\x5cx41"),
        (b"\r\n\0", r"\x0d\x0a\x00"),
        (b"a" * 400, "a" * 255),
        (b"\xff" * 400, r"\xff" * 63),
    ],
)
def test_server_names_are_text_without_controls_and_short(sent: bytes, shown: str) -> None:
    body = hello(values={"0000": be(2, h("00") + be(2, sent))})
    assert described(record(body))[0] == shown


def test_the_numbers_of_a_huge_hostile_hello_are_sorted() -> None:
    numbers = [(n * 40503) & 0xFFFF for n in range(900)]
    ciphers = b"".join(n.to_bytes(2) for n in numbers)
    body = hello(ciphers.hex(), "")
    kept = [n for n in numbers if n & 0x0F0F != 0x0A0A or n >> 8 != n & 0xFF]
    text = ",".join(f"{n:04x}" for n in sorted(kept))
    expected = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert described(record(body))[1] == f"t12i990000_{expected}_000000000000"

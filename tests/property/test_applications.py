"""No bytes at all crash the naming of applications; kernel and twin read hellos alike."""

import itertools
import random
import re

import numpy as np
from build import F, P, batch
from hypothesis import given
from hypothesis import strategies as st
from reference.quic import crypto, seal
from reference.tls import ja4, parse_hello
from unit.detectors.applications.examples import HELLO
from unit.detectors.applications.more_examples import ALL_EXAMPLES

from classifier.detectors.applications import (
    APPLICATIONS,
    fingerprints,
    name_applications,
    server_certificate_names,
)
from classifier.detectors.applications.naming import readable
from classifier.detectors.applications.tls import describe_hellos

CONTROLS = "[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
MESSAGES = [e.sent or e.answered for e in ALL_EXAMPLES]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """Return a message of some protocol with bytes changed, cut off or put in."""
    data = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, 300))])


payloads = st.one_of(st.binary(max_size=80), mangled())
packets = st.builds(
    lambda side, data, more: P(side, data, wire=len(data) + more),
    st.integers(0, 1),
    payloads,
    st.sampled_from([0, 0, 0, 1, 700]),
)
ports = st.sampled_from([0, 22, 53, 80, 123, 443, 5353, 5683, 49999, 65535])
flows = st.builds(
    lambda proto, sent, orig_port, resp_port: F(proto, sent, orig_port, resp_port),
    st.sampled_from([1, 6, 6, 17, 17, 132]),
    st.lists(packets, max_size=8),
    ports,
    ports,
)


@given(st.lists(flows, max_size=6))
def test_any_bytes_give_names_of_the_catalogue_and_servers_without_controls(made: list[F]) -> None:
    names = name_applications(batch(*made))
    assert set(names.application) <= set(APPLICATIONS)
    assert all(not re.search(CONTROLS, s) and len(s) <= 255 for s in names.server_name)
    assert names.application.shape == names.starts.shape == (len(made),)


@given(st.lists(flows, min_size=2, max_size=5))
def test_a_flow_is_named_alike_alone_and_among_others(made: list[F]) -> None:
    together = name_applications(batch(*made))
    for i, flow in enumerate(made):
        alone = name_applications(batch(flow))
        assert alone.application[0] == together.application[i]
        assert alone.server_name[0] == together.server_name[i]
        assert alone.ja4[0] == together.ja4[i]
        assert alone.starts[0] == together.starts[i]


numbers = st.one_of(
    st.sampled_from([0x0A0A, 0xDADA, 0, 13, 16, 43, 10, 0x1301, 0x002F]), st.integers(0, 65535)
)


def vector(width: int, data: bytes, lie: int) -> bytes:
    return ((len(data) + lie) % (1 << 8 * width)).to_bytes(width) + data


@st.composite
def hellos(draw: st.DrawFn) -> bytes:
    """Return a hello's body, most often well-formed, with lengths that lie now and then."""
    lies = st.sampled_from([0] * 30 + [1, -1, 200])

    def listed(width: int) -> bytes:
        items = draw(st.lists(numbers, max_size=6))
        return vector(width, b"".join(n.to_bytes(2) for n in items), draw(lies))

    body = draw(st.sampled_from([0x0303, 0x0301, 0xFEFD, 0x1234])).to_bytes(2) + bytes(32)
    body += vector(1, draw(st.binary(max_size=4)), draw(lies))
    if draw(st.booleans()):
        body += vector(1, draw(st.binary(max_size=3)), 0)
    body += listed(2) + vector(1, b"\0", draw(lies))
    if draw(st.integers(0, 9)) == 0:
        return body
    extensions = b""
    for _ in range(draw(st.integers(0, 7))):
        kind = draw(numbers)
        value = draw(st.binary(max_size=9))
        if kind == 0:
            name = vector(2, draw(st.binary(max_size=12)), draw(lies))
            value = vector(2, bytes([draw(st.sampled_from([0, 0, 0, 1]))]) + name, draw(lies))
        elif kind == 16:
            value = vector(2, vector(1, draw(st.binary(max_size=8)), draw(lies)), draw(lies))
        elif kind in (13, 43):
            value = listed(2 if kind == 13 else 1)
        extensions += kind.to_bytes(2) + vector(2, value, draw(lies))
    return body + vector(2, extensions, draw(lies))


@given(
    st.lists(
        st.tuples(hellos(), st.sampled_from([0] * 6 + [1, 9]), st.integers(0, 1)),
        min_size=1,
        max_size=6,
    )
)
def test_the_kernel_reads_hellos_as_the_twin_does(made: list[tuple[bytes, int, int]]) -> None:
    payload = bytearray(b"before")
    rows = []
    for body, missing, dtls in made:
        kept = body[: max(0, len(body) - missing)]
        rows.append((len(payload), len(payload) + len(kept), len(body), dtls))
        payload += kept
    data = np.frombuffer(bytes(payload), np.uint8).copy()
    names, prints = describe_hellos(data, np.array(rows, np.int64))
    for (start, stop, declared, dtls), span, found in zip(rows, names, prints, strict=True):
        twin = parse_hello(bytes(payload[start:stop]), declared, bool(dtls))
        assert payload[span[0] : span[1]] == twin.server_name
        assert found == ja4(twin, "td"[dtls])


@given(st.integers(0, len(HELLO) - 10), st.integers(0, 255))
def test_a_changed_byte_of_a_hello_is_read_as_the_twin_reads_it(at: int, value: int) -> None:
    body = bytearray(HELLO[9:])
    body[at] = value
    rows = np.array([[0, len(body), len(body), 0]])
    names, prints = describe_hellos(np.frombuffer(bytes(body), np.uint8).copy(), rows)
    twin = parse_hello(bytes(body), len(body))
    assert bytes(body[names[0, 0] : names[0, 1]]) == twin.server_name
    assert prints[0] == ja4(twin)


CUTS = st.lists(st.integers(0, len(HELLO) - 5), max_size=5)


@given(CUTS, st.randoms(use_true_random=False), st.integers(0, 2), st.binary(max_size=20))
def test_a_hello_in_quic_is_read_however_it_is_cut(
    cuts: list[int], order: random.Random, border: int, identifier: bytes
) -> None:
    message = HELLO[5:]
    borders = sorted({0, *cuts, len(message)})
    pieces = [crypto(a, message[a:b]) for a, b in itertools.pairwise(borders)]
    order.shuffle(pieces)
    split = len(pieces) * border // 2
    datagrams = [
        seal(b"".join(part) + bytes(60), identifier, packet_number=n)
        for n, part in enumerate((pieces[:split], pieces[split:]))
        if part
    ]
    sent = [P(0, datagram + bytes(40)) for datagram in datagrams]
    names = name_applications(batch(F(17, sent, resp_port=443)))
    twin = parse_hello(message[4:], len(message) - 4)
    assert (names.server_name[0], names.ja4[0]) == ("server", ja4(twin, "q"))


@given(st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 1199), st.integers(0, 255))))
def test_no_frames_and_no_changed_packets_crash_the_reading_of_quic(
    frames: bytes, changes: list[tuple[int, int]]
) -> None:
    sealed = seal(frames + bytes(40), b"12345678")
    changed = bytearray(seal(crypto(0, HELLO[5:]) + bytes(900), b"12345678"))
    for at, value in changes:
        changed[at % len(changed)] = value
    packets = [P(0, sealed), P(0, bytes(changed)), P(1, bytes(changed))]
    names = name_applications(batch(F(17, packets, resp_port=443)))
    assert not re.search(CONTROLS, names.server_name[0])


@given(st.lists(flows, max_size=4))
def test_any_bytes_say_something_that_is_text(made: list[F]) -> None:
    built = batch(*made)
    found = fingerprints(built)
    for name in found.__dataclass_fields__:
        assert not any(re.search(CONTROLS, text) for text in getattr(found, name))
    assert list(found.ja4) == list(name_applications(built).ja4)
    assert list(found.server_name) == list(name_applications(built).server_name)
    certificates = server_certificate_names(built, np.arange(len(made)))
    assert not any(re.search(CONTROLS, text) for names in certificates for text in names)


@given(st.one_of(st.binary(max_size=400), st.text(max_size=400).map(lambda t: t.encode("utf-8"))))
def test_names_are_short_text_that_stands_for_one_name_only(name: bytes) -> None:
    text = readable(name)
    assert len(text) <= 255
    assert not re.search(CONTROLS, text)
    if len(text) < 250:
        pieces = re.split(r"\\x([0-9a-f]{2})", text)
        back = b"".join(
            bytes.fromhex(piece) if i % 2 else piece.encode() for i, piece in enumerate(pieces)
        )
        assert back == name

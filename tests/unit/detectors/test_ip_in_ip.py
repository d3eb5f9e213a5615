"""IP and Ethernet directly in IP."""

import numpy as np
import pytest
from build import F, P, batch
from vpn_messages import ethernet, ipv4, ipv6, secret

from classifier.detectors.ip_in_ip import DETECTOR, probe
from classifier.tables import FAMILIES, Kind, Strength

SIX_TO_FOUR = ipv6(source="2002c0000204" + "0" * 20)


def found(proto: int, *packets: P, ip_version: int = 4):
    return DETECTOR.detect(batch(F(proto, list(packets), ip_version=ip_version)))


@pytest.mark.parametrize(
    ("proto", "ip_version", "content", "family"),
    [
        (4, 4, ipv4(), "ipip"),
        (4, 6, ipv4(), "4in6"),
        (41, 4, ipv6(), "6in4"),
        (41, 4, SIX_TO_FOUR, "6to4"),
        (41, 6, ipv6(), "ipip"),
        (97, 4, b"\x30\0" + ethernet(ipv4()), "etherip"),
    ],
)
def test_a_valid_carried_header_is_proof_of_encapsulation(proto, ip_version, content, family):
    (e,) = found(proto, P(0, content), ip_version=ip_version)
    assert (e.family, e.strength) == (family, Strength.PROOF)
    assert FAMILIES[e.family] is Kind.ENCAPSULATION


@pytest.mark.parametrize("proto", [4, 41, 97])
def test_with_nothing_captured_the_number_alone_is_strong(proto):
    assert found(proto, P(0, b"", wire=60))[0].strength is Strength.STRONG


@pytest.mark.parametrize(
    ("proto", "content"),
    [
        (4, ipv6()),
        (41, ipv4()),
        (4, ipv4()[:-1]),
        (41, ipv6()[:-1]),
        (4, b"\x44" + ipv4()[1:]),
        (97, b"\x20\0" + ethernet(ipv4())),
        (4, secret(40)),
    ],
)
def test_a_carried_header_that_is_wrong_is_nothing(proto, content):
    assert found(proto, P(0, content)) == []


def test_every_truncation_is_told_as_far_as_it_goes():
    for proto, content, kind, least in ((4, ipv4(), 1, 20), (41, ipv6(), 2, 8)):
        for kept in range(len(content)):
            data = np.frombuffer(content[:kept], np.uint8).copy()
            assert probe(data, 0, kept, len(content), proto) == (kind if kept >= least else -1)

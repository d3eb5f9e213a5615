import ipaddress

import numpy as np
import pytest

from classifier.report.addresses import address_column, community_id_column
from classifier.tables import FLOW

# https://github.com/corelight/community-id-spec, baseline/baseline_deflt.json. The two numbers are
# ports, or type and code of the ICMP message that the originator sends.
BASELINE = [
    (58, "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", 135, 0,
     "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
    (58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", 136, 0,
     "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="),
    (58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", 135, 0,
     "1:zavyT/cezQr1fmImYCwYnMXbgck="),
    (58, "3ffe:501:1800:2345::2", "3ffe:507:0:1:200:86ff:fe05:80da", 3, 0,
     "1:2ObVBgIn28oZvibYZhZMBgh7WdQ="),
    (58, "3ffe:501:410:0:2c0:dfff:fe47:33e", "3ffe:507:0:1:200:86ff:fe05:80da", 1, 4,
     "1:hLZd0XGWojozrvxqE0dWB1iM6R0="),
    (58, "fe80::260:97ff:fe07:69ea", "ff02::1", 134, 0, "1:pkvHqCL88/tg1k4cPigmZXUtL00="),
    (1, "192.168.0.89", "192.168.0.1", 8, 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    (1, "192.168.0.1", "192.168.0.89", 0, 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
    (1, "10.0.0.1", "10.0.0.2", 11, 0, "1:YHxtAirCG//0OzkcVAukqKQN9xM="),
    (6, "2001:470:e5bf:dead:4957:2174:e82c:4887", "2607:f8b0:400c:c03::1a", 63943, 25,
     "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="),
    (132, "192.168.170.56", "192.168.170.8", 7, 7, "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
    (6, "128.232.110.120", "66.35.250.204", 34855, 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    (6, "66.35.250.204", "128.232.110.120", 80, 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    (17, "192.168.1.52", "8.8.8.8", 54585, 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
    (46, "10.1.12.1", "10.1.12.2", 0, 0, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
    (46, "10.1.12.2", "10.1.12.1", 0, 0, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
]  # fmt: skip


def flow_of(proto: int, source: str, target: str, first: int, second: int) -> np.ndarray:
    flow = np.zeros(1, FLOW)
    for side, text in (("orig", source), ("resp", target)):
        address = ipaddress.ip_address(text)
        flow[f"{side}_hi"], flow[f"{side}_lo"] = divmod(int(address), 1 << 64)
        flow["ip_version"] = address.version
    flow["proto"] = proto
    if proto in (1, 58):
        flow["icmp"] = first << 8 | second
    else:
        flow["orig_port"], flow["resp_port"] = first, second
    return flow


@pytest.mark.parametrize(("proto", "source", "target", "first", "second", "expected"), BASELINE)
def test_community_id_is_that_of_the_published_baseline(
    proto: int, source: str, target: str, first: int, second: int, expected: str
) -> None:
    flow = flow_of(proto, source, target, first, second)
    assert community_id_column(flow).to_pylist() == [expected]


def test_ports_of_a_protocol_without_ports_do_not_change_the_community_id() -> None:
    plain, odd = (
        flow_of(46, "10.1.12.1", "10.1.12.2", 0, 0),
        flow_of(46, "10.1.12.1", "10.1.12.2", 5, 6),
    )
    assert community_id_column(plain).equals(community_id_column(odd))


@pytest.mark.parametrize("n", [15, 16, 17, 40])
def test_ids_of_many_flows_are_those_of_each_alone(n: int) -> None:
    flows = np.concatenate([flow_of(*BASELINE[i % len(BASELINE)][:5]) for i in range(n)])
    flows["orig_lo"] += np.arange(n, dtype=np.uint64)
    alone = [community_id_column(flows[i : i + 1])[0].as_py() for i in range(n)]
    assert community_id_column(flows).to_pylist() == alone


# RFC 5952, sections 1, 4 and 5
@pytest.mark.parametrize(
    "text",
    [
        "::",
        "::1",
        "1::",
        "2001:db8::1",
        "2001:db8:0:1:1:1:1:1",  # one zero group is not shortened
        "2001:db8::1:0:0:1",  # of two equal runs the first
        "2001:0:0:1::1",  # the longer run
        "2001:db8::aaaa:0:0:1",
        "ff02::fb",
        "abcd:ef01:2345:6789:abcd:ef01:2345:6789",
        "::ffff:192.0.2.1",
    ],
)  # fmt: skip
def test_ipv6_text_follows_rfc_5952(text: str) -> None:
    hi, lo = divmod(int(ipaddress.ip_address(text)), 1 << 64)
    column = address_column(np.array([hi], "u8"), np.array([lo], "u8"), np.array([6], "u1"))
    assert column.to_pylist() == [text]


@pytest.mark.parametrize("text", ["0.0.0.0", "255.255.255.255", "10.0.100.9"])
def test_ipv4_text_is_a_dotted_quad(text: str) -> None:
    lo = int(ipaddress.ip_address(text))
    column = address_column(np.array([0], "u8"), np.array([lo], "u8"), np.array([4], "u1"))
    assert column.to_pylist() == [text]


def test_no_flows_give_empty_columns() -> None:
    flows = np.zeros(0, FLOW)
    assert len(community_id_column(flows)) == 0
    assert len(address_column(flows["orig_hi"], flows["orig_lo"], flows["ip_version"])) == 0


def test_arrays_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        address_column(np.zeros(2, "u8"), np.zeros(3, "u8"), np.zeros(2, "u1"))


def test_kernels_are_compiled_for_one_type_whatever_the_arrays_are() -> None:
    from classifier.report import _kernels

    flows = np.concatenate([flow_of(*case[:5]) for case in BASELINE])
    frozen = flows[:1].copy()
    frozen.flags.writeable = False
    for some in (flows, flows[::2], flows[:1], frozen):
        community_id_column(some)
        address_column(some["orig_hi"], some["orig_lo"], some["ip_version"])
    assert len(_kernels.community_ids.signatures) == 1
    assert len(_kernels.address_text.signatures) == 1

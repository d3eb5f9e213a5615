"""Every application that can be named is named from a message of its own document."""

import numpy as np
import pytest
from build import F, P, batch
from unit.detectors.applications.examples import (
    HELLO,
    QUIC_INITIAL,
    SERVER_HELLO,
    TCP,
    UDP,
    Example,
    dns,
    h,
)
from unit.detectors.applications.more_examples import ALL_EXAMPLES

from classifier._jit import Kernel, plain
from classifier.detectors.applications import APPLICATIONS, SERVICES, name_applications
from classifier.detectors.applications._kernels import name_flows, name_runs
from classifier.detectors.applications.tls import parse_hellos

#: Applications that are known by the IP protocol number, or by a run of packets.
BY_OTHER_MEANS = {
    "unknown", "icmp", "icmp6", "igmp", "ospf", "eigrp", "pim", "pgm", "rsvp", "vrrp", "sctp", "dccp",
    "rtp", "xmpps", "coaps",
}  # fmt: skip
#: Content that needs a port, or the other direction, to agree.
NEEDS_AGREEMENT = {
    "smtps", "imaps", "pop3s", "sips", "dot", "ldaps", "mqtts", "mdns", "llmnr", "ntp", "ptp", "coap",
    "nat-pmp", "hsrp", "gtp-c", "rip", "bfd", "kafka", "iso-tsap", "teamviewer", "syslog", "netflow",
    "dhcpv6", "iax2", "skinny", "afp", "rtmp", "slp", "radius", "ipfix", "sflow", "pop3", "telnet",
    "nbdgm", "memcached", "dnp3", "nntps", "ftps", "radsec", "nts-ke", "amqps", "syslog-tls", "ircs",
    "doq", "minecraft", "lumberjack", "gelf", "collectd", "gtp-prime", "pfcp", "mndp", "babel", "olsr",
    "pcep", "rpki-rtr", "dlep", "egd", "fins", "synchrophasor", "hart-ip", "profinet", "lifx", "tds",
    "ethereum",
}  # fmt: skip
#: What the beginning of a message may be taken for while the rest is missing.
BEGINS_LIKE = {
    "websocket": {"http"},
    "mdns": {"dns"},
    "llmnr": {"dns"},
    "nbns": {"dns"},
    "s7comm": {"iso-tsap"},
    "rdp": {"iso-tsap"},
    "stratum": {"json-rpc"},
    "doq": {"quic"},
    "nfs": {"rpc"},
}


def flow(example: Example, port: int | None = None) -> F:
    packets = [P(0, example.sent)] * bool(example.sent)
    packets += [P(1, example.answered)] * bool(example.answered)
    return F(example.proto, packets, resp_port=example.port if port is None else port)


def named(*flows: F) -> list[str]:
    return list(name_applications(batch(*flows)).application)


def label(example: Example) -> str:
    return f"{example.application}-{example.port}"


@pytest.mark.parametrize("example", ALL_EXAMPLES, ids=label)
def test_a_message_of_its_document_names_the_application(example: Example) -> None:
    assert named(flow(example)) == [example.application]


@pytest.mark.parametrize("example", ALL_EXAMPLES, ids=label)
def test_a_message_cut_short_by_the_capture_is_never_taken_for_something_else(
    example: Example,
) -> None:
    message = example.sent or example.answered
    cuts = [*range(min(len(message), 90)), *range(90, len(message), 37)]
    flows = [
        F(example.proto, [P(0, message[:n], wire=len(message))], resp_port=example.port)
        for n in cuts
    ]
    allowed = {example.application, "unknown"} | BEGINS_LIKE.get(example.application, set())
    assert set(named(*flows)) <= allowed


@pytest.mark.parametrize(
    "example", [e for e in ALL_EXAMPLES if e.application not in NEEDS_AGREEMENT], ids=label
)
def test_the_port_adds_nothing_to_content_that_is_sure(example: Example) -> None:
    assert named(flow(example, port=49999)) == [example.application]


def test_every_application_has_an_example_and_a_service() -> None:
    assert {e.application for e in ALL_EXAMPLES} | BY_OTHER_MEANS == set(APPLICATIONS)
    classes = {"web", "mail", "voice", "messaging", "game", "remote", "file", "stream"}
    assert set(SERVICES.values()) <= classes | {"infrastructure", "vpn", "unknown"}
    assert list(SERVICES) == list(APPLICATIONS)


@pytest.mark.parametrize(
    ("proto", "name"),
    [(1, "icmp"), (2, "igmp"), (58, "icmp6"), (89, "ospf"), (103, "pim"), (112, "vrrp"),
     (132, "sctp"), (50, "unknown"), (47, "unknown"), (253, "unknown")],
)  # fmt: skip
def test_protocols_beside_tcp_and_udp_go_by_their_number(proto: int, name: str) -> None:
    assert named(F(proto, [P(0, b"\x08\x00" + bytes(30))])) == [name]


def test_an_echo_request_starts_a_flow_and_a_reply_does_not() -> None:
    made = batch(F(1, [P(0, bytes(32))]), F(1, [P(0, bytes(32))]), F(58, [P(0, bytes(32))]))
    made.flows["icmp"] = [8 << 8, 0, 128 << 8]
    assert list(name_applications(made).starts) == [True, False, True]


def test_the_first_packet_starts_only_what_begins_with_it() -> None:
    query, answer = dns("example.com"), dns("example.com", 1, 0x8180)
    names = name_applications(
        batch(
            F(UDP, [P(0, query), P(1, answer)], resp_port=53),
            F(UDP, [P(0, answer)], orig_port=53),
            F(TCP, [P(0, b""), P(0, HELLO)], resp_port=443),
            F(TCP, [P(0, HELLO)], resp_port=443, start_seen=False),
            F(UDP, [P(0, QUIC_INITIAL)], resp_port=443),
        )
    )
    assert list(names.starts) == [True, False, False, True, True]
    assert list(names.application) == ["dns", "dns", "tls", "tls", "quic"]


def test_roles_may_be_the_other_way_round_in_a_capture_that_begins_late() -> None:
    turned = F(TCP, [P(0, SERVER_HELLO), P(1, HELLO)], orig_port=443)
    names = name_applications(batch(turned))
    assert (names.application[0], names.server_name[0]) == ("tls", "server")
    assert not names.starts[0]


@pytest.mark.parametrize(
    "message",
    [
        h("01000000") + h("a5") * 144,  # WireGuard's initiation and response
        h("02000000") + h("a5") * 88,
        h("38 8182838485868788 00 00000000"),  # OpenVPN's client reset
        h("48 000001 00000001") + h("c3") * 60,  # OpenVPN data
        h("30ff0040 00000001") + h("45") * 60,  # GTP-U
        h("00000001") + h("6b") * 100,
        b"",
    ],
)
@pytest.mark.parametrize("port", [53, 123, 443, 500, 1194, 2123, 5683, 51820])
def test_vpn_messages_and_bytes_of_no_protocol_stay_unknown_on_any_port(
    message: bytes, port: int
) -> None:
    assert named(F(UDP, [P(0, message), P(1, message)] * 3, resp_port=port)) == ["unknown"]


def test_a_port_names_infrastructure_only_where_no_payload_was_captured() -> None:
    silent = F(UDP, [P(0, b"", wire=40)], resp_port=53)
    odd = F(UDP, [P(0, b"\xff" * 40)], resp_port=53)
    web = F(UDP, [P(0, b"", wire=40)], resp_port=443)
    tcp = F(TCP, [P(0, b"", wire=40)], resp_port=53)
    empty = F(UDP, [P(0, b"")], resp_port=53)
    assert named(silent, odd, web, tcp, empty) == ["dns", *["unknown"] * 4]


def test_weak_content_needs_the_other_direction_or_the_port() -> None:
    reply = h("05640500c00100040000")
    alone = F(TCP, [P(0, reply)], resp_port=1)
    both = F(TCP, [P(0, reply), P(1, reply)], resp_port=1)
    port = F(TCP, [P(0, reply)], resp_port=20000)
    assert named(alone, both, port) == ["unknown", "dnp3", "dnp3"]


@pytest.mark.parametrize("kernel", [name_flows, name_runs, parse_hellos])
def test_each_kernel_is_compiled_once(kernel: Kernel) -> None:
    with plain(False):
        name_applications(batch(*(flow(example) for example in ALL_EXAMPLES)))
        name_applications(batch())
    assert len(kernel.signatures) == 1


def test_empty_batches_are_named() -> None:
    names = name_applications(batch())
    assert names.application.shape == names.ja4.shape == names.starts.shape == (0,)
    assert names.starts.dtype == np.bool_

"""Conformance cases of OpenVPN, WireGuard and IPsec."""

from collections.abc import Iterator

import handmade
from bench import Bench, case
from tunnels import OpenVpn, StrongSwan, Tunnel, WireGuard

GCM, CHACHA = "AES-256-GCM", "CHACHA20-POLY1305"


def _work(bench: Bench, tunnel: Tunnel) -> None:
    tunnel.ping(bench.number(4, 3, 15), bench.number(56, 40, 900))
    tunnel.serve(bench.number(4_000, 500, 20_000))
    tunnel.fetch()


def _openvpn(bench: Bench, proto: str, wrap: str, port: int = 0, address: int = 0) -> Tunnel:
    auth = bench.pick((), ("--auth", "SHA256"), ("--auth", "SHA512")) if wrap != "static" else ()
    setup = OpenVpn(
        bench.server.addresses[address],
        port=port or bench.port(1194),
        proto=proto,
        wrap=wrap,
        cipher=bench.pick(GCM, CHACHA, "AES-128-GCM", "AES-256-CBC"),
        options=auth,
    )
    return setup.start(bench.lab, bench.authority, bench.client, bench.server)


WRAPS = {
    "none": ("plain", "the TLS handshake is readable inside control packets"),
    "tls-auth": ("tls-auth", "control packets carry an HMAC and a replay id"),
    "tls-crypt": ("tls-crypt", "control packets are encrypted; only opcodes and ids are readable"),
    "tls-crypt-v2": ("tls-crypt-v2", "the client's reset carries a wrapped key of its own"),
}
for _proto in ("udp", "tcp"):
    for _wrap, (_name, _shows) in WRAPS.items():

        @case(f"openvpn-{_proto}-{_name}", f"OpenVPN over {_proto.upper()}: {_shows}", "openvpn")
        def _whole(bench: Bench, proto: str = _proto, wrap: str = _wrap) -> Iterator[None]:
            yield
            tunnel = _openvpn(bench, proto, wrap)
            _work(bench, tunnel)
            tunnel.stop()

    @case(
        f"openvpn-{_proto}-mid-session",
        f"OpenVPN over {_proto.upper()}, joined after the handshake: data packets alone",
        "openvpn",
    )
    def _late(bench: Bench, proto: str = _proto) -> Iterator[None]:
        tunnel = _openvpn(bench, proto, bench.pick("none", "tls-auth", "tls-crypt"))
        tunnel.ping(2)
        yield
        _work(bench, tunnel)

    @case(
        f"openvpn-{_proto}-snaplen-96",
        f"OpenVPN over {_proto.upper()}, 96 bytes kept of each packet",
        "openvpn",
        snaplen=96,
    )
    def _short(bench: Bench, proto: str = _proto) -> Iterator[None]:
        yield
        tunnel = _openvpn(bench, proto, bench.pick("none", "tls-auth", "tls-crypt"))
        _work(bench, tunnel)


@case("openvpn-udp-port-53", "OpenVPN on the port of DNS: the port decides nothing", "openvpn")
def _openvpn_53(bench: Bench) -> Iterator[None]:
    yield
    _work(bench, _openvpn(bench, "udp", bench.pick("none", "tls-auth", "tls-crypt"), port=53))


@case("openvpn-udp-ipv6", "OpenVPN over UDP and IPv6", "openvpn")
def _openvpn_6(bench: Bench) -> Iterator[None]:
    yield
    _work(bench, _openvpn(bench, "udp", bench.pick("none", "tls-auth", "tls-crypt"), address=1))


@case(
    "openvpn-udp-static-key",
    "OpenVPN with a static key: no opcode and no handshake, every packet is an IV and ciphertext",
    "openvpn",
    note="Nothing in these packets names OpenVPN; at most a weak finding is right.",
)
def _openvpn_static(bench: Bench) -> Iterator[None]:
    yield
    _work(bench, _openvpn(bench, "udp", "static"))


def _wireguard(bench: Bench, port: int = 0, address: int = 0) -> Tunnel:
    setup = WireGuard(
        bench.server.addresses[address],
        port=port or bench.port(51820),
        keepalive_s=bench.pick(0, 1, 25),
        preshared=bench.pick(False, True),
        mtu=bench.pick(1420, 1280, 1380),
    )
    return setup.start(bench.lab, bench.client, bench.server)


WIREGUARD = ("wireguard-go", "wireguard-tools")


@case("wireguard-udp", "WireGuard: handshake, data, and the peers' indices echoed", *WIREGUARD)
def _wireguard_whole(bench: Bench) -> Iterator[None]:
    yield
    _work(bench, _wireguard(bench))


@case("wireguard-port-443", "WireGuard on the port of QUIC: the port decides nothing", *WIREGUARD)
def _wireguard_443(bench: Bench) -> Iterator[None]:
    yield
    _work(bench, _wireguard(bench, port=443))


@case("wireguard-ipv6", "WireGuard over IPv6", *WIREGUARD)
def _wireguard_6(bench: Bench) -> Iterator[None]:
    yield
    _work(bench, _wireguard(bench, address=1))


@case("wireguard-mid-session", "WireGuard, joined after the handshake: data alone", *WIREGUARD)
def _wireguard_late(bench: Bench) -> Iterator[None]:
    tunnel = _wireguard(bench)
    tunnel.ping(2)
    yield
    _work(bench, tunnel)


@case("wireguard-snaplen-96", "WireGuard, 96 bytes kept of each packet", *WIREGUARD, snaplen=96)
def _wireguard_short(bench: Bench) -> Iterator[None]:
    yield
    _work(bench, _wireguard(bench))


@case(
    "wireguard-no-answer",
    "WireGuard initiations that nobody answers: one side's word only",
    *WIREGUARD,
)
def _wireguard_alone(bench: Bench) -> Iterator[None]:
    tunnel = _wireguard(bench)
    tunnel.daemons[1].stop()
    yield
    bench.client.run("ping", "-c", "1", "-W", "1", tunnel.inner_server, check=False)


STRONGSWAN = ("strongswan-libcharon", "charon-systemd")
UDP_ONLY = "The user-space ESP of strongSwan (kernel-libipsec) always travels in UDP, port 4500."


def _ike(bench: Bench, version: int, aggressive: bool = False) -> Tunnel:
    proposals = bench.pick("aes256-sha256-ecp256", "aes128-sha256-modp2048", "aes256-sha512-ecp384")
    setup = StrongSwan(version, aggressive, proposals, bench.pick("aes256-sha256", "aes128-sha256"))
    return setup.start(bench.lab, bench.client, bench.server)


@case("ikev2-nat-t", "IKEv2 on port 500, then IKE and ESP on 4500", *STRONGSWAN, note=UDP_ONLY)
def _ikev2(bench: Bench) -> Iterator[None]:
    yield
    tunnel = _ike(bench, 2)
    _work(bench, tunnel)
    tunnel.stop()


@case("ikev1-main", "IKEv1 main mode and quick mode, then ESP in UDP", *STRONGSWAN, note=UDP_ONLY)
def _ikev1(bench: Bench) -> Iterator[None]:
    yield
    _work(bench, _ike(bench, 1))


@case("ikev1-aggressive", "IKEv1 aggressive mode, then ESP in UDP", *STRONGSWAN, note=UDP_ONLY)
def _ikev1_aggressive(bench: Bench) -> Iterator[None]:
    yield
    _work(bench, _ike(bench, 1, aggressive=True))


@case("esp-nat-t-mid-session", "ESP in UDP, joined after IKE", *STRONGSWAN, note=UDP_ONLY)
def _esp_late(bench: Bench) -> Iterator[None]:
    tunnel = _ike(bench, 2)
    yield
    _work(bench, tunnel)


HANDMADE = (
    "Built by the specification with a script, because kernel IPsec is not at hand where captures\n"
    "  are made. Ciphertext and checksums (ICV) are random bytes."
)


@case(
    "esp-proto-50",
    "ESP as IP protocol 50 (RFC 4303): one SPI and one rising sequence number per direction",
    rewrite=handmade.esp,
    note=HANDMADE,
)
def _esp(bench: Bench) -> Iterator[None]:
    yield
    handmade.claim(bench, 50, "esp")


@case(
    "ah-proto-51",
    "AH as IP protocol 51 (RFC 4302) around readable UDP",
    rewrite=handmade.ah,
    note=HANDMADE,
)
def _ah(bench: Bench) -> Iterator[None]:
    yield
    handmade.claim(bench, 51, "ah")

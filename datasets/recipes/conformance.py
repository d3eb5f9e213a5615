"""Makes the conformance captures, one small capture per case (Linux, root).

    sudo python datasets/recipes/conformance.py                     all cases, as shipped
    sudo python datasets/recipes/conformance.py wireguard-udp       some cases

Each case is a scenario of the laboratory under fixed conditions, with its usual choices and a few
kilobytes of traffic. Varied captures of the same software are made by ``classifier lab make``.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import handmade

from classifier.errors import LabError
from classifier.lab import labels
from classifier.lab.conditions import Conditions
from classifier.lab.host import require
from classifier.lab.stage import Scenario, load
from classifier.lab.worker import play

LIMIT_BYTES = 40_000
VLAN_ID = 100
README = """\
# {name}

{shows}.

- Made by `datasets/recipes/conformance.py {name}`: {made} between two hosts in network
  namespaces, captured on the link between their routers{snaplen}.
- Software: {software}.
- {packets} packets, {size} bytes. Addresses are private and documentation ones.
- `labels.csv` says what the recipe started; keys were made for the run and thrown away.
{note}"""
UDP_ONLY = "The user-space ESP of strongSwan (kernel-libipsec) always travels in UDP, port 4500."
STATIC = "Nothing in these packets names OpenVPN: only their sizes tell it."
RANDOM = "The rule for fully encrypted traffic matches it; only a weak finding is right."
STAND_IN = "PPP is spoken by `classifier/lab/pppd.py`, as this kernel has none."
IPERF = "iperf3 fills its packets with random bytes: high entropy is no sign of a VPN."
HANDMADE = (
    "Built by the specification with a script, because kernel IPsec is not at hand where captures\n"
    "  are made. Ciphertext and checksums (ICV) are random bytes."
)


PINGS = "a few pings, rewritten,"
PLAIN = Conditions()


@dataclass(frozen=True, slots=True)
class Case:
    """One case: a scenario, and what it is run under."""

    scenario: str
    conditions: Conditions = PLAIN
    shows: str = ""
    note: str = ""
    made: str = "the real programs"
    rewrite: Callable[[Path], None] | None = None


LATE, SHORT, V6 = Conditions(late=True), Conditions(snaplen=96), Conditions(ipv6=True)
CASES = {
    f"openvpn-{proto}-{wrap}": Case(f"openvpn-{proto}-{wrap}")
    for proto in ("udp", "tcp")
    for wrap in ("plain", "tls-auth", "tls-crypt", "tls-crypt-v2")
}
for _proto in ("udp", "tcp"):
    _over, _plain = f"OpenVPN over {_proto.upper()}", f"openvpn-{_proto}-plain"
    _joined = f"{_over}, joined after the handshake: data packets alone"
    CASES[f"openvpn-{_proto}-mid-session"] = Case(_plain, LATE, _joined)
    CASES[f"openvpn-{_proto}-snaplen-96"] = Case(
        _plain, SHORT, f"{_over}, 96 bytes kept of each packet"
    )
CASES |= {
    "openvpn-udp-port-53": Case("openvpn-udp-port-53"),
    "openvpn-udp-ipv6": Case("openvpn-udp-plain", V6, "OpenVPN over UDP and IPv6"),
    "openvpn-udp-static-key": Case("openvpn-udp-static-key", note=STATIC),
    "openvpn-tcp-static-key": Case("openvpn-tcp-static-key", note=STATIC),
    "openvpn-udp-scrambled": Case(
        "openvpn-udp-tls-auth",
        shows="OpenVPN over UDP, its messages XORed with a word as patched builds do",
        made="the real programs, every message rewritten,",
        rewrite=handmade.scramble,
    ),
    "openvpn-udp-static-mac": Case("openvpn-udp-static-mac", note=STATIC),
    "openvpn-tcp-static-mac": Case("openvpn-tcp-static-mac", note=STATIC),
    "openvpn-tcp-cbc-mid-session": Case(
        "openvpn-tcp-cbc", LATE, "OpenVPN over TCP with CBC, joined after the handshake: data alone"
    ),
    "wireguard-udp": Case("wireguard-udp"),
    "wireguard-port-443": Case("wireguard-port-443"),
    "wireguard-ipv6": Case("wireguard-udp", V6, "WireGuard over IPv6"),
    "wireguard-mid-session": Case(
        "wireguard-udp", LATE, "WireGuard, joined after the handshake: data alone"
    ),
    "wireguard-snaplen-96": Case("wireguard-udp", SHORT, "WireGuard, 96 bytes kept of each packet"),
    "wireguard-no-answer": Case("wireguard-no-answer"),
    "ikev2-nat-t": Case("strongswan-ikev2", note=UDP_ONLY),
    "ikev1-main": Case("strongswan-ikev1-main", note=UDP_ONLY),
    "ikev1-aggressive": Case("strongswan-ikev1-aggressive", note=UDP_ONLY),
    "esp-nat-t-mid-session": Case(
        "strongswan-ikev2", LATE, "ESP in UDP, joined after IKE", UDP_ONLY
    ),
    "esp-proto-50": Case("handmade-esp", note=HANDMADE, made=PINGS, rewrite=handmade.esp),
    "ah-proto-51": Case("handmade-ah", note=HANDMADE, made=PINGS, rewrite=handmade.ah),
    "socks5": Case("microsocks-socks5"),
    "http-connect": Case("tinyproxy-connect"),
    "stunnel": Case("stunnel-tls"),
    "ssh-tunnel": Case("openssh-forward"),
    "ssh-tun": Case("openssh-tun"),
    "tinc": Case("tinc-udp"),
    "tinc-clear": Case("tinc-clear", SHORT),
    "n2n": Case("n2n-edge"),
    "nebula": Case("nebula-lighthouse"),
    "fastd": Case("fastd-udp"),
    "nebula-mid-session": Case(
        "nebula-lighthouse", LATE, "Nebula, joined after the handshake: messages alone"
    ),
    "fastd-mid-session": Case("fastd-udp", LATE, "fastd, joined after the handshake: data alone"),
    "l2tp": Case("xl2tpd-l2tp", note=STAND_IN),
    "l2tp-mid-session": Case(
        "xl2tpd-l2tp", LATE, "L2TP, joined after the handshake: PPP in clear", STAND_IN
    ),
    "pptp": Case("pptpd-pptp", note=STAND_IN),
    "vtun": Case("vtun-tcp"),
    "anyconnect": Case("ocserv-dtls"),
    "softether-beside-dns": Case("softether-tls", SHORT),
    "dns-tunnel": Case("iodine-dns"),
    "dns-tunnel-mid-session": Case(
        "iodine-dns", LATE, "iodine, joined later: neither version nor login"
    ),
    "dns-tunnel-resolver": Case("iodine-resolver"),
    "dns-tunnel-dns2tcp": Case("dns2tcp-txt"),
    "http-tunnel": Case("httptunnel-forward"),
    "icmp-tunnel": Case("ptunnel-icmp"),
    "kcptun": Case("kcptun-clear"),
    "https-tls13": Case("https-tls13"),
    "https-tls12": Case("https-tls12"),
    "https-port-1194": Case("https-port-1194"),
    "https-ipv6": Case("https-tls13", V6, "HTTPS over IPv6"),
    "https-vlan": Case(
        "https-tls13",
        Conditions(vlan=VLAN_ID),
        f"HTTPS in Ethernet frames with an 802.1Q tag, VLAN {VLAN_ID}",
    ),
    "https-mid-session": Case("https-mid-session"),
    "http-plain": Case("http-plain"),
    "quic": Case("quic-ngtcp2"),
    "dns-udp": Case("dnsmasq-udp"),
    "dns-tcp": Case("dnsmasq-tcp"),
    "ssh-interactive": Case("openssh-interactive"),
    "scp": Case("openssh-scp"),
    "ntp": Case("chrony-ntp"),
    "mqtt": Case("mosquitto-mqtt"),
    "redis": Case("redis-plain"),
    "memcached": Case("memcached-text"),
    "ftp": Case("vsftpd-passive"),
    "tftp": Case("tftpd-get"),
    "smtp": Case("aiosmtpd-smtp"),
    "rsync": Case("rsync-daemon"),
    "syslog-udp": Case("rsyslog-udp"),
    "snmp": Case("snmp-walk"),
    "stun": Case("coturn-stun"),
    "turn": Case("coturn-turn"),
    "iperf3-tcp": Case("iperf3-tcp", note=IPERF),
    "iperf3-udp": Case("iperf3-udp", note=IPERF),
    "random-tcp": Case("random-tcp", note=RANDOM),
    "dtls": Case("dtls-openssl"),
    "postgres": Case("postgres-plain"),
    "vxlan": Case("linux-vxlan"),
}


def scenarios() -> dict[str, Scenario]:
    """Return the laboratory's scenarios and the handmade ones."""
    return load() | {one.name: one for one in (handmade.ESP, handmade.AH)}


def ship(name: str, folder: Path, seed: int) -> int:
    """Write one case's folder and return the capture's size in bytes."""
    one = CASES[name]
    scenario = scenarios()[one.scenario]
    if scenario.lacks():
        raise LabError(scenario.lacks(), path=name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "capture.pcap"
    played = play(scenario, seed, path, one.conditions)
    if one.rewrite is not None:
        one.rewrite(path)
    size = path.stat().st_size
    if size > LIMIT_BYTES:
        raise LabError(f"{size} bytes are more than {LIMIT_BYTES}", path=name)
    rows = labels.rows(path.name, labels.five_tuples(path), played.claims)
    if not rows:
        raise LabError("the capture is empty", path=name)
    (folder / "labels.csv").write_text(labels.text(rows), encoding="utf-8")
    snaplen = one.conditions.snaplen
    versions = {key: said for key, said in played.versions.items() if key != "tcpdump"}
    text = README.format(
        name=name,
        shows=one.shows or scenario.shows,
        made=one.made,
        snaplen=f", {snaplen} bytes kept of each packet" if snaplen else "",
        software=", ".join(f"{key} {said}" for key, said in versions.items()) or "none",
        packets=len(labels.times(path)),
        size=size,
        note=f"- {one.note}\n" if one.note else "",
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    return size


def main() -> int:
    """Make the cases; 0 when all were made, 2 when some could not be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names (default: all)")
    parser.add_argument("--out", type=Path, default=Path("tests/conformance/default"))
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return 0
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]}; --list prints the names")
    failed = 0
    try:
        require()
        for name in arguments.cases or CASES:
            started = time.monotonic()
            try:
                size = ship(name, arguments.out / name, arguments.seed)
                print(f"{name:28} {size:7d} bytes {time.monotonic() - started:5.1f} s", flush=True)
            except (LabError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"conformance: {name}: {error}", file=sys.stderr)
    except LabError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("conformance: stopped; nothing is left running", file=sys.stderr)
        return 130
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

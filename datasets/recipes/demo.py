"""Makes the demo data set: real VPN and ordinary software in network namespaces (Linux, root).

    sudo python datasets/recipes/demo.py --out datasets/demo --seed 1

Writes ``demo.pcapng``, ``labels.csv``, ``register.csv``, ``policy.toml`` and ``manifest.toml``.
Keys, ephemeral ports and times differ from run to run; the cast, the register and the work done
through the tunnels are the same. ``datasets/README.md`` lists the programs that must be installed.
"""

import argparse
import datetime
import hashlib
import json
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import register

from classifier.errors import LabError
from classifier.lab import labels, services
from classifier.lab.authority import Authority
from classifier.lab.capture import read_pcap, write_pcapng
from classifier.lab.host import Host, require
from classifier.lab.network import Network, warm_up
from classifier.lab.scenarios.openvpn import OpenVpn
from classifier.lab.scenarios.strongswan import StrongSwan
from classifier.lab.scenarios.wireguard import WireGuard
from classifier.lab.tunnel import Tunnel

REGISTER_ROWS = 20_000
PROGRAMS = {
    "openvpn": "openvpn",
    "wireguard-go": "wireguard-go",
    "wg": "wireguard-tools",
    "charon-systemd": "charon-systemd",
    "swanctl": "strongswan-swanctl",
    "nginx": "nginx-light",
    "curl": "curl",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "dnsmasq": "dnsmasq-base",
    "dig": "bind9-dnsutils",
    "chronyd": "chrony",
    "iperf3": "iperf3",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One user of a VPN: who, from where, to where, and what the register says about it.

    ``entry`` is (side, prefix, proto, port, first day, last day, status) with days counted from
    the capture, or None where nothing is registered.
    """

    name: str
    organisation: str
    category: str
    address: str
    tunnel: OpenVpn | WireGuard | StrongSwan
    server: str
    entry: tuple[str, str, str, str, int, int, str] | None
    legitimate: int = 1


MEMBERS = (
    Member(
        *("softhouse", "Quibdal Software", "software_house", "10.20.1.10"),
        OpenVpn("203.0.113.10", wrap="tls-crypt", number=1),
        "203.0.113.10",
        ("server", "203.0.113.10", "any", "any", -900, 195, "active"),
    ),
    Member(
        *("callcentre", "Mervoth Call Centre", "call_centre", "10.20.2.20"),
        OpenVpn("198.51.100.20", port=443, proto="tcp", number=2),
        "198.51.100.20",
        ("server", "198.51.100.20", "any", "any", -770, -40, "active"),
    ),
    Member(
        *("freelancer", "Tavir Zoldan (freelancer)", "freelancer", "10.20.3.30"),
        WireGuard("192.0.2.30", number=3),
        "192.0.2.30",
        None,
    ),
    Member(
        *("mission", "Embassy of Florvania", "foreign_mission", "10.20.4.5"),
        OpenVpn("198.51.100.40", port=33445, wrap="tls-auth", number=4),
        "198.51.100.40",
        ("client", "10.20.4.0/28", "any", "any", -600, 495, "active"),
    ),
    Member(
        *("bank", "Bank of Dorlim", "bank", "10.20.5.50"),
        StrongSwan(number=5),
        "203.0.113.50",
        ("server", "203.0.113.48/29", "udp", "any", -400, 695, "active"),
    ),
    Member(
        *("student", "a student", "none", "10.20.6.60"),
        OpenVpn("192.0.2.60", port=443, wrap="tls-crypt", cipher="CHACHA20-POLY1305", number=6),
        "192.0.2.60",
        None,
        legitimate=0,
    ),
    Member(
        *("hospital", "Skoulm Hospital", "hospital", "10.20.7.70"),
        WireGuard("203.0.113.70", port=443, number=7),
        "203.0.113.70",
        ("server", "203.0.113.70", "udp", "51820", -300, 430, "active"),
    ),
    Member(
        *("university", "Praivex University", "university", "2001:db8:20:8::80"),
        WireGuard("2001:db8:203::80", preshared=True, number=8),
        "2001:db8:203::80",
        ("server", "2001:db8:203::/48", "any", "any", -250, 480, "active"),
    ),
    Member(
        *("courier", "Hroltan Trading", "company", "10.20.9.90"),
        OpenVpn("198.51.100.90", number=9),
        "198.51.100.90",
        ("server", "198.51.100.90", "any", "any", 30, 760, "active"),
    ),
    Member(
        *("translator", "Yelka Brunst (freelancer)", "freelancer", "10.20.10.100"),
        WireGuard("192.0.2.100", keepalive_s=2, number=10),
        "192.0.2.100",
        ("server", "192.0.2.100", "udp", "51820", -735, -5, "active"),
    ),
    Member(
        *("relief", "Zoumast Relief", "ngo", "10.20.11.110"),
        StrongSwan(version=1, number=11),
        "192.0.2.110",
        None,
    ),
    Member(
        *("gamer", "Fluqueir Trading", "company", "10.20.12.120"),
        OpenVpn("203.0.113.120", proto="tcp", wrap="tls-crypt-v2", number=12),
        "203.0.113.120",
        ("server", "203.0.113.120", "any", "any", -500, 230, "revoked"),
        legitimate=0,
    ),
    Member(
        *("branch", "Sklorg Software", "software_house", "10.20.13.130"),
        WireGuard("203.0.113.130", port=13231, number=13),
        "203.0.113.130",
        ("client", "203.0.113.130", "any", "any", -200, 530, "active"),
    ),
)
UP_BEFORE = "branch"  # this tunnel is already up when the capture begins

POLICY = """\
# The demo's policy: what each kind of evidence and registration leads to. First match decides.
name = "demo"
default = "allow"

[[rule]]
name = "registered VPN"
when = "is_vpn and registered"
verdict = "allow"

[[rule]]
name = "registration expired"
when = "is_vpn and near_miss == 'expired' and strength in ['proof', 'strong']"
verdict = "would_throttle"

[[rule]]
name = "registration nearly fits"
when = "is_vpn and near_miss in ['not_yet', 'wrong_side', 'wrong_scope']"
verdict = "flag"

[[rule]]
name = "unregistered, certain"
when = "is_vpn and not registered and kind == 'vpn' and strength == 'proof'"
verdict = "would_block"

[[rule]]
name = "unregistered, strong evidence"
when = "is_vpn and not registered and kind == 'vpn' and strength == 'strong'"
verdict = "would_throttle"

[[rule]]
name = "unregistered, suspected"
when = "is_vpn"
verdict = "flag"
"""


def _connect(lab: Network, authority: Authority, member: Member) -> Tunnel:
    client = next(host for host in lab.hosts if host.name == member.name)
    server = next(host for host in lab.hosts if host.name == f"vpn-{member.name}")
    if isinstance(member.tunnel, OpenVpn):
        return member.tunnel.start(lab, authority, client, server)
    return member.tunnel.start(lab, client, server)


def _work(tunnel: Tunnel, rng: random.Random) -> None:
    """Send some inner traffic and see that it arrives."""
    tunnel.ping(rng.randint(10, 18), rng.randint(56, 300))
    tunnel.serve(rng.randint(3_000, 9_000))
    tunnel.fetch()


class Town:
    """The ordinary side of the demo: servers, and what people do with them."""

    def __init__(self, lab: Network, authority: Authority) -> None:
        self.lab, self.authority = lab, authority
        self.web = lab.outside("web", "192.0.2.80", "2001:db8:80::80")
        self.shop = lab.outside("shop", "198.51.100.81")
        self.infra = lab.outside("infra", "198.51.100.53")
        self.login = lab.outside("login", "203.0.113.22")
        self.people = [
            *[lab.inside(f"home{i}", f"10.20.20.{i}") for i in range(1, 4)],
            lab.inside("home4", "10.20.20.4", "2001:db8:20:20::4"),
        ]
        services.serve_web(lab, authority, self.web, "www.example.net")
        # Ports decide nothing: a shop's web server on OpenVPN's port, a speed test on WireGuard's,
        # and a web page on a registered VPN server's address.
        services.serve_web(lab, authority, self.shop, "shop.example.net", tls=1194)
        gateway = next(host for host in lab.hosts if host.name == "vpn-softhouse")
        services.serve_web(lab, authority, gateway, "portal.example.net", plain=None)
        services.serve_dns(lab, self.infra)
        services.serve_ntp(lab, self.infra)
        self.ssh = services.serve_ssh(lab, self.login, self.people[0])
        services.serve_iperf(lab, self.shop, 51820)

    def _page(self, who: Host, address: str, url: str, *options: str) -> None:
        services.use_web(who, self.authority, address, url, *options)

    def errands(self, rng: random.Random) -> list[tuple[str, tuple]]:
        """Return what people do, as (method name, arguments), in random order."""
        homes, web = self.people, self.web.addresses
        names = ["www", "shop", "mail", "portal", "long"]
        todo: list[tuple[str, tuple]] = []
        for i in range(14):
            options = rng.choice([(), ("--tls-max", "1.2"), ("--http1.1",)])
            page = rng.choice(["", "file"])
            url = f"https://www.example.net/{page}"
            todo.append(("_page", (homes[i % 4], web[0], url, *options)))
            name = f"{rng.choice(names)}.example.net"
            todo.append(("_ask", (homes[i % 4], name, rng.choice(["A", "AAAA"]))))
        todo += [("_page", (homes[i], web[0], "http://www.example.net/")) for i in range(4)]
        todo += [("_page", (homes[3], web[1], "https://www.example.net/file"))] * 2
        todo += [("_page", (homes[i], "198.51.100.81", SHOP)) for i in (0, 2)]
        todo += [("_page", (homes[1], "203.0.113.10", "https://portal.example.net/"))]
        todo += [("_ask", (homes[2], "long.example.net", "TXT", "+tcp"))]
        todo += [("_shell", ()), ("_copy", ()), ("_clock", ()), ("_speed", ()), ("_echo", ())]
        rng.shuffle(todo)
        return todo

    def _ask(self, who: Host, name: str, kind: str, *options: str) -> None:
        services.use_dns(who, self.infra.address, name, kind, *options)

    def _shell(self) -> None:
        services.use_ssh(self.people[0], self.login.address, self.ssh)

    def _copy(self) -> None:
        services.use_scp(self.people[0], self.login.address, self.ssh)

    def _clock(self) -> None:
        services.use_ntp(self.people[1], self.infra.address)

    def _speed(self) -> None:
        services.use_iperf(self.people[2], self.shop.address, 51820)

    def _echo(self) -> None:
        self.people[3].run("ping", "-c", "4", "-i", "0.2", self.web.address)

    def run(self, errand: tuple[str, tuple]) -> None:
        """Do one errand."""
        getattr(self, errand[0])(*errand[1])


SHOP = "https://shop.example.net:1194/file"


def play(lab: Network, capture: Path, rng: random.Random) -> None:
    """Build the cast, start the capture, and let everyone work."""
    authority = Authority(lab.folder / "ca")
    for member in MEMBERS:
        lab.inside(member.name, member.address)
        lab.outside(f"vpn-{member.name}", member.server)
    town = Town(lab, authority)
    for host in lab.hosts[2:]:
        warm_up(host, town.web)
    before = next(member for member in MEMBERS if member.name == UP_BEFORE)
    standing = _connect(lab, authority, before)
    _work(standing, rng)
    errands = town.errands(rng)
    share = len(errands) // len(MEMBERS) + 1
    with lab.capture(capture):
        for member in MEMBERS:
            if member is before:
                standing.ping(16, 300)
                standing.fetch()
                standing.ping(10, 56)
            else:
                tunnel = _connect(lab, authority, member)
                _work(tunnel, rng)
            for errand in errands[:share]:
                town.run(errand)
            del errands[:share]
            if member is not before and not isinstance(member.tunnel, WireGuard):
                tunnel.stop()


def _day(at: datetime.date, days: int) -> str:
    return (at + datetime.timedelta(days)).isoformat()


def own_rows(at: datetime.date) -> list[tuple[str, ...]]:
    """Return the cast's register rows without the number."""
    rows = []
    for member in MEMBERS:
        if member.entry is not None:
            side, prefix, proto, port, first, last, status = member.entry
            when = _day(at, first), _day(at, last), status
            rows.append((member.organisation, member.category, prefix, side, proto, port, *when))
    return rows


def _label_rows(capture: Path, lab: Network) -> list[tuple[object, ...]]:
    by_server = {member.server: member for member in MEMBERS}
    rows = []
    for row in labels.rows(capture.name, labels.five_tuples(capture), lab.claims):
        member = by_server.get(str(row[4])) or by_server.get(str(row[2]))
        vpn = row[6] and member is not None
        holder = int(bool(vpn and member.entry is not None))
        rows.append((*row, member.legitimate if vpn else 1, holder))
    return rows


def _versions(lab: Network) -> dict[str, str]:
    commands = {
        "openvpn": ["openvpn", "--version"],
        "wireguard-go": ["dpkg-query", "-Wf", "${Version}", "wireguard-go"],
        "strongswan": ["swanctl", "--version"],
        "nginx": ["nginx", "-v"],
        "curl": ["curl", "--version"],
        "openssh": ["ssh", "-V"],
        "openssl": ["openssl", "version"],
        "dnsmasq": ["dnsmasq", "--version"],
        "chrony": ["chronyd", "--version"],
        "iperf3": ["iperf3", "--version"],
        "tcpdump": ["tcpdump", "--version"],
        "linux": ["uname", "-r"],
    }
    out = {}
    for name, argv in commands.items():
        found = re.search(r"\d+(\.\d+)+[\w.+-]*", lab.gate.run(*argv, check=False))
        if found:
            out[name] = found[0]
    return out


def _manifest(folder: Path, files: dict[str, str], facts: dict[str, object]) -> str:
    lines = [
        'name = "demo"',
        'title = "Thirteen VPN users and their neighbours, with a register of 20,000 entries"',
        'licence = "Apache-2.0"',
        'citation = "vpn-policy-classifier demo data set, made by datasets/recipes/demo.py"',
        'source = "made by a recipe: real programs in Linux network namespaces"',
        'recipe = "datasets/recipes/demo.py"',
        'capture_point = "the link between an access router and the outside, before any NAT"',
        'labels_by = "the recipe, from what it started; no detector, no payload was asked"',
        'removed = "nothing; keys and certificates were made for the run and thrown away"',
        'gaps = "no delay, loss or congestion on the path; one run of about a minute"',
        *[f"{key} = {json.dumps(value)}" for key, value in facts.items() if key != "software"],
        "",
        "[software]",
        *[f"{key} = {json.dumps(value)}" for key, value in dict(facts["software"]).items()],
    ]
    for role, name in files.items():
        content = (folder / name).read_bytes()
        lines += ["", "[[file]]", f'role = "{role}"', f'name = "{name}"']
        lines += [f'sha256 = "{hashlib.sha256(content).hexdigest()}"', f"size = {len(content)}"]
    return "\n".join(lines) + "\n"


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def make(folder: Path, seed: int) -> dict[str, object]:
    """Write the data set and return the facts of its manifest."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with Network() as lab:
        raw = lab.folder / "demo.pcap"
        play(lab, raw, rng)
        capture = folder / "demo.pcapng"
        write_pcapng(capture, list(read_pcap(raw)), "classifier demo data set")
        rows = _label_rows(capture, lab)
        software = _versions(lab)
    times = labels.times(capture)
    at = datetime.datetime.fromtimestamp(times[0], datetime.UTC).date()
    columns = (*labels.COLUMNS, "legitimate", "holder")
    entries = register.make(REGISTER_ROWS, seed, at, own_rows(at))
    for name, written in {
        "labels.csv": labels.text(rows, columns),
        "register.csv": register.text(entries),
        "policy.toml": POLICY,
    }.items():
        (folder / name).write_text(written, encoding="utf-8")
    facts: dict[str, object] = {
        "seed": seed,
        "period_start": _moment(times[0]),
        "period_end": _moment(times[-1]),
        "packets": len(times),
        "flows": len(rows),
        "vpn_flows": sum(int(bool(row[6])) for row in rows),
        "software": software,
    }
    files = {"capture": "demo.pcapng", "labels": "labels.csv"}
    files |= {"register": "register.csv", "policy": "policy.toml"}
    (folder / "manifest.toml").write_text(_manifest(folder, files, facts), encoding="utf-8")
    return facts


def main() -> int:
    """Make the data set; 0 when done, 2 with one line when something could not be done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("datasets/demo"), help="folder to write")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    arguments = parser.parse_args()
    try:
        require(PROGRAMS)
        facts = make(arguments.out, arguments.seed)
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: stopped; nothing is left running", file=sys.stderr)
        return 130
    size = (arguments.out / "demo.pcapng").stat().st_size
    print(f"{arguments.out}: {size} bytes, {facts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

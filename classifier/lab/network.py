"""A small Internet out of network namespaces: inside hosts, two routers, outside hosts.

::

    inside host --- gate === net --- outside host        === is the link that is captured
    inside host --'            '--- outside host

There is no bridge, and address translation at ``gate`` only where the run's conditions ask for
it. Every host has single addresses and a default route to its router, which answers under one and
the same link address on all its interfaces. Where the link is impaired or tagged and the kernel
cannot do that itself, a third machine with the relay of `classifier.lab.relay` stands between.
No interface leads out of the namespaces.
"""

import contextlib
import dataclasses
import functools
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from classifier.errors import LabError
from classifier.lab.conditions import Conditions, legs, netem
from classifier.lab.host import Daemon, Host
from classifier.lab.labels import Claim

__all__ = ["Network", "kernel_has", "warm_up"]

ROUTER4 = "169.254.1.1"
ROUTER6 = "fe80::1"
LINK = ("169.254.2.1", "169.254.2.2")  # gate, net: the captured link
PUBLIC = "100.64.0.1"  # gate's, behind which inside hosts hide where there is NAT (RFC 6598)
# Segmentation offloads would show packets that were never on a wire; transmit checksum offload
# would show wrong checksums.
OFFLOADS = ("tso", "gso", "gro", "tx", "rx")
PROBES = {
    "netem": "tc qdisc add dev lo root netem delay 1ms",
    "vlan": "ip link add one type veth peer name two && ip link add link one name v type vlan id 5",
    "wireguard": "ip link add wg0 type wireguard",
    "vxlan": "ip link add vx type vxlan id 1 dstport 4789",
    "geneve": "ip link add gv type geneve id 1 remote 192.0.2.1",
    "gre": "ip link add gr type gre local 192.0.2.1 remote 192.0.2.2",
    "ipip": "ip link add ii type ipip local 192.0.2.1 remote 192.0.2.2",
    "sit": "ip link add si type sit local 192.0.2.1 remote 192.0.2.2",
    "xfrm": "ip xfrm policy list && ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 256 "
    "mode tunnel enc cbc(aes) 0x00112233445566778899aabbccddeeff",
    "ppp": "test -e /dev/ppp",
    "nat": "nft add table ip nat && nft add chain ip nat post "
    "'{ type nat hook postrouting priority 100; }' && nft add rule ip nat post masquerade",
}


@functools.cache
def kernel_has(feature: str) -> bool:
    """Whether this kernel (and its tools) can do something, tried in an empty namespace.

    Parameters
    ----------
    feature : str
        A key of ``PROBES``: ``netem``, ``vlan``, ``wireguard``, ``vxlan``, ``gre``, ``xfrm`` ...
    """
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", PROBES[feature]], capture_output=True, check=False
    )
    return done.returncode == 0


class Network:
    """Inside hosts behind ``gate``, outside hosts behind ``net``, one captured link between.

    Parameters
    ----------
    conditions : Conditions
        What the link is like.
    seed : str
        Of the relay's draws.
    """

    def __init__(self, conditions: Conditions | None = None, seed: str = "") -> None:
        self.conditions = conditions or Conditions()
        self.seed = seed
        self.claims: list[Claim] = []
        self.hosts: list[Host] = []
        self.engine = "none"
        self._interfaces = 0
        self._relay: Daemon | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o755)  # daemons that give up root still read their files

    def __enter__(self) -> Self:
        """Build the routers and the link; SIGTERM then ends the program in an orderly way."""
        self._handlers = {
            number: signal.signal(number, lambda *_: sys.exit(130))
            for number in (signal.SIGTERM, signal.SIGHUP)
        }
        try:
            self._build()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all hosts and remove their files."""
        for host in self.hosts:
            host.close()
        self._folder.cleanup()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _build(self) -> None:
        self.gate, self.net = self._host("gate"), self._host("net")
        self.tap, self.tap_device = self._uplink()
        for router, own, other, near in (
            (self.gate, *LINK, "fe80::a"),
            (self.net, *LINK[::-1], "fe80::b"),
        ):
            router.sh(
                "echo 1 > /proc/sys/net/ipv4/ip_forward\n"
                "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n"
                f"ip address add {own} peer {other} dev uplink\n"
                f"ip address add {near}/64 dev uplink\n"
                f"ip link set uplink mtu {self.conditions.mtu}"
            )
        self.gate.run("ip", "route", "add", "default", "via", LINK[1])
        self.gate.run("ip", "-6", "route", "add", "default", "via", "fe80::b", "dev", "uplink")
        if self.conditions.nat:
            self._translate()

    def _translate(self) -> None:
        self.gate.run("ip", "address", "add", f"{PUBLIC}/32", "dev", "lo")
        self.net.run("ip", "route", "add", PUBLIC, "via", LINK[0], "dev", "uplink")
        rules = (
            "add table ip nat\n"
            "add chain ip nat post { type nat hook postrouting priority 100; }\n"
            f'add rule ip nat post oifname "uplink" snat to {PUBLIC}\n'
        )
        self.gate.run("nft", "-f", "-", data=rules)

    def _uplink(self) -> tuple[Host, str]:
        """Join the routers; return where to capture."""
        wanted = self.conditions
        if (wanted.impaired and not kernel_has("netem")) or (
            wanted.vlan and not kernel_has("vlan")
        ):
            return self._relayed()
        self._wire(self.gate, "wire" if wanted.vlan else "uplink", self.net, "wire")
        device = "wire" if wanted.vlan else "uplink"
        for router in (self.gate, self.net):
            if wanted.vlan:
                vlan = ["type", "vlan", "id", str(wanted.vlan)]
                router.run("ip", "link", "add", "link", "wire", "name", "uplink", *vlan)
                router.run("ip", "link", "set", "uplink", "up")
            elif router is self.net:
                router.sh("ip link set wire down; ip link set wire name uplink up")
            if wanted.impaired:
                self.engine = "netem"
                router.run("tc", "qdisc", "add", "dev", device, "root", *netem(wanted))
        return self.gate, device

    def _relayed(self) -> tuple[Host, str]:
        self.engine = "relay"
        path = self._host("path")
        for knob in ("default", "all"):
            path.set(f"net/ipv6/conf/{knob}/disable_ipv6", "1")  # the machine itself is silent
        self._wire(self.gate, "uplink", path, "west")
        self._wire(path, "east", self.net, "uplink")
        self._wire(path, "mid0", path, "mid1")
        near, far = (dataclasses.asdict(leg) for leg in legs(self.conditions))
        setup = {"near": near, "far": far, "vlan": self.conditions.vlan, "seed": self.seed}
        program = str(Path(__file__).with_name("relay.py"))
        self._relay = path.start(sys.executable, "-I", program, json.dumps(setup))
        self._relay.wait_output("relaying")
        return path, "mid0"

    def relay_counts(self) -> dict[str, int]:
        """End the relay, if there is one, and return what it did to how many frames."""
        if self._relay is None:
            return {}
        self._relay.stop()
        counts: dict[str, int] = json.loads(self._relay.output().splitlines()[-1])
        return counts

    def _host(self, name: str) -> Host:
        host = Host(name, self.folder)
        self.hosts.append(host)
        return host

    def _wire(self, one: Host, name: str, other: Host, peer: str) -> None:
        done = subprocess.run(
            [
                *["ip", "link", "add", "name", name, "netns", str(one.pid)],
                *["type", "veth", "peer", "name", peer, "netns", str(other.pid)],
            ],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise LabError(f"a veth pair could not be made: {done.stderr.decode().strip()}")
        switches = " ".join(f"{offload} off" for offload in OFFLOADS)
        for host, interface in ((one, name), (other, peer)):
            self._interfaces += 1
            mac = f"02:00:00:00:{self._interfaces >> 8:02x}:{self._interfaces & 255:02x}"
            host.sh(
                f"echo 0 > /proc/sys/net/ipv6/conf/{interface}/router_solicitations\n"
                f"ip link set {interface} address {mac} up\n"
                f"ethtool -K {interface} {switches} || true"
            )

    def inside(self, name: str, *addresses: str) -> Host:
        """Add a host behind ``gate`` with these IPv4 and IPv6 addresses."""
        for address in addresses:  # no default route there: strays would go to and fro
            via = "fe80::a" if ":" in address else LINK[0]
            if ":" in address or not self.conditions.nat:
                self.net.run("ip", "route", "add", address, "via", via, "dev", "uplink")
        return self._attach(self.gate, name, addresses)

    def outside(self, name: str, *addresses: str) -> Host:
        """Add a host behind ``net`` with these IPv4 and IPv6 addresses."""
        return self._attach(self.net, name, addresses)

    def _attach(self, router: Host, name: str, addresses: Sequence[str]) -> Host:
        host = self._host(name)
        port = f"p{len(self.hosts)}"
        self._wire(router, port, host, "eth0")
        host.addresses = list(addresses)
        widths = {address: "128" if ":" in address else "32" for address in addresses}
        router.sh(
            f"ip address add {ROUTER4} dev {port}\nip address add {ROUTER6}/64 dev {port}\n"
            + "".join(f"ip route add {a}/{width} dev {port}\n" for a, width in widths.items())
        )
        host.sh(
            "".join(f"ip address add {a}/{width} dev eth0\n" for a, width in widths.items())
            + f"ip route add {ROUTER4} dev eth0\nip route add default via {ROUTER4}\n"
            f"ip -6 route add default via {ROUTER6} dev eth0"
        )
        return host

    def claim(
        self,
        proto: int,
        address: str,
        port: int,
        application: str,
        family: str = "",
        is_vpn: int | None = None,
    ) -> None:
        """Record what was started at a transport address: the source of all labels."""
        truth = int(bool(family)) if is_vpn is None else is_vpn
        self.claims.append(Claim(proto, address, port, truth, family, application))

    @contextlib.contextmanager
    def capture(self, path: Path, snaplen: int = 0, only: str = "") -> Iterator[None]:
        """Capture the link into a pcap file (nanoseconds) while the block runs."""
        tcpdump = self.tap.start(
            *["tcpdump", "-i", self.tap_device, "-w", str(path.resolve()), "-s", str(snaplen)],
            *["-n", "--immediate-mode", "-U", "-Z", "root", "-B", "16384"],
            *["--time-stamp-precision=nano", *only.split()],
        )
        tcpdump.wait_output("listening on")
        try:
            yield
        finally:
            time.sleep(0.2 + 2 * self.conditions.delay_ms / 1000)
            tcpdump.stop(signal.SIGINT)
        if "0 packets dropped by kernel" not in tcpdump.output():
            raise LabError("tcpdump lost packets", remedy="run fewer --jobs at once")


def warm_up(inside: Host, outside: Host) -> None:
    """Resolve link addresses before a capture, so that it holds no ARP of ours."""
    inside.run("ping", "-c", "1", "-W", "2", outside.address, check=False)

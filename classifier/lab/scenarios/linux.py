"""Encapsulation that the Linux kernel does itself: it hides nothing and is no VPN."""

from collections.abc import Iterator

from classifier.lab.stage import UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach


@scenario(
    *("linux-vxlan", "VXLAN between two hosts: encapsulation, no VPN", "ip:iproute2"),
    kernel=("vxlan",),
    nat=False,
)
def _vxlan(stage: Stage) -> Iterator[Ways]:
    port, mtu = stage.pick(4789, 8472), 1400 if stage.conditions.mtu == 1500 else 1280
    network = stage.number(42, 1, 9000)
    ends = (stage.client, stage.server)
    yield None
    for number, (host, peer) in enumerate(zip(ends, ends[::-1], strict=True), 1):
        host.sh(
            f"ip link add vx type vxlan id {network} dev eth0 local {host.address} "
            f"remote {peer.address} dstport {port}\n"
            f"ip address add 172.16.0.{number}/24 dev vx\nip link set vx mtu {mtu} up"
        )
        stage.claim(UDP, port, "vxlan", "vxlan", host=host, is_vpn=0)
    reach(stage.client, "172.16.0.2")
    yield Way(stage.client, stage.server, "172.16.0.2", bind="172.16.0.1")


def _kernels(stage: Stage, kind: str, proto: int, mtu: int) -> Iterator[Ways]:
    """Set up a tunnel device of the kernel at each end."""
    ends = (stage.client, stage.server)
    yield None
    for number, (host, peer) in enumerate(zip(ends, ends[::-1], strict=True), 1):
        host.sh(
            f"ip link add tn type {kind} local {host.address} remote {peer.address} ttl 64\n"
            f"ip address add 172.16.0.{number}/24 dev tn\nip link set tn mtu {mtu} up"
        )
        stage.claim(proto, 0, kind, kind, host=host, is_vpn=0)
    reach(stage.client, "172.16.0.2")
    yield Way(stage.client, stage.server, "172.16.0.2", bind="172.16.0.1")


@scenario(
    *("linux-gre", "GRE between two hosts: encapsulation, no VPN", "ip:iproute2"),
    kernel=("gre",),
    nat=False,
)
def _gre(stage: Stage) -> Iterator[Ways]:
    yield from _kernels(stage, "gre", 47, 1280)


@scenario(
    *("linux-ipip", "IP in IP between two hosts: encapsulation, no VPN", "ip:iproute2"),
    kernel=("ipip",),
    nat=False,
)
def _ipip(stage: Stage) -> Iterator[Ways]:
    yield from _kernels(stage, "ipip", 4, 1280)


@scenario(
    *("socat-ipip", "IP in IP by socat, where the kernel has no device for it", "socat"),
    nat=False,
)
def _socat(stage: Stage) -> Iterator[Ways]:
    ends = (stage.client, stage.server)
    yield None
    for number, (host, peer) in enumerate(zip(ends, ends[::-1], strict=True), 1):
        own = f"TUN:172.16.0.{number}/24,tun-type=tun,iff-no-pi,iff-up,tun-name=tn"
        host.start("socat", own, f"IP4-DATAGRAM:{peer.address}:4,bind={host.address}")
        stage.claim(4, 0, "ipip", "ipip", host=host, is_vpn=0)
        host.wait_device("tn")
        host.run("ip", "link", "set", "tn", "mtu", "1280")
    reach(stage.client, "172.16.0.2")
    yield Way(stage.client, stage.server, "172.16.0.2", bind="172.16.0.1")

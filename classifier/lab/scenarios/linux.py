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

"""WireGuard: in the kernel where it has it, else wireguard-go."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from classifier.lab.host import Daemon, Host, wait_for
from classifier.lab.network import Network, kernel_has
from classifier.lab.services import bracket
from classifier.lab.stage import Stage, Ways, scenario
from classifier.lab.tunnel import Tunnel

__all__ = ["WireGuard"]


@dataclass(frozen=True, slots=True)
class WireGuard:
    """How one WireGuard pair is set up (wireguard-go: no kernel module is needed)."""

    server_address: str
    port: int = 51820
    keepalive_s: int = 0
    preshared: bool = False
    mtu: int = 1420
    number: int = 1

    def start(self, lab: Network, client: Host, server: Host) -> Tunnel:
        """Start both ends; the handshake happens with the first inner packet."""
        net = f"10.{220 + self.number // 256}.{self.number % 256}"
        keys = [client.run("wg", "genkey").strip() for _ in range(2)]
        public = [client.run("wg", "pubkey", data=key + "\n").strip() for key in keys]
        shared = f"PresharedKey = {client.run('wg', 'genpsk')}" if self.preshared else ""
        remote = f"Endpoint = {bracket(self.server_address)}:{self.port}"
        alive = f"PersistentKeepalive = {self.keepalive_s}" if self.keepalive_s else ""
        daemons: list[Daemon] = []
        for host, end, own, peer, extra in (
            (server, 1, 0, 1, f"ListenPort = {self.port}"),
            (client, 2, 1, 0, ""),
        ):
            device = f"wg{self.number}"
            if kernel_has("wireguard"):
                host.run("ip", "link", "add", device, "type", "wireguard")
            else:
                daemons.append(host.start("wireguard-go", "-f", device))
            wait_for(functools.partial(_has_link, host, device), f"wireguard: {device}")
            text = (
                f"[Interface]\nPrivateKey = {keys[own]}\n{extra}\n"
                f"[Peer]\nPublicKey = {public[peer]}\nAllowedIPs = {net}.0/24\n{shared}\n"
            )
            text += f"{remote}\n{alive}\n" if end == 2 else ""
            host.run("wg", "setconf", device, host.write(f"{device}.conf", text))
            host.run("ip", "address", "add", f"{net}.{end}/24", "dev", device)
            host.run("ip", "link", "set", device, "mtu", str(self.mtu), "up")
        lab.claim(17, self.server_address, self.port, "wireguard", "wireguard")
        return Tunnel(client, server, f"{net}.2", f"{net}.1", tuple(daemons[::-1]))


def _has_link(host: Host, device: str) -> bool:
    return f"interface: {device}" in host.run("wg", "show", device, check=False)


def connect(stage: Stage, port: int = 0) -> list[Tunnel]:
    """Start WireGuard from each client to a device of its own, with choices from the seed."""
    first, alive = port or stage.port(51820), stage.pick(0, 1, 25)
    preshared, mtu = stage.pick(False, True), stage.pick(1420, 1280, 1380)
    return [
        WireGuard(
            stage.address,
            port=first + number,
            keepalive_s=alive,
            preshared=preshared,
            mtu=mtu,
            number=number + 1,
        ).start(stage.net, client, stage.server)
        for number, client in enumerate(stage.clients)
    ]


def _session(stage: Stage, port: int = 0) -> Iterator[Ways]:
    yield None
    tunnels = connect(stage, port)
    for tunnel in tunnels:
        tunnel.ping(2)  # the handshake waits for a first packet
    yield [tunnel.way for tunnel in tunnels]


PROGRAMS = ("wireguard-go", "wg:wireguard-tools")


@scenario(
    "wireguard-udp",
    "WireGuard: handshake, data, and the peers' indices echoed",
    *PROGRAMS,
    ipv6=True,
    clients=4,
)
def _usual(stage: Stage) -> Iterator[Ways]:
    yield from _session(stage)


@scenario(
    "wireguard-port-443",
    "WireGuard on the port of QUIC: the port decides nothing",
    *PROGRAMS,
    ipv6=True,
)
def _port_443(stage: Stage) -> Iterator[Ways]:
    yield from _session(stage, port=443)


@scenario(
    "wireguard-no-answer",
    "WireGuard initiations that nobody answers: one side's word only",
    *PROGRAMS,
    ipv6=True,
    ways=False,
)
def _alone(stage: Stage) -> Iterator[Ways]:
    (tunnel,) = connect(stage)
    for daemon in tunnel.daemons[1:]:
        daemon.stop()
    stage.server.run("ip", "link", "delete", "wg1", check=False)
    yield None
    argv = ["ping", "-c", "1", "-W", str(stage.number(1, 2, 12)), tunnel.inner_server]
    stage.client.run(*argv, check=False)

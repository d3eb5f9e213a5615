"""tinc 1.0: keys are exchanged over TCP, data travel over UDP, or over TCP where told so."""

from collections.abc import Iterator

from classifier.lab.stage import TCP, UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach


def _mesh(stage: Stage, options: str) -> Iterator[Ways]:
    ends = {"near": stage.client, "far": stage.server}
    for number, (name, host) in enumerate(ends.items(), 1):
        other = "ConnectTo = far\n" if name == "near" else ""
        host.write("net/tinc.conf", f"Name = {name}\nDevice = /dev/net/tun\n{other}")
        up = f"ip addr add 10.77.0.{number}/24 dev $INTERFACE\nip link set $INTERFACE up\n"
        host.write("net/tinc-up", f"#!/bin/sh\n{up}", 0o700)
        where = f"Address = {stage.address}\n" if name == "far" else ""
        host.write(f"net/hosts/{name}", f"{where}Subnet = 10.77.0.{number}/32\n{options}")
        host.run("tincd", "-c", str(host.folder / "net"), "-K2048", data="\n\n")
    for name, other in (("near", "far"), ("far", "near")):
        public = (ends[name].folder / "net" / "hosts" / name).read_bytes()
        ends[other].write(f"net/hosts/{name}", public)
    yield None
    for proto in (TCP, UDP):
        stage.claim(proto, 655, "tinc", "tinc")
    for host in (stage.server, stage.client):
        host.start("tincd", "-c", str(host.folder / "net"), "-D", "--pidfile=/run/tinc.pid")
        host.wait_listen("tcp", 655)
    reach(stage.client, "10.77.0.2")
    yield Way(stage.client, stage.server, "10.77.0.2", bind="10.77.0.1")


@scenario("tinc-udp", "tinc 1.0: a TCP connection that exchanges keys, data over UDP", "tincd:tinc")
def _udp(stage: Stage) -> Iterator[Ways]:
    yield from _mesh(stage, "")


@scenario("tinc-tcp", "tinc 1.0 with all data in its TCP connection", "tincd:tinc", ipv6=True)
def _tcp(stage: Stage) -> Iterator[Ways]:
    yield from _mesh(stage, "TCPOnly = yes\n")


@scenario("tinc-clear", "tinc 1.0 without a cipher: a sequence, the frame and a MAC", "tincd:tinc")
def _clear(stage: Stage) -> Iterator[Ways]:
    yield from _mesh(stage, "Cipher = none\n")

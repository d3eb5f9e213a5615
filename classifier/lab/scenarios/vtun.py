"""VTun: a TCP connection that greets, then carries packets itself or hands them to UDP."""

from collections.abc import Iterator

from classifier.lab.stage import TCP, UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach

SERVER, CLIENT = "10.73.0.1", "10.73.0.2"


def _vtun(stage: Stage, proto: str) -> Iterator[Ways]:
    port = stage.pick(5000, 5001, 8022, 31337)  # listens on all addresses: not where services do
    cipher = stage.pick("aes128ofb", "aes256ofb", "no")  # Blowfish needs OpenSSL 1
    stage.claim(TCP, port, "vtun", "vtun")
    if proto == "udp":
        stage.claim(UDP, 0, "vtun", "vtun")
    confs = []
    for host, own, other in ((stage.server, SERVER, CLIENT), (stage.client, CLIENT, SERVER)):
        words = f"ip address add {own} peer {other} dev $1\nip link set $1 mtu 1300 up\n"
        script = host.write("up", f"#!/bin/sh\n{words}", 0o755)
        up = f'program "{script} %%" wait;'
        confs.append(
            host.write(
                "vtund.conf",
                f"options {{ port {port}; }}\n"
                "default { compress no; speed 0; }\n"
                f"demo {{ passwd open-sesame; type tun; proto {proto}; encrypt {cipher}; "
                f"keepalive yes; up {{ {up} }}; }}\n",
            )
        )
        host.run("mkdir", "-p", "/run/lock/vtund", "/run/vtund")
        # The client gives up if a packet arrives before its device is up: no router solicitations
        host.set("net/ipv6/conf/default/disable_ipv6", "1")
    stage.server.start("vtund", "-s", "-n", "-f", confs[0])
    stage.server.wait_listen("tcp", port)
    yield None
    stage.client.start("vtund", "-n", "-f", confs[1], "demo", stage.server.address)
    reach(stage.client, SERVER)
    yield Way(stage.client, stage.server, SERVER, bind=CLIENT)


@scenario("vtun-tcp", "VTun with its data in the TCP connection", "vtund:vtun")
def _tcp(stage: Stage) -> Iterator[Ways]:
    yield from _vtun(stage, "tcp")


@scenario("vtun-udp", "VTun with its data over UDP", "vtund:vtun", nat=False)
def _udp(stage: Stage) -> Iterator[Ways]:
    yield from _vtun(stage, "udp")

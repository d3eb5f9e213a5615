"""ptunnel-ng: a TCP connection in the payload of ICMP echoes."""

from collections.abc import Iterator

from classifier.lab.stage import Stage, Way, Ways, scenario

ICMP = 1


@scenario("ptunnel-ng-icmp", "ptunnel-ng: TCP in echo requests and replies", "ptunnel-ng")
def _ptunnel(stage: Stage) -> Iterator[Ways]:
    address = stage.server.address
    # The kernel's own replies would double those of the proxy
    stage.server.set("net/ipv4/icmp_echo_ignore_all", "1")
    stage.claim(ICMP, 0, "icmp", "icmp-tunnel")
    stage.server.start("ptunnel-ng", "-uroot")
    yield None
    stage.client.start(
        *("ptunnel-ng", "-uroot", "-p", address, "-l", "8000", f"-r{stage.inner}", "-R80")
    )
    stage.client.wait_listen("tcp", 8000)
    yield Way(
        *(stage.client, stage.server, stage.inner),
        forwards={80: 8000},
        udp=False,
        tls=False,
        limit=20_000,
    )

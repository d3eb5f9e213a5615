"""dns2tcp: a TCP connection over DNS questions and answers."""

from collections.abc import Iterator

from classifier.lab.stage import UDP, Stage, Way, Ways, scenario


@scenario("dns2tcp-txt", "dns2tcp: TCP over DNS", "dns2tcpc:dns2tcp", "dns2tcpd:dns2tcp")
def _dns2tcp(stage: Stage) -> Iterator[Ways]:
    zone, address = "d.example.net", stage.server.address
    conf = (
        f"listen = {address}\nport = 53\nuser = root\nchroot = /run\ndomain = {zone}\n"
        f"key = secret\nresources = web:{stage.inner}:80\n"
    )
    stage.server.start("dns2tcpd", "-F", "-f", stage.server.write("dns2tcpd.conf", conf))
    stage.claim(UDP, 53, "dns", "dns-tunnel")
    stage.server.wait_listen("udp", 53)
    yield None
    kind = stage.pick("TXT", "KEY")
    stage.client.start(
        *("dns2tcpc", "-c", "-k", "secret", "-r", "web", "-z", zone, "-l", "8000", "-T", kind),
        address,
    )
    stage.client.wait_listen("tcp", 8000)
    yield Way(
        *(stage.client, stage.server, stage.inner),
        forwards={80: 8000},
        udp=False,
        tls=False,
        limit=4_000,
    )

"""iodine: IP over DNS."""

from collections.abc import Iterator

from classifier.lab.stage import UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach


@scenario(
    "iodine-dns",
    "iodine: IP over DNS questions and answers",
    "iodine",
    "iodined:iodine",
    loss=False,
)
def _iodine(stage: Stage) -> Iterator[Ways]:
    zone, address = "t.example.net", stage.server.address
    stage.server.start("iodined", "-f", "-P", "secret", "-l", address, "10.81.0.1", zone)
    stage.claim(UDP, 53, "dns", "dns-tunnel")
    stage.server.wait_listen("udp", 53)
    yield None
    kind = stage.pick("NULL", "TXT", "CNAME")
    size = str(stage.number(400, 300, 900)) if kind != "CNAME" else "150"
    argv = ["iodine", "-f", "-r", "-P", "secret", "-T", kind, "-m", size, address, zone]
    stage.client.start(*argv)
    reach(stage.client, "10.81.0.1")
    yield Way(stage.client, stage.server, "10.81.0.1", bind="10.81.0.2", limit=6_000)


@scenario(
    "iodine-resolver",
    "iodine behind a resolver, which asks each question from a port of its own",
    "iodine",
    "iodined:iodine",
    "dnsmasq:dnsmasq-base",
    loss=False,
)
def _resolver(stage: Stage) -> Iterator[Ways]:
    zone, address, client = "t.example.net", stage.server.address, stage.client
    stage.server.start("iodined", "-f", "-c", "-P", "secret", "-l", address, "10.81.0.1", zone)
    stage.claim(UDP, 53, "dns", "dns-tunnel")
    stage.server.wait_listen("udp", 53)
    client.start(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"),
        *("--listen-address=127.0.0.1", "--bind-interfaces", f"--server=/{zone}/{address}"),
        *("--cache-size=0", "--edns-packet-max=4096", "--pid-file=", "--user=root"),
    )
    client.wait_listen("udp", 53)
    yield None
    kind = stage.pick("NULL", "TXT", "CNAME", "MX", "SRV")
    argv = ["iodine", "-f", "-r", "-P", "secret", "-T", kind, "-m", "150", "127.0.0.1", zone]
    client.start(*argv)
    reach(client, "10.81.0.1", 60)
    yield Way(client, stage.server, "10.81.0.1", bind="10.81.0.2", limit=3_000)

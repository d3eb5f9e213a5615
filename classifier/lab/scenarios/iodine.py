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

"""n2n: two edges that a supernode introduces to each other."""

from collections.abc import Iterator

from classifier.lab.stage import UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"


@scenario(
    "n2n-edge", "n2n: edges of one community and their supernode", "edge:n2n", "supernode:n2n"
)
def _n2n(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(7654, 82, 5645)
    own = stage.pick(50001, 40000, 7777)
    place = f"{stage.server.address}:{port}"
    key = ("-c", "lab", "-k", "lab-secret", "-M", "1200", "-s", "255.255.255.0", "-l", place)
    stage.server.start("supernode", "-l", str(port))
    stage.server.wait_listen("udp", port)
    for number in (port, own):
        stage.claim(UDP, number, "n2n", "n2n")
    stage.server.start("edge", "-d", "edge0", "-a", SERVER, "-p", str(own), *key)
    stage.server.wait_device("edge0")
    yield None
    stage.client.start("edge", "-d", "edge0", "-a", CLIENT, *key)
    stage.client.wait_device("edge0")
    reach(stage.client, SERVER, 40)
    yield Way(stage.client, stage.server, SERVER, bind=CLIENT)

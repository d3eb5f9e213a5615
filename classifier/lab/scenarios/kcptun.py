"""kcptun: TCP connections over KCP in UDP, in the clear or encrypted."""

from collections.abc import Iterator

from classifier.lab.stage import UDP, Stage, Way, Ways, scenario


def _kcptun(stage: Stage, *options: str) -> Iterator[Ways]:
    port = stage.port(29900)
    key = ("--key", "lab secret", *options)
    far = f"{stage.place}:{port}"
    stage.server.start("kcptun-server", "-t", f"{stage.inner}:80", "-l", far, *key)
    stage.claim(UDP, port, "unknown", "kcptun")
    stage.server.wait_listen("udp", port)
    yield None
    stage.client.start("kcptun-client", "-r", far, "-l", "127.0.0.1:8000", *key)
    stage.client.wait_listen("tcp", 8000)
    yield Way(*(stage.client, stage.server, stage.inner), forwards={80: 8000}, udp=False, tls=False)


_PROGRAMS = ("kcptun-client:kcptun", "kcptun-server:kcptun")


@scenario("kcptun-clear", "kcptun without encryption", *_PROGRAMS, ipv6=True)
def _clear(stage: Stage) -> Iterator[Ways]:
    shards = ("--datashard", "0", "--parityshard", "0")
    options = stage.pick((), ("--nocomp",), shards, ("--nocomp", *shards))
    yield from _kcptun(stage, "--crypt", stage.pick("none", "null"), *options)


@scenario("kcptun-aes", "kcptun with AES", *_PROGRAMS, ipv6=True)
def _aes(stage: Stage) -> Iterator[Ways]:
    yield from _kcptun(stage, "--crypt", stage.pick("aes", "salsa20", "xor"))

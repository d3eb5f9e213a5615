"""shadowsocks-libev: a proxy whose every byte looks random, with AEAD or older stream ciphers."""

from collections.abc import Iterator

from classifier.lab.stage import TCP, Stage, Way, Ways, scenario

_PROGRAMS = ("ss-server:shadowsocks-libev", "ss-local:shadowsocks-libev")


def _shadowsocks(stage: Stage, method: str) -> Iterator[Ways]:
    port = stage.port(8388)
    key = ("-k", "lab-secret", "-m", method)
    stage.server.start("ss-server", "-s", stage.address, "-p", str(port), *key)
    stage.claim(TCP, port, "shadowsocks", "shadowsocks")
    stage.server.wait_listen("tcp", port)
    yield None
    for client in stage.clients:
        near = ("-b", "127.0.0.1", "-l", "1080")
        client.start("ss-local", "-s", stage.address, "-p", str(port), *near, *key)
        client.wait_listen("tcp", 1080)
    proxy = "socks5://127.0.0.1:1080"
    yield [Way(one, stage.server, stage.inner, proxy=proxy, udp=False) for one in stage.clients]


@scenario("shadowsocks-aead", "Shadowsocks with an AEAD cipher", *_PROGRAMS, ipv6=True, clients=3)
def _aead(stage: Stage) -> Iterator[Ways]:
    method = stage.pick("chacha20-ietf-poly1305", "aes-256-gcm", "aes-128-gcm")
    yield from _shadowsocks(stage, method)


@scenario("shadowsocks-stream", "Shadowsocks with an old stream cipher", *_PROGRAMS, ipv6=True)
def _stream(stage: Stage) -> Iterator[Ways]:
    yield from _shadowsocks(stage, stage.pick("aes-256-cfb", "chacha20-ietf", "rc4-md5"))

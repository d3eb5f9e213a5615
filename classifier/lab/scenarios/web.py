"""Ordinary web traffic: HTTPS by nginx and curl, plain HTTP, QUIC by ngtcp2, DTLS by openssl."""

import os
from collections.abc import Iterator

from classifier.lab import services
from classifier.lab.stage import TCP, UDP, Stage, Ways, scenario

WEB = ("nginx:nginx-light", "curl")
NAME = "www.example.net"


def _serve(stage: Stage, plain: int | None, tls: int | None) -> None:
    size = stage.number(6_000, 200, 300_000)
    files = {"small": 900, "big": 400_000}
    services.serve_web(stage.net, stage.authority, stage.server, NAME, plain, tls, size, files)


def _fetch(stage: Stage, url: str, *options: str) -> None:
    services.use_web(stage.client, stage.authority, stage.address, url, *options)


def _visit(stage: Stage, base: str, *options: str) -> None:
    """Fetch a page and a file; in varied runs many more, with pauses between."""
    for path in ("", "file"):
        _fetch(stage, f"{base}/{path}", *options)
    for _ in range(stage.number(0, 5, 40)):
        stage.client.run("sleep", f"{stage.rng.expovariate(8):.3f}")
        _fetch(stage, f"{base}/{stage.rng.choice(('', 'small', 'file', 'big'))}", *options)


for _version, _options in {"1.3": ("--tlsv1.3",), "1.2": ("--tls-max", "1.2")}.items():
    _short = _version.replace(".", "")

    @scenario(
        f"https-tls{_short}",
        f"Pages and files over HTTP/2 in TLS {_version}",
        *WEB,
        ways=False,
        ipv6=True,
    )
    def _https(stage: Stage, options: tuple[str, ...] = _options) -> Iterator[Ways]:
        port = stage.pick(443, 443, 8443, 1194)
        _serve(stage, None, port)
        yield None
        _visit(stage, f"https://{NAME}:{port}", *options)


@scenario(
    "https-port-1194",
    "HTTPS on the port of OpenVPN: the port decides nothing",
    *WEB,
    ways=False,
    ipv6=True,
)
def _https_1194(stage: Stage) -> Iterator[Ways]:
    _serve(stage, None, 1194)
    yield None
    _visit(stage, f"https://{NAME}:1194", *stage.pick((), ("--http1.1",)))


@scenario(
    "https-mid-session",
    "HTTPS, joined after the handshake",
    *(*WEB, "openssl"),
    ways=False,
    ipv6=True,
)
def _https_late(stage: Stage) -> Iterator[Ways]:
    _serve(stage, None, 443)
    request = rf"GET /file HTTP/1.1\r\nHost: {NAME}\r\n\r\n"
    talk = f"(printf '{request}'; sleep 1; printf '{request}'; sleep 0.5; printf '{request}')"
    client = f"timeout 6 openssl s_client -quiet -connect {stage.place}:443"
    visits = [
        stage.client.start("sh", "-c", f"({talk}; sleep 0.5) | {client}")
        for _ in range(stage.number(1, 2, 6))
    ]
    stage.client.run("sleep", "0.6")
    yield None
    for visit in visits:
        visit.process.wait(30)


@scenario("http-plain", "Pages over plain HTTP on one connection", *WEB, ways=False, ipv6=True)
def _http(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(80, 8080, 3128)
    _serve(stage, port, None)
    yield None
    base = f"http://{NAME}:{port}"
    for _ in range(stage.number(1, 5, 30)):
        _fetch(stage, f"{base}/file", "--next", "-sS", "-o", "/dev/null", f"{base}/")


@scenario(
    "quic-ngtcp2",
    "HTTP/3: QUIC version 1 between ngtcp2's client and server",
    *("gtlsserver:ngtcp2-server", "gtlsclient:ngtcp2-client"),
    ways=False,
    ipv6=True,
)
def _quic(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(443, 4433, 8443)
    certificate, key = stage.authority.issue(NAME)
    stage.server.write("index.html", os.urandom(stage.number(3_000, 500, 200_000)).hex())
    files = ["-d", str(stage.server.folder)]
    stage.server.start("gtlsserver", "-q", *files, stage.address, str(port), key, certificate)
    stage.claim(UDP, port, "quic")
    stage.server.wait_listen("udp", port)
    yield None
    url = f"https://{NAME}:{port}/index.html"
    options = ["-q", "--exit-on-all-streams-close", "--timeout=2s"]
    for _ in range(stage.number(1, 3, 15)):
        stage.client.run("gtlsclient", *options, stage.address, str(port), url)


@scenario("dtls-openssl", "DTLS 1.2: handshakes and a few lines", "openssl", ways=False, loss=False)
def _dtls(stage: Stage) -> Iterator[Ways]:
    address, port = stage.server.address, stage.pick(4433, 443, 5684)
    certificate, key = stage.authority.issue(NAME)
    stage.server.start(
        *["openssl", "s_server", "-dtls1_2", "-accept", f"{address}:{port}", "-quiet"],
        *["-cert", certificate, "-key", key],
    )
    stage.claim(UDP, port, "dtls")
    stage.server.wait_listen("udp", port)
    yield None
    lines = " ".join(str(number) for number in range(stage.number(4, 2, 20)))
    talk = f"(sleep 0.5; for i in {lines}; do echo line $i; sleep 0.1; done; echo Q)"
    client = f"openssl s_client -dtls1_2 -connect {address}:{port}"
    stage.client.run("sh", "-c", f"{talk} | timeout 5 {client}", check=False)


@scenario(
    "random-tcp",
    "Random bytes both ways over TCP: no protocol at all",
    "socat",
    ways=False,
    ipv6=True,
)
def _random(stage: Stage) -> Iterator[Ways]:
    port, wide = stage.port(7000), 6 if stage.conditions.ipv6 else 4
    answer = stage.server.write("answer", os.urandom(stage.number(2_000, 100, 20_000)))
    listen = f"TCP{wide}-LISTEN:{port},bind={stage.place},fork"
    stage.server.start("socat", listen, f"SYSTEM:cat {answer}")
    stage.claim(TCP, port, "random")
    stage.server.wait_listen("tcp", port)
    yield None
    for _ in range(stage.number(1, 3, 20)):
        question = stage.client.write("question", os.urandom(stage.number(600, 100, 5_000)))
        call = f"socat -t1 - TCP{wide}:{stage.place}:{port} < {question} > /dev/null"
        stage.client.run("sh", "-c", call, check=False)

"""Ordinary TLS and SSH that lasts: many requests in one connection, names left out, commands, pipes."""

import os
from collections.abc import Iterator
from dataclasses import replace

from classifier.lab import services
from classifier.lab.services import bracket
from classifier.lab.stage import TCP, Stage, Way, Ways, scenario
from classifier.lab.workloads import NAME as INNER_NAME
from classifier.lab.workloads import Service, Workload, draw, drive

NAME = "www.example.net"
WEB = ("nginx:nginx-light", "curl")
SSH = ("sshd:openssh-server", "ssh:openssh-client")


@scenario("curl-many", "Many requests in one HTTPS connection", *WEB, ways=False, ipv6=True)
def _many(stage: Stage) -> Iterator[Ways]:
    port = stage.port(443)
    sizes = {f"f{i}": int(200 * 2500 ** stage.rng.random()) for i in range(12)}
    services.serve_web(stage.net, stage.authority, stage.server, NAME, None, port, 9_000, sizes)
    yield None
    for _ in range(stage.number(4, 4, 12)):
        options = [stage.pick("--http1.1", "--http2"), *stage.pick([], [], ["--tls-max", "1.2"])]
        if stage.pick(False, False, True):
            options += ["--no-alpn"]
        options += ["--limit-rate", stage.pick("10M", "10M", "200k")]
        names = [stage.rng.choice(list(sizes)) for _ in range(stage.number(8, 3, 20))]
        stage.client.run(
            *["curl", "-sS", "--fail", "-k", "-m", "20", *options],
            *["--resolve", f"{NAME}:{port}:{bracket(stage.address)}"],
            *[
                word
                for name in names
                for word in ("-o", "/dev/null", f"https://{NAME}:{port}/{name}")
            ],
        )


@scenario("curl-nameless", "HTTPS by address: no name is sent", *WEB, ways=False, ipv6=True)
def _nameless(stage: Stage) -> Iterator[Ways]:
    port = stage.port(443)
    sizes = {f"f{i}": int(200 * 2500 ** stage.rng.random()) for i in range(12)}
    services.serve_web(stage.net, stage.authority, stage.server, NAME, None, port, 9_000, sizes)
    yield None
    for _ in range(stage.number(5, 5, 20)):
        options = [stage.pick("--http1.1", "--http2"), *stage.pick([], [], ["--tls-max", "1.2"])]
        names = [stage.rng.choice(list(sizes)) for _ in range(stage.number(1, 1, 6))]
        stage.client.run(
            *["curl", "-sS", "--fail", "-k", "-m", "20", *options],
            *[
                word
                for name in names
                for word in ("-o", "/dev/null", f"https://{stage.place}:{port}/{name}")
            ],
        )


@scenario("curl-post", "Uploads and small answers over HTTPS", *WEB, ways=False, ipv6=True)
def _post(stage: Stage) -> Iterator[Ways]:
    port = stage.port(443)
    services.serve_web(stage.net, stage.authority, stage.server, NAME, None, port, 9_000)
    yield None
    for _ in range(stage.number(4, 4, 12)):
        size = int(100 * 3000 ** stage.rng.random())
        body = stage.client.write("body", os.urandom(size))
        stage.client.run(
            *["curl", "-sS", "-k", "-m", "20", "--http1.1", "--data-binary", f"@{body}"],
            *["--resolve", f"{NAME}:{port}:{bracket(stage.address)}"],
            *["-o", "/dev/null", f"https://{NAME}:{port}/"] * stage.number(1, 1, 4),
        )


@scenario("openssh-commands", "Commands, and pipes up and down, by SSH", *SSH, ways=False)
def _commands(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    place = f"root@{stage.server.address}"
    yield None
    for _ in range(stage.number(4, 4, 9)):
        kind = stage.pick("down", "up", "list", "both")
        size = int(500 * 1000 ** stage.rng.random())
        more = stage.pick([], ["-C"], ["-c", "aes128-ctr"], ["-o", "ServerAliveInterval=1"])
        order, given = f"head -c {size} /dev/urandom", ""
        if kind == "up":
            order, given = "cat > /dev/null", "x" * size
        elif kind == "list":
            order = "for i in 1 2 3 4 5 6; do ls -l /usr/bin | head -$((i * 9)); sleep 0.3; done"
        elif kind == "both":
            order, given = "cat", "y" * min(size, 60_000)
        stage.client.run("ssh", *options, *more, place, order, data=given)


@scenario("openssh-shared", "Several commands at once in one SSH connection", *SSH, ways=False)
def _shared(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    place, path = f"root@{stage.server.address}", str(stage.client.folder / "control")
    shared = [*options, "-o", f"ControlPath={path}"]
    yield None
    stage.client.start("ssh", *shared, "-M", "-N", place)
    stage.client.run("sleep", "1.5")
    for _ in range(stage.number(4, 3, 8)):
        size = int(500 * 300 ** stage.rng.random())
        order = f"for i in 1 2 3; do head -c {size} /dev/urandom; sleep 0.2; done"
        running = stage.client.start("ssh", *shared, place, order)
        stage.client.run("ssh", *shared, place, "ls -l /usr/bin | head -40")
        running.wait_end(20)


@scenario(
    *("openssl-talk", "Lines typed into a TLS connection that lasts", "openssl"),
    ways=False,
    ipv6=True,
)
def _talk(stage: Stage) -> Iterator[Ways]:
    port = stage.port(4433)
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    options = [
        "-accept",
        f"{stage.place}:{port}",
        "-cert",
        certificate,
        "-key",
        key,
        "-rev",
        "-quiet",
    ]
    stage.server.start("openssl", "s_server", *options)
    stage.claim(TCP, port, "tls")
    stage.server.wait_listen("tcp", port)
    yield None
    for _ in range(stage.number(2, 2, 6)):
        lines = stage.number(8, 4, 24)
        width = stage.number(40, 10, 900)
        script = f"for i in $(seq {lines}); do head -c {width} /dev/zero | tr '\\0' x; echo; sleep 0.1; done"
        named = stage.pick("-noservername", f"-servername {NAME}")
        call = f"openssl s_client -connect {stage.place}:{port} -quiet -no_ign_eof {named}"
        stage.client.sh(f"({script}; sleep 0.3) | {call} > /dev/null 2>&1")


@scenario(
    "talk-tls", "The work that tunnels carry, straight in TLS", "openssl", ways=False, ipv6=True
)
def _straight(stage: Stage) -> Iterator[Ways]:
    certificate, key = stage.authority.issue(INNER_NAME, "serverAuth")
    service = Service(certificate, key, stage.authority.certificate)
    stage.claim(TCP, 443, "tls")
    stage.claim(TCP, 80, "unknown")
    service.start(stage.server, stage.address)
    way = Way(stage.client, stage.server, stage.address, udp=False)
    yield None
    for _ in range(stage.number(1, 1, 3)):
        work = draw(stage.rng, way)
        secured = tuple(replace(one, proto="tls", port=443) for one in work.connections)
        drive([(way, Workload(work.name, secured))], service)

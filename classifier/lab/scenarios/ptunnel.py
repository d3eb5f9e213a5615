"""ptunnel: a TCP connection in the payload of ICMP echoes."""

from collections.abc import Iterator

from classifier.lab.stage import Stage, Ways, scenario

ICMP = 1


@scenario(
    *("ptunnel-icmp", "ptunnel: TCP in echo requests and replies", "ptunnel"),
    ways=False,
    loss=False,
)
def _ptunnel(stage: Stage) -> Iterator[Ways]:
    address = stage.server.address
    # The kernel's own replies would double those of the proxy
    stage.server.set("net/ipv4/icmp_echo_ignore_all", "1")
    stage.claim(ICMP, 0, "icmp", "icmp-tunnel")
    page = stage.server.folder / "page"
    page.write_bytes(stage.rng.randbytes(stage.number(3_000, 1_000, 30_000)))
    served = ("--bind", stage.inner, "--directory", str(stage.server.folder))
    stage.server.start("python3", "-m", "http.server", "80", *served)
    stage.server.wait_listen("tcp", 80)
    stage.server.start("ptunnel")
    yield None
    stage.client.start(*("ptunnel", "-p", address, "-lp", "8000", "-da", stage.inner, "-dp", "80"))
    stage.client.wait_listen("tcp", 8000)
    for _ in range(stage.number(1, 1, 4)):  # it may close before the last bytes are through
        argv = ("curl", "-sS", "-m", "10", "-o", "/dev/null", "http://127.0.0.1:8000/page")
        stage.client.run(*argv, check=False)


@scenario(
    *("ptunnel-ng-icmp", "ptunnel-ng: TCP in echoes, acknowledged by itself", "ptunnel-ng"),
    ways=False,
    loss=False,
)
def _ng(stage: Stage) -> Iterator[Ways]:
    address, inner = stage.server.address, stage.inner
    stage.server.set("net/ipv4/icmp_echo_ignore_all", "1")
    stage.claim(ICMP, 0, "icmp", "icmp-tunnel")
    page = stage.server.folder / "page"
    page.write_bytes(stage.rng.randbytes(stage.number(3_000, 1_000, 30_000)))
    served = ("--bind", inner, "--directory", str(stage.server.folder))
    stage.server.start("python3", "-m", "http.server", "80", *served)
    stage.server.wait_listen("tcp", 80)
    quiet = ("-o/dev/stderr", "-v2", "-uroot")
    stage.server.start("ptunnel-ng", f"-r{inner}", "-R80", *quiet)
    yield None
    stage.client.start(*("ptunnel-ng", f"-p{address}", "-l8000", f"-r{inner}", "-R80", *quiet))
    stage.client.wait_listen("tcp", 8000)
    for _ in range(stage.number(1, 1, 4)):  # it may close before the last bytes are through
        argv = ("curl", "-sS", "-m", "10", "-o", "/dev/null", "http://127.0.0.1:8000/page")
        stage.client.run(*argv, check=False)

"""GNU httptunnel: a TCP connection in the bodies of one GET and of one POST after another."""

from collections.abc import Iterator

from classifier.lab.stage import TCP, Stage, Ways, scenario


@scenario(
    *("httptunnel-forward", "GNU httptunnel: a port forwarded in HTTP"),
    *("htc:httptunnel", "hts:httptunnel"),
    ways=False,
)
def _httptunnel(stage: Stage) -> Iterator[Ways]:
    port, address = stage.port(8888), stage.server.address
    stage.server.start("hts", "-w", "-F", f"{stage.inner}:80", f"{address}:{port}")
    stage.claim(TCP, port, "http", "http-tunnel")
    stage.server.wait_listen("tcp", port)
    yield None
    stage.client.start("htc", "-w", "-F", "8000", f"{address}:{port}")
    stage.client.wait_listen("tcp", 8000)
    page = stage.server.folder / "page"
    page.write_bytes(stage.rng.randbytes(stage.number(3_000, 1_000, 100_000)))
    served = ("--bind", stage.inner, "--directory", str(stage.server.folder))
    stage.server.start("python3", "-m", "http.server", "80", *served)
    stage.server.wait_listen("tcp", 80)
    for _ in range(stage.number(1, 1, 5)):  # it carries one connection after the other
        stage.client.run("curl", "-sS", "-o", "/dev/null", "http://127.0.0.1:8000/page")

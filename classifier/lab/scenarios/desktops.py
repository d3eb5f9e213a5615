"""RDP: FreeRDP shows a desktop without a screen to FreeRDP's client."""

from collections.abc import Iterator

from classifier.lab.host import Host, wait_for
from classifier.lab.stage import TCP, Stage, Ways, scenario


def _screen(host: Host, size: str) -> dict[str, str]:
    """Start an X server without a screen; return the environment of its programs."""
    host.start(
        "Xvfb",
        ":7",
        "-nolock",
        "-ac",
        "-noreset",
        "-nolisten",
        "unix",
        "-screen",
        "0",
        f"{size}x24",
    )
    wait_for(lambda: "@/tmp/.X11-unix/X7" in host.run("ss", "-xl"), f"{host.name}: an X server")
    return {"DISPLAY": ":7", "HOME": str(host.folder)}


@scenario(
    "freerdp-desktop",
    "RDP: a desktop looked at, inside TLS",
    "freerdp-shadow-cli:freerdp2-shadow-x11",
    *("xfreerdp:freerdp2-x11", "Xvfb:xvfb"),
    ways=False,
)
def _rdp(stage: Stage) -> Iterator[Ways]:
    address, port = stage.server.address, stage.pick(3389, 3389, 3390)
    size = stage.pick("800x600", "1024x768")
    far, near = _screen(stage.server, size), _screen(stage.client, "1280x1024")
    argv = ["freerdp-shadow-cli", f"/port:{port}", f"/bind-address:{address}", "-auth"]
    stage.server.start(*argv, "/sec:tls", env=far)
    stage.claim(TCP, port, "rdp")
    stage.server.wait_listen("tcp", port)
    yield None
    for _ in range(stage.number(1, 1, 3)):
        look = [
            "timeout",
            "-s",
            "INT",
            str(stage.number(4, 3, 7)),
            "xfreerdp",
            f"/v:{address}:{port}",
        ]
        options = ["/cert:ignore", "/u:lab", "/p:lab", "/sec:tls", f"/size:{size}"]
        stage.client.run(*look, *options, check=False, env=near)

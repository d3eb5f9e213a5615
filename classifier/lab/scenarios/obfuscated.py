"""OpenVPN inside another carrier: what is on the wire is the carrier, and it is labelled so."""

import re
from collections.abc import Iterator

from classifier.lab import services
from classifier.lab.host import Daemon, Host
from classifier.lab.scenarios.openvpn import OpenVpn
from classifier.lab.stage import TCP, Stage, Way, Ways, scenario

INNER = 1194  # where OpenVPN listens, on the server's own loopback


def inside(stage: Stage, local: int, *options: str) -> Iterator[Ways]:
    """Run OpenVPN between 127.0.0.1 of both hosts, the client's end at a local port."""
    setup = OpenVpn("127.0.0.1", INNER, "tcp", stage.pick("none", "tls-auth", "tls-crypt"))
    at_server, at_client = setup.ends(stage.authority, stage.server)
    stage.server.start(*at_server)
    stage.server.wait_listen("tcp", INNER)
    caller = stage.client.start(*at_client, "--remote", "127.0.0.1", str(local), *options)
    caller.wait_output("Initialization Sequence Completed", 40)
    yield Way(stage.client, stage.server, f"{setup.net}.1", bind=f"{setup.net}.2")
    caller.stop()


@scenario("openvpn-over-stunnel", "OpenVPN over TCP inside TLS", "openvpn", "stunnel4")
def _stunnel(stage: Stage) -> Iterator[Ways]:
    address, port = stage.server.address, stage.port(443)
    certificate, key = stage.authority.issue("www.example.net", "serverAuth")
    common = "foreground = yes\npid =\n[demo]\n"
    far = f"accept = {address}:{port}\nconnect = 127.0.0.1:{INNER}\ncert = {certificate}\n"
    near = f"client = yes\naccept = 127.0.0.1:8000\nconnect = {address}:{port}\n"
    stage.server.start("stunnel4", stage.server.write("s.conf", f"{common}{far}key = {key}\n"))
    stage.client.start("stunnel4", stage.client.write("s.conf", common + near))
    stage.claim(TCP, port, "tls", "stunnel")
    stage.server.wait_listen("tcp", port)
    stage.client.wait_listen("tcp", 8000)
    yield None
    yield from inside(stage, 8000)


@scenario(
    "openvpn-over-ssh",
    "OpenVPN over TCP through a forwarded port of SSH",
    *("openvpn", "sshd:openssh-server", "ssh:openssh-client"),
)
def _ssh(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    yield None
    forward = ("-N", f"-L8000:127.0.0.1:{INNER}", f"root@{stage.server.address}")
    stage.client.start("ssh", *options, *forward)
    stage.client.wait_listen("tcp", 8000)
    yield from inside(stage, 8000)


def _transport(host: Host, env: dict[str, str]) -> Daemon:
    """Start obfs4proxy as Tor would (pluggable transport specification, version 1)."""
    state = {"TOR_PT_MANAGED_TRANSPORT_VER": "1", "TOR_PT_STATE_LOCATION": str(host.folder / "pt")}
    return host.start("obfs4proxy", env=state | env)


@scenario("openvpn-over-obfs4", "OpenVPN over TCP inside obfs4", "openvpn", "obfs4proxy")
def _obfs4(stage: Stage) -> Iterator[Ways]:
    address, port = stage.server.address, stage.port(8443)
    far = {
        "TOR_PT_SERVER_TRANSPORTS": "obfs4",
        "TOR_PT_SERVER_BINDADDR": f"obfs4-{address}:{port}",
        "TOR_PT_SERVER_TRANSPORT_OPTIONS": f"obfs4:iat-mode={stage.pick(0, 0, 1)}",
        "TOR_PT_ORPORT": f"127.0.0.1:{INNER}",
    }
    listener = _transport(stage.server, far)
    stage.claim(TCP, port, "unknown", "obfs4")
    listener.wait_output("SMETHODS DONE")
    words = re.search(r"ARGS:(cert=[^,\s]+),(iat-mode=\d)", listener.output())
    assert words is not None
    yield None
    caller = _transport(stage.client, {"TOR_PT_CLIENT_TRANSPORTS": "obfs4"})
    caller.wait_output("CMETHODS DONE")
    socks = re.search(r"CMETHOD obfs4 socks5 127\.0\.0\.1:(\d+)", caller.output())
    assert socks is not None
    login = stage.client.write("login", f"{words[1]}\n;{words[2]}\n")  # joined at the other end
    setup = OpenVpn("127.0.0.1", INNER, "tcp", stage.pick("none", "tls-auth", "tls-crypt"))
    at_server, at_client = setup.ends(stage.authority, stage.server)
    stage.server.start(*at_server)
    stage.server.wait_listen("tcp", INNER)
    tunnel = stage.client.start(
        *[*at_client, "--remote", address, str(port)],
        *["--socks-proxy", "127.0.0.1", socks[1], login],
    )
    tunnel.wait_output("Initialization Sequence Completed", 40)
    yield Way(stage.client, stage.server, f"{setup.net}.1", bind=f"{setup.net}.2")
    tunnel.stop()

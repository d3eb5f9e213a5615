"""OpenSSH: interactive logins, copies, and forwarded ports."""

from collections.abc import Iterator

from classifier.lab import services
from classifier.lab.stage import TCP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach

PROGRAMS = ("sshd:openssh-server", "ssh:openssh-client")


@scenario("openssh-interactive", "Logins by SSH and a few typed lines", *PROGRAMS, ways=False)
def _interactive(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    yield None
    for _ in range(stage.number(1, 1, 4)):
        services.use_ssh(stage.client, stage.server.address, options, stage.number(6, 3, 40))


@scenario("openssh-scp", "Files copied by SSH", *PROGRAMS, ways=False)
def _scp(stage: Stage) -> Iterator[Ways]:
    options = services.serve_ssh(stage.net, stage.server, stage.client)
    yield None
    for _ in range(stage.number(1, 1, 4)):
        size = stage.number(8_000, 500, 400_000)
        services.use_scp(stage.client, stage.server.address, options, size)


@scenario("openssh-forward", "Connections through forwarded ports of SSH", *PROGRAMS)
def _forward(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")  # goes before the claim of an ordinary login
    yield None
    forwards = {80: 8000, 443: 8443}
    rules = [f"-L{local}:{stage.inner}:{there}" for there, local in forwards.items()]
    stage.client.start("ssh", *options, "-N", *rules, f"root@{stage.server.address}")
    stage.client.wait_listen("tcp", 8443)
    yield Way(stage.client, stage.server, stage.inner, forwards=forwards, udp=False)


@scenario("openssh-socks", "Connections through ssh -D, a SOCKS proxy of the client", *PROGRAMS)
def _dynamic(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    inner = stage.inner
    yield None
    stage.client.start("ssh", *options, "-N", "-D1080", f"root@{stage.server.address}")
    stage.client.wait_listen("tcp", 1080)
    yield Way(stage.client, stage.server, inner, proxy="socks5://127.0.0.1:1080", udp=False)


@scenario("openssh-tun", "IP packets through ssh -w, a TUN device at each end", *PROGRAMS)
def _tun(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    far, near = "10.76.0.1", "10.76.0.2"
    for host, own, other in ((stage.server, far, near), (stage.client, near, far)):
        host.run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun")
        host.run("ip", "address", "add", own, "peer", other, "dev", "tun0")
        host.run("ip", "link", "set", "tun0", "mtu", "1300", "up")
    yield None
    stage.client.start("ssh", *options, "-N", "-w0:0", f"root@{stage.server.address}")
    reach(stage.client, far)
    yield Way(stage.client, stage.server, far, bind=near)

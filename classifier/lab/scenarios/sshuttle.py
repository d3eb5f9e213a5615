"""sshuttle: connections to a network, taken up by the firewall and carried in one SSH connection."""

import shlex
from collections.abc import Iterator

from classifier.lab import services
from classifier.lab.stage import TCP, Stage, Way, Ways, scenario


@scenario(
    "sshuttle-nat",
    "sshuttle: all connections to a network in one SSH connection",
    *("sshuttle", "sshd:openssh-server", "ssh:openssh-client", "iptables"),
    kernel=("nat",),
)
def _sshuttle(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    inner = stage.inner
    yield None
    shuttle = stage.client.start(
        *["sshuttle", "--method", "nat", "-r", f"root@{stage.server.address}"],
        *["--ssh-cmd", f"ssh {shlex.join(options)}", f"{inner}/32"],
    )
    shuttle.wait_output("Connected", 30)
    yield Way(stage.client, stage.server, inner, udp=False)

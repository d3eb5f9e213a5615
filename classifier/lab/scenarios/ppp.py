"""L2TP and PPTP: PPP over UDP, and over GRE with a TCP connection beside it.

The kernel's PPP is not needed: ``classifier.lab.pppd`` stands in for pppd.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from classifier.lab import pppd
from classifier.lab.host import Host
from classifier.lab.stage import TCP, UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach

GRE = 47
SERVER, CLIENT = "10.74.0.1", "10.74.0.2"


def _stand_in(host: Host) -> None:
    """Let the host see our program where pppd should be."""
    text = f'#!/bin/sh\nexec {sys.executable} -I {Path(pppd.__file__)} "$@"\n'
    host.replace("/usr/sbin/pppd", host.write("pppd", text, 0o755))


@scenario("xl2tpd-l2tp", "L2TP version 2 over UDP, its PPP in clear", "xl2tpd", "pppd:ppp")
def _l2tp(stage: Stage) -> Iterator[Ways]:
    length = stage.pick("yes", "no")
    for host in (stage.server, stage.client):
        _stand_in(host)
        host.run("mkdir", "-p", "/run/xl2tpd")
    common = f"length bit = {length}\nrequire authentication = no\npppoptfile = /dev/null\n"
    server = stage.server.write(
        "xl2tpd.conf",
        f"[global]\nport = 1701\n[lns default]\nip range = {CLIENT}\nlocal ip = {SERVER}\n{common}",
    )
    client = stage.client.write(
        "xl2tpd.conf",
        f"[global]\nport = 1701\n[lac demo]\nlns = {stage.server.address}\nautodial = yes\n{common}",
    )
    stage.claim(UDP, 1701, "l2tp", "l2tp")
    yield None
    for host, conf in ((stage.server, server), (stage.client, client)):
        words = ["-D", "-c", conf, "-s", "/dev/null", "-p", "/run/xl2tpd.pid"]
        host.start("xl2tpd", *words, "-C", "/run/xl2tpd/control")
        host.wait_listen("udp", 1701)
    reach(stage.client, SERVER)
    yield Way(stage.client, stage.server, SERVER, bind=CLIENT)


@scenario(
    *("pptpd-pptp", "PPTP: control by TCP, PPP in GRE version 1, in clear"),
    *("pptpd", "pptp:pptp-linux", "pppd:ppp"),
    nat=False,
)
def _pptp(stage: Stage) -> Iterator[Ways]:
    for host in (stage.server, stage.client):
        _stand_in(host)
    empty = stage.server.write("options", "")
    conf = stage.server.write(
        "pptpd.conf",
        f"option {empty}\nlocalip {SERVER}\nremoteip {CLIENT}\nlisten {stage.server.address}\n",
    )
    stage.server.start("pptpd", "--fg", "--conf", conf)
    stage.server.wait_listen("tcp", 1723)
    stage.claim(TCP, 1723, "pptp", "pptp")
    stage.claim(GRE, 0, "pptp", "pptp")
    yield None
    stage.client.cover("/run/pptp")
    stage.client.start("pptp", stage.server.address, "nodetach")
    reach(stage.client, SERVER)
    yield Way(stage.client, stage.server, SERVER, bind=CLIENT)

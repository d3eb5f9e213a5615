"""ocserv and openconnect: the protocol of Cisco AnyConnect."""

from collections.abc import Iterator

from classifier.lab.stage import TCP, UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach

SCRIPT = """\
#!/bin/sh
[ "$reason" = connect ] || exit 0
ip addr add $INTERNAL_IP4_ADDRESS/24 dev $TUNDEV
ip link set $TUNDEV mtu 1300 up
"""


def _anyconnect(stage: Stage, udp: bool) -> Iterator[Ways]:
    server, folder, port = stage.server, stage.server.folder, stage.pick(443, 443, 4433, 8443)
    certificate, key = stage.authority.issue("vpn.example.net", "serverAuth")
    hashed = server.run("openssl", "passwd", "-6", "secret").strip()
    users = server.write("users", f"user:*:{hashed}\n")
    conf = server.write(
        "ocserv.conf",
        f'auth = "plain[passwd={users}]"\nlisten-host = {stage.address}\ntcp-port = {port}\n'
        + (f"udp-port = {port}\n" if udp else "")
        + "run-as-user = root\nrun-as-group = root\n"
        f"socket-file = {folder}/oc.sock\nserver-cert = {certificate}\nserver-key = {key}\n"
        f"ca-cert = {stage.authority.certificate}\nisolate-workers = false\nmax-clients = 4\n"
        "device = oc\nipv4-network = 10.80.0.0\nipv4-netmask = 255.255.255.0\n"
        "try-mtu-discovery = false\ncisco-client-compat = true\ndtls-legacy = true\n"
        f"use-occtl = false\npid-file = {folder}/oc.pid\nkeepalive = 30\ndpd = 30\n",
    )
    server.start("ocserv", "-f", "-c", conf)
    stage.claim(TCP, port, "tls", "anyconnect")
    if udp:
        stage.claim(UDP, port, "dtls", "anyconnect")
    server.wait_listen("tcp", port)
    script = stage.client.write("script", SCRIPT, 0o700)
    hosts = stage.client.write("hosts", f"{stage.address} vpn.example.net\n")
    stage.client.replace("/etc/hosts", hosts)
    password = stage.client.write("password", "secret\n")
    yield None
    login = f"openconnect --non-inter --passwd-on-stdin -u user -i oc0 {'' if udp else '--no-dtls'}"
    url = f"https://vpn.example.net:{port}"
    argv = f"{login} --cafile {stage.authority.certificate} -s {script} {url}"
    caller = stage.client.start("sh", "-c", f"exec {argv} < {password}")
    reach(stage.client, "10.80.0.1")
    inner = stage.client.sh("ip -4 -o address show dev oc0").split()[3].partition("/")[0]
    yield Way(stage.client, stage.server, "10.80.0.1", bind=inner)
    caller.stop()


PROGRAMS = ("ocserv", "openconnect")


@scenario("ocserv-dtls", "AnyConnect: TLS, then DTLS to the same server", *PROGRAMS, ipv6=True)
def _dtls(stage: Stage) -> Iterator[Ways]:
    yield from _anyconnect(stage, udp=True)


@scenario("ocserv-tls", "AnyConnect without DTLS: all data in TLS", *PROGRAMS, ipv6=True)
def _tls(stage: Stage) -> Iterator[Ways]:
    yield from _anyconnect(stage, udp=False)

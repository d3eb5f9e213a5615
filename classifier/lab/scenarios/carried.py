"""Tunnels inside TLS and SSH by many programs: what they share is what is inside, not who wraps it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from classifier.lab import carrier, services
from classifier.lab.stage import TCP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach

FAR, NEAR = "10.77.0.1", "10.77.0.2"
NAME = "www.example.net"


def _pem(stage: Stage) -> str:
    """Return a file with a certificate and its key."""
    parts = [Path(path).read_bytes() for path in stage.authority.issue(NAME, "serverAuth")]
    return stage.server.write("both.pem", b"".join(parts))


def _forwarded(stage: Stage, pairs: dict[int, int]) -> Way:
    """Return a way through ports of the client's own, ready to be connected to."""
    for local in pairs.values():
        stage.client.wait_listen("tcp", local)
    return Way(
        *(stage.client, stage.server, stage.inner), forwards=pairs, udp=False, tls=443 in pairs
    )


def _wrap(stage: Stage, services_: dict[str, str], port: int) -> dict[int, int]:
    """Start stunnel at both ends for some services; return local ports by service's port."""
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    common = "foreground = yes\npid =\n" + stage.pick("", "sslVersion = TLSv1.2\n", "")
    name = stage.pick("", "", f"sni = {NAME}\n")
    far, near, local = common, common, {}
    for number, (inner, target) in enumerate(services_.items()):
        far += f"[s{number}]\naccept = {stage.address}:{port + number}\nconnect = {target}\n"
        far += f"cert = {certificate}\nkey = {key}\n"
        near += f"[s{number}]\nclient = yes\naccept = 127.0.0.1:{8000 + number}\n"
        near += f"connect = {stage.address}:{port + number}\n{name}"
        local[int(inner)] = 8000 + number
        stage.claim(TCP, port + number, "tls", "stunnel")
    stage.server.start("stunnel4", stage.server.write("stunnel.conf", far))
    stage.client.start("stunnel4", stage.client.write("stunnel.conf", near))
    for number in range(len(services_)):
        stage.server.wait_listen("tcp", port + number)
    return local


@scenario("stunnel-pages", "Pages with TLS of their own through stunnel", "stunnel4", ipv6=True)
def _pages(stage: Stage) -> Iterator[Ways]:
    places = {"80": f"{stage.inner}:80", "443": f"{stage.inner}:443"}
    local = _wrap(stage, places, stage.port(8443))
    yield None
    yield _forwarded(stage, local)


@scenario("stunnel-socks", "A SOCKS proxy behind stunnel", "stunnel4", "microsocks", ipv6=True)
def _socks(stage: Stage) -> Iterator[Ways]:
    stage.server.start("microsocks", "-i", "127.0.0.1", "-p", "1080")
    _wrap(stage, {"1080": "127.0.0.1:1080"}, stage.port(443))
    target = stage.inner
    yield None
    stage.client.wait_listen("tcp", 8000)
    yield Way(stage.client, stage.server, target, proxy="socks5://127.0.0.1:8000", udp=False)


@scenario(
    *("stunnel-connect", "An HTTP proxy behind stunnel", "stunnel4", "tinyproxy:tinyproxy-bin"),
    ipv6=True,
)
def _connect(stage: Stage) -> Iterator[Ways]:
    conf = "Port 3128\nListen 127.0.0.1\nUser root\nMaxClients 200\n"
    stage.server.start("tinyproxy", "-d", "-c", stage.server.write("tinyproxy.conf", conf))
    _wrap(stage, {"3128": "127.0.0.1:3128"}, stage.port(443))
    target = stage.inner
    yield None
    stage.client.wait_listen("tcp", 8000)
    yield Way(stage.client, stage.server, target, proxy="http://127.0.0.1:8000", udp=False)


@scenario("stunnel-ssh", "ssh -D through stunnel", "stunnel4", "sshd:openssh-server")
def _ssh(stage: Stage) -> Iterator[Ways]:
    options = services.serve_ssh(stage.net, stage.server, stage.client, 2022)
    _wrap(stage, {"22": f"{stage.server.address}:2022"}, stage.port(443))
    target = stage.inner
    yield None
    stage.client.wait_listen("tcp", 8000)
    options = ["Port=8000" if word == "Port=2022" else word for word in options]
    stage.client.start("ssh", *options, "-N", "-D1080", "root@127.0.0.1")
    stage.client.wait_listen("tcp", 1080)
    yield Way(stage.client, stage.server, target, proxy="socks5://127.0.0.1:1080", udp=False)


@scenario("socat-tls", "Ports forwarded inside TLS by socat", "socat", ipv6=True)
def _socat(stage: Stage) -> Iterator[Ways]:
    port, both = stage.port(4433), _pem(stage)
    named = stage.pick("no-sni=1", "no-sni=1", f"snihost={NAME}")
    six = ":" in stage.address
    for number, inner in enumerate((80, 443)):
        listen = f"OPENSSL-LISTEN:{port + number},bind={stage.place},reuseaddr,fork,cert={both}"
        listen += f",verify=0{',pf=ip6' if six else ''}"
        stage.server.start("socat", listen, f"TCP:{stage.inner}:{inner}")
        stage.claim(TCP, port + number, "tls", "stunnel")
        stage.server.wait_listen("tcp", port + number)
        near = f"TCP-LISTEN:{8000 + number},bind=127.0.0.1,reuseaddr,fork"
        stage.client.start("socat", near, f"OPENSSL:{stage.place}:{port + number},verify=0,{named}")
    yield None
    yield _forwarded(stage, {80: 8000, 443: 8001})


@scenario("socat-tun", "IP packets inside TLS by socat", "socat", loss=False)
def _socat_tun(stage: Stage) -> Iterator[Ways]:
    port, both, mtu = stage.port(4433), _pem(stage), str(stage.pick(1400, 1280, 1300, 1450))
    listen = f"OPENSSL-LISTEN:{port},bind={stage.server.address},reuseaddr,cert={both},verify=0"
    listen += ",nodelay"
    stage.server.start("socat", listen, f"TUN:{FAR}/24,up,iff-no-pi,tun-name=tun0")
    stage.claim(TCP, port, "tls", "stunnel")
    stage.server.wait_listen("tcp", port)
    yield None
    to = f"OPENSSL:{stage.server.address}:{port},verify=0,nodelay"
    stage.client.start("socat", f"TUN:{NEAR}/24,up,iff-no-pi,tun-name=tun0", to)
    for host in (stage.client, stage.server):
        host.wait_device("tun0")
        host.run("ip", "link", "set", "tun0", "mtu", mtu)
    reach(stage.client, FAR)
    yield Way(stage.client, stage.server, FAR, bind=NEAR, limit=20_000)


@scenario("haproxy-tunnel", "Ports forwarded inside TLS by HAProxy", "haproxy", ipv6=True)
def _haproxy(stage: Stage) -> Iterator[Ways]:
    port, both = stage.port(443), _pem(stage)
    common = (
        "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n"
        "  timeout client 60s\n  timeout server 60s\n"
    )
    named = stage.pick("", f" sni str({NAME})", " alpn h2")
    far = near = common
    for number, inner in enumerate((80, 443)):
        there, local = port + number, 8000 + number
        far += f"listen s{number}\n  bind {stage.place}:{there} ssl crt {both}\n"
        far += f"  server s {stage.inner}:{inner}\n"
        near += f"listen s{number}\n  bind 127.0.0.1:{local}\n"
        near += f"  server s {stage.place}:{there} ssl verify none{named}\n"
        stage.claim(TCP, there, "tls", "stunnel")
    stage.server.start("haproxy", "-db", "-f", stage.server.write("haproxy.cfg", far))
    stage.client.start("haproxy", "-db", "-f", stage.client.write("haproxy.cfg", near))
    stage.server.wait_listen("tcp", port + 1)
    yield None
    yield _forwarded(stage, {80: 8000, 443: 8001})


def _framing(kind: str, family: str, shows: str) -> None:
    @scenario(f"packets-{kind}", shows, ipv6=True)
    def _run(stage: Stage) -> Iterator[Ways]:
        port, mtu = stage.port(443), str(stage.pick(1400, 1280, 1354, 1420, 1500))
        certificate, key = stage.authority.issue("vpn.example.net", "serverAuth")
        both = {"kind": kind, "address": stage.address, "port": port}
        both["alive_s"] = stage.pick(10, 2, 5, 20)
        far = {**both, "listen": True, "certificate": certificate, "key": key}
        near = {**both, "listen": False, "ca": stage.authority.certificate}
        near["name"] = stage.pick("vpn.example.net", None)
        near["alpn"] = stage.pick([], [], ["http/1.1"])
        near["old"] = stage.pick(False, False, True)
        program = [sys.executable, "-I", str(carrier.__file__)]
        stage.server.start(*program, json.dumps(far))
        stage.claim(TCP, port, "tls", family)
        stage.server.wait_listen("tcp", port)
        for host, own in ((stage.client, NEAR), (stage.server, FAR)):
            host.run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun")
            host.run("ip", "address", "add", f"{own}/24", "dev", "tun0")
            host.run("ip", "link", "set", "tun0", "mtu", mtu, "up")
        yield None
        stage.client.start(*program, json.dumps(near))
        reach(stage.client, FAR)
        yield Way(stage.client, stage.server, FAR, bind=NEAR)


_framing("sstp", "sstp", "IP packets in TLS, framed as SSTP frames them")
_framing("fortinet", "fortinet", "IP packets in TLS, framed as Fortinet's SSL VPN does")
_framing("cstp", "anyconnect", "IP packets in TLS, framed as AnyConnect frames them")
_framing("websocket", "generic-vpn", "IP packets in a WebSocket in TLS")
_framing("length", "generic-vpn", "IP packets in TLS, each behind its length")


def _dropbear(stage: Stage, port: int) -> list[str]:
    """Start dropbear, and return a key's file of its own format and that of OpenSSH's."""
    client, server = stage.client, stage.server
    own, host_key = str(client.folder / "own"), str(server.folder / "hostkey")
    said = client.run("dropbearkey", "-t", "ed25519", "-f", own)
    server.run("dropbearkey", "-t", "ed25519", "-f", host_key)
    line = next(row for row in said.splitlines() if row.startswith("ssh-ed25519"))
    home = server.folder / "home"
    server.run("mkdir", "-p", "-m", "700", str(home), str(home / ".ssh"))
    path = server.write("authorized", line + "\n")
    server.run("install", "-m", "600", path, str(home / ".ssh" / "authorized_keys"))
    server.replace(
        "/etc/passwd", server.write("passwd", f"root:x:0:0:root:{home}:/bin/sh\n", 0o644)
    )
    place = f"{server.address}:{port}"
    server.start("dropbear", "-F", "-E", "-s", "-r", host_key, "-p", place, "-P", "/dev/null")
    server.wait_listen("tcp", port)
    return ["-y", "-y", "-i", own, "-p", str(port)]


@scenario(
    "dropbear-forward",
    "Connections through forwarded ports of dropbear's client",
    *("dropbear:dropbear-bin", "dbclient:dropbear-bin"),
)
def _forward(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = _dropbear(stage, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    yield None
    rules = [
        f"-L127.0.0.1:{local}:{stage.inner}:{there}" for there, local in ((80, 8000), (443, 8443))
    ]
    argv = [word for rule in rules for word in (rule[:2], rule[2:])]
    stage.client.start("dbclient", *options, "-N", *argv, f"root@{stage.server.address}")
    yield _forwarded(stage, {80: 8000, 443: 8443})


@scenario(
    "dropbear-login",
    "Logins and commands by dropbear",
    *("dropbear:dropbear-bin", "dbclient:dropbear-bin"),
    ways=False,
)
def _login(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = _dropbear(stage, port)
    stage.claim(TCP, port, "ssh")
    yield None
    for _ in range(stage.number(2, 2, 6)):
        order = f"head -c {stage.number(2000, 100, 300_000)} /dev/urandom; sleep 0.2; ls -l /usr"
        stage.client.run("dbclient", *options, f"root@{stage.server.address}", order)


@scenario(
    "openssh-reverse",
    "Connections back through ssh -R",
    *("sshd:openssh-server", "ssh:openssh-client"),
)
def _reverse(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    target = "172.16.9.1"
    stage.client.run("ip", "address", "add", f"{target}/32", "dev", "lo")
    cipher = stage.pick("chacha20-poly1305@openssh.com", "aes128-ctr", "aes256-gcm@openssh.com")
    yield None
    rules = [f"-R127.0.0.1:{local}:{target}:{there}" for there, local in ((80, 8000), (443, 8443))]
    stage.client.start("ssh", *options, "-c", cipher, "-N", *rules, f"root@{stage.server.address}")
    stage.server.wait_listen("tcp", 8443)
    yield Way(stage.server, stage.client, target, forwards={80: 8000, 443: 8443}, udp=False)


@scenario(
    "openssh-ciphers",
    "Connections through ssh -D with other ciphers, and keepalive",
    *("sshd:openssh-server", "ssh:openssh-client"),
)
def _ciphers(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    inner = stage.inner
    options += ["-c", stage.pick("aes128-ctr", "aes256-gcm@openssh.com", "aes256-ctr")]
    options += [
        "-m",
        stage.pick("hmac-sha2-256", "hmac-sha2-512-etm@openssh.com", "umac-64@openssh.com"),
    ]
    options += ["-o", f"ServerAliveInterval={stage.pick(2, 5, 30)}"]
    options += ["-C"] if stage.pick(False, True) else []
    yield None
    stage.client.start("ssh", *options, "-N", "-D1080", f"root@{stage.server.address}")
    stage.client.wait_listen("tcp", 1080)
    yield Way(stage.client, stage.server, inner, proxy="socks5://127.0.0.1:1080", udp=False)

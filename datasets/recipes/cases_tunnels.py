"""Conformance cases of other tunnels and proxies that Debian packages."""

from collections.abc import Iterator

import services
from bench import Bench, case
from netns import Host, wait_for

UDP, TCP = services.UDP, services.TCP


def _page(bench: Bench) -> None:
    """Start the web server that is fetched through a proxy, on the proxy's own host."""
    bench.server.run("ip", "address", "add", "172.16.9.1/32", "dev", "lo")
    folder = bench.server.folder / "page"
    folder.mkdir()
    (folder / "index.html").write_text("<p>a page</p>\n" * bench.number(60, 5, 600))
    bench.server.start(
        *["python3", "-m", "http.server", "80", "--bind", "172.16.9.1"],
        *["--directory", str(folder)],
    )
    bench.server.wait_listen("tcp", 80)


def _ping(host: Host, address: str, count: int = 4) -> None:
    wait_for(lambda: "eth0" not in host.run("ip", "route", "get", address), f"way to {address}")
    wait_for(lambda: " 0% packet loss" in _echo(host, address, 1), f"a ping through to {address}")
    _echo(host, address, count)


def _echo(host: Host, address: str, count: int) -> str:
    argv = ["ping", "-c", str(count), "-i", "0.1", "-W", "1", "-s", "200", address]
    return host.run(*argv, check=False)


@case("socks5", "A web page through a SOCKS5 proxy", "microsocks", "curl")
def _socks(bench: Bench) -> Iterator[None]:
    _page(bench)
    address, port = bench.server.address, bench.port(1080)
    bench.server.start("microsocks", "-i", address, "-p", str(port))
    bench.lab.claim(TCP, address, port, "socks", "socks")
    bench.server.wait_listen("tcp", port)
    yield
    proxy = f"socks5://{address}:{port}"
    bench.client.run("curl", "-sS", "--fail", "-x", proxy, "http://172.16.9.1/")


@case("http-connect", "A web page through an HTTP proxy's CONNECT", "tinyproxy-bin", "curl")
def _connect(bench: Bench) -> Iterator[None]:
    _page(bench)
    address, port = bench.server.address, bench.pick(8888, 3128, 8080)
    conf = bench.server.write("tinyproxy.conf", f"Port {port}\nListen {address}\nUser root\n")
    bench.server.start("tinyproxy", "-d", "-c", conf)
    bench.lab.claim(TCP, address, port, "http-connect", "http-connect")
    bench.server.wait_listen("tcp", port)
    yield
    proxy = f"http://{address}:{port}"
    bench.client.run("curl", "-sS", "--fail", "-p", "-x", proxy, "http://172.16.9.1/")


@case("stunnel", "A web page through stunnel: TLS from outside", "stunnel4", "curl")
def _stunnel(bench: Bench) -> Iterator[None]:
    _page(bench)
    address, port = bench.server.address, bench.pick(443, 8443, 992)
    certificate, key = bench.authority.issue("www.example.net", "serverAuth")
    common = "foreground = yes\nsyslog = no\n[web]\n"
    far = f"cert = {certificate}\nkey = {key}\naccept = {address}:{port}\n"
    far += "connect = 172.16.9.1:80\n"
    near = f"client = yes\naccept = 127.0.0.1:8000\nconnect = {address}:{port}\n"
    bench.server.start("stunnel4", bench.server.write("stunnel.conf", common + far))
    bench.client.start("stunnel4", bench.client.write("stunnel.conf", common + near))
    bench.lab.claim(TCP, address, port, "tls", "stunnel")
    bench.server.wait_listen("tcp", port)
    bench.client.wait_listen("tcp", 8000)
    yield
    bench.client.run("curl", "-sS", "--fail", "http://127.0.0.1:8000/")


@case("ssh-tunnel", "A web page through a forwarded port of SSH", "openssh-server", "curl")
def _ssh_tunnel(bench: Bench) -> Iterator[None]:
    _page(bench)
    options = services.serve_ssh(bench.lab, bench.server, bench.client)
    rule = next(row for row in bench.lab.claims if row.port == 22)
    bench.lab.claims.remove(rule)
    bench.lab.claim(TCP, bench.server.address, 22, "ssh", "ssh-tunnel")
    yield
    forward = ["-N", "-L", "8000:172.16.9.1:80", f"root@{bench.server.address}"]
    bench.client.start("ssh", *options, *forward)
    bench.client.wait_listen("tcp", 8000)
    for _ in range(bench.number(2, 1, 8)):
        bench.client.run("curl", "-sS", "--fail", "http://127.0.0.1:8000/")


@case("tinc", "tinc 1.0: the TCP connection that exchanges keys, and data over UDP", "tinc")
def _tinc(bench: Bench) -> Iterator[None]:
    ends = {"near": bench.client, "far": bench.server}
    for number, (name, host) in enumerate(ends.items(), 1):
        (host.folder / "net" / "hosts").mkdir(parents=True)
        other = "ConnectTo = far\n" if name == "near" else ""
        host.write("net/tinc.conf", f"Name = {name}\nDevice = /dev/net/tun\n{other}")
        host.write(
            "net/tinc-up",
            f"#!/bin/sh\nip addr add 10.77.0.{number}/24 dev $INTERFACE\n"
            "ip link set $INTERFACE up\n",
            0o700,
        )
        where = f"Address = {host.address}\n" if name == "far" else ""
        host.write(f"net/hosts/{name}", f"{where}Subnet = 10.77.0.{number}/32\n")
        host.run("tincd", "-c", str(host.folder / "net"), "-K2048", data="\n\n")
    for name, other in (("near", "far"), ("far", "near")):
        public = (ends[name].folder / "net" / "hosts" / name).read_bytes()
        ends[other].write(f"net/hosts/{name}", public)
    yield
    for proto in (TCP, UDP):
        bench.lab.claim(proto, bench.server.address, 655, "tinc", "tinc")
    for host in (bench.server, bench.client):
        host.start("tincd", "-c", str(host.folder / "net"), "-D", "--pidfile=/run/tinc.pid")
        host.wait_listen("tcp", 655)
    _ping(bench.client, "10.77.0.2")


@case("nebula", "Nebula: a lighthouse and one host", "nebula")
def _nebula(bench: Bench) -> Iterator[None]:
    folder = bench.lab.folder / "nebula"
    folder.mkdir()
    make = ["nebula-cert", "ca", "-name", "demo", "-out-crt", f"{folder}/ca.crt"]
    bench.server.run(*make, "-out-key", f"{folder}/ca.key")
    port = bench.pick(4242, 443, 51820)
    for number, host in enumerate((bench.server, bench.client), 1):
        sign = ["nebula-cert", "sign", "-ca-crt", f"{folder}/ca.crt", "-ca-key", f"{folder}/ca.key"]
        sign += ["-name", host.name, "-ip", f"10.78.0.{number}/24"]
        host.run(*sign, "-out-crt", f"{folder}/{number}.crt", "-out-key", f"{folder}/{number}.key")
        lighthouse = "am_lighthouse: true" if number == 1 else "hosts: ['10.78.0.1']"
        conf = host.write(
            "nebula.yml",
            f"pki: {{ca: {folder}/ca.crt, cert: {folder}/{number}.crt, key: {folder}/{number}.key}}\n"
            f"static_host_map: {{'10.78.0.1': ['{bench.server.address}:{port}']}}\n"
            f"lighthouse: {{{lighthouse}}}\n"
            f"listen: {{host: {host.address}, port: {port if number == 1 else 0}}}\n"
            "firewall: {outbound: [{port: any, proto: any, host: any}], "
            "inbound: [{port: any, proto: any, host: any}]}\n",
        )
        if number == 2:
            yield
        host.start("nebula", "-config", conf)
        if number == 1:
            bench.lab.claim(UDP, host.address, port, "nebula", "nebula")
            host.wait_listen("udp", port)
    _ping(bench.client, "10.78.0.1")


@case("fastd", "fastd with a key pair on each side", "fastd")
def _fastd(bench: Bench) -> Iterator[None]:
    port = bench.pick(10000, 443, 1194)
    ends = (bench.server, bench.client)
    secrets, publics = [], []
    for host in ends:
        words = host.run("fastd", "--generate-key").split()
        secrets.append(words[words.index("Secret:") + 1])
        publics.append(words[words.index("Public:") + 1])
    method = bench.pick("salsa2012+umac", "null+salsa2012+umac", "aes128-ctr+umac")
    bench.lab.claim(UDP, bench.server.address, port, "fastd", "fastd")
    yield
    for number, host in enumerate(ends):
        remote = f"remote {bench.server.address}:{port};" if number else ""
        bind = f"bind {host.address}:{port if not number else 0};"
        conf = host.write(
            "fastd.conf",
            f'interface "fd0"; mode tun; method "{method}"; secret "{secrets[number]}"; {bind}\n'
            f'peer "other" {{ key "{publics[1 - number]}"; {remote} }}\n'
            f'on up "ip addr add 10.79.0.{number + 1}/24 dev fd0; ip link set fd0 up";\n',
        )
        host.start("fastd", "--config", conf)
        if number == 0:
            host.wait_listen("udp", port)
    _ping(bench.client, "10.79.0.1")


@case("anyconnect", "ocserv and openconnect: TLS, then DTLS to the same server", "ocserv")
def _anyconnect(bench: Bench) -> Iterator[None]:
    address, folder = bench.server.address, bench.server.folder
    certificate, key = bench.authority.issue("vpn.example.net", "serverAuth")
    hashed = bench.server.run("openssl", "passwd", "-6", "secret").strip()
    users = bench.server.write("users", f"user:*:{hashed}\n")
    conf = bench.server.write(
        "ocserv.conf",
        f'auth = "plain[passwd={users}]"\nlisten-host = {address}\n'
        "tcp-port = 443\nudp-port = 443\nrun-as-user = root\nrun-as-group = root\n"
        f"socket-file = {folder}/oc.sock\nserver-cert = {certificate}\nserver-key = {key}\n"
        f"ca-cert = {bench.authority.certificate}\nisolate-workers = false\nmax-clients = 4\n"
        "device = oc\nipv4-network = 10.80.0.0\nipv4-netmask = 255.255.255.0\n"
        "try-mtu-discovery = false\ncisco-client-compat = true\ndtls-legacy = true\n"
        f"use-occtl = false\npid-file = {folder}/oc.pid\nkeepalive = 30\ndpd = 30\n",
    )
    bench.server.start("ocserv", "-f", "-c", conf)
    bench.lab.claim(TCP, address, 443, "tls", "anyconnect")
    bench.lab.claim(UDP, address, 443, "dtls", "anyconnect")
    bench.server.wait_listen("tcp", 443)
    script = bench.client.write(
        "script",
        '#!/bin/sh\n[ "$reason" = connect ] || exit 0\n'
        "ip addr add $INTERNAL_IP4_ADDRESS/24 dev $TUNDEV\nip link set $TUNDEV up\n",
        0o700,
    )
    hosts = bench.client.write("hosts", f"{address} vpn.example.net\n")
    bench.client.run("mount", "--bind", hosts, "/etc/hosts")
    password = bench.client.write("password", "secret\n")
    yield
    login = "openconnect --non-inter --passwd-on-stdin -u user -i oc0"
    ca = f"--cafile {bench.authority.certificate}"
    bench.client.start(
        "sh", "-c", f"exec {login} {ca} -s {script} https://vpn.example.net < {password}"
    )
    _ping(bench.client, "10.80.0.1", 6)


@case("dns-tunnel", "iodine: IP over DNS", "iodine")
def _iodine(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    zone = "t.example.net"
    bench.server.start("iodined", "-f", "-P", "secret", "-l", address, "10.81.0.1", zone)
    bench.lab.claim(UDP, address, 53, "dns", "dns-tunnel")
    bench.server.wait_listen("udp", 53)
    yield
    kind = bench.pick("NULL", "TXT")
    bench.client.start(
        *["iodine", "-f", "-r", "-P", "secret", "-T", kind, "-m", "400", address, zone]
    )
    _ping(bench.client, "10.81.0.1")

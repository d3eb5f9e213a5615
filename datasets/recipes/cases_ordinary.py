"""Conformance cases of ordinary applications: what must not be called a VPN."""

import os
from collections.abc import Iterator

import handmade
import services
from bench import Bench, case

WEB = ("nginx", "curl", "openssl")
UDP, TCP = services.UDP, services.TCP
PYTHON = "/usr/bin/python3"  # Debian's, which has Debian's modules


def _web(bench: Bench, plain: int | None, tls: int | None) -> None:
    size = bench.number(6_000, 200, 60_000)
    name = "www.example.net"
    services.serve_web(bench.lab, bench.authority, bench.server, name, plain, tls, size)


def _fetch(bench: Bench, url: str, *options: str, address: int = 0) -> None:
    services.use_web(bench.client, bench.authority, bench.server.addresses[address], url, *options)


for _version, _options in {"1.3": ("--tlsv1.3",), "1.2": ("--tls-max", "1.2")}.items():
    _short = _version.replace(".", "")

    @case(f"https-tls{_short}", f"A page and a file over HTTP/2 in TLS {_version}", *WEB)
    def _https(bench: Bench, options: tuple[str, ...] = _options) -> Iterator[None]:
        port = bench.pick(443, 443, 8443, 1194)
        _web(bench, None, port)
        yield
        _fetch(bench, f"https://www.example.net:{port}/", *options)
        _fetch(bench, f"https://www.example.net:{port}/file", *options)


@case("https-port-1194", "HTTPS on the port of OpenVPN: the port decides nothing", *WEB)
def _https_1194(bench: Bench) -> Iterator[None]:
    _web(bench, None, 1194)
    yield
    _fetch(bench, "https://www.example.net:1194/file", *bench.pick((), ("--http1.1",)))


@case("https-ipv6", "HTTPS over IPv6", *WEB)
def _https_6(bench: Bench) -> Iterator[None]:
    _web(bench, None, 443)
    yield
    _fetch(bench, "https://www.example.net/file", address=1)


@case(
    "https-vlan",
    f"HTTPS in Ethernet frames with an 802.1Q tag, VLAN {handmade.VLAN_ID}",
    *WEB,
    rewrite=handmade.vlan,
    note="The tags were put in after the capture, with a script.",
)
def _https_vlan(bench: Bench) -> Iterator[None]:
    _web(bench, None, 443)
    yield
    _fetch(bench, "https://www.example.net/file")


@case("https-mid-session", "HTTPS, joined after the handshake", *WEB)
def _https_late(bench: Bench) -> Iterator[None]:
    _web(bench, None, 443)
    request = r"GET /file HTTP/1.1\r\nHost: www.example.net\r\n\r\n"
    talk = f"(printf '{request}'; sleep 1; printf '{request}'; sleep 0.5; printf '{request}')"
    client = f"timeout 4 openssl s_client -quiet -connect {bench.server.address}:443"
    visit = bench.client.start("sh", "-c", f"({talk}; sleep 0.5) | {client}")
    bench.client.run("sleep", "0.6")
    yield
    visit.process.wait(30)


@case("http-plain", "Two pages over plain HTTP on one connection", "nginx", "curl")
def _http(bench: Bench) -> Iterator[None]:
    port = bench.pick(80, 8080, 3128)
    _web(bench, port, None)
    yield
    base = f"http://www.example.net:{port}"
    _fetch(bench, f"{base}/file", "--next", "-sS", "-o", "/dev/null", f"{base}/")


@case("quic", "HTTP/3: QUIC version 1 between ngtcp2's client and server", "ngtcp2-client")
def _quic(bench: Bench) -> Iterator[None]:
    address, port = bench.server.address, bench.pick(443, 4433, 8443)
    certificate, key = bench.authority.issue("www.example.net", "serverAuth")
    bench.server.write("index.html", os.urandom(bench.number(3_000, 500, 20_000)).hex())
    bench.server.start(
        *["gtlsserver", "-q", "-d", str(bench.server.folder)],
        *[address, str(port), key, certificate],
    )
    bench.lab.claim(UDP, address, port, "quic")
    bench.server.wait_listen("udp", port)
    yield
    bench.client.run(
        *["gtlsclient", "-q", "--exit-on-all-streams-close", "--timeout=2s"],
        *[address, str(port), f"https://www.example.net:{port}/index.html"],
    )


@case("dns-udp", "DNS questions and answers over UDP", "dnsmasq-base", "bind9-dnsutils")
def _dns(bench: Bench) -> Iterator[None]:
    services.serve_dns(bench.lab, bench.server)
    yield
    for name, kind in (("www", "A"), ("www", "AAAA"), ("no.such", "MX"), ("long", "TXT")):
        services.use_dns(bench.client, bench.server.address, f"{name}.example.net", kind)


@case("dns-tcp", "A DNS answer too long for UDP, over TCP", "dnsmasq-base", "bind9-dnsutils")
def _dns_tcp(bench: Bench) -> Iterator[None]:
    services.serve_dns(bench.lab, bench.server)
    yield
    services.use_dns(bench.client, bench.server.address, "long.example.net", "TXT", "+tcp")


@case("ssh-interactive", "A login by SSH and a few typed lines", "openssh-server")
def _ssh(bench: Bench) -> Iterator[None]:
    port = bench.pick(22, 22, 2222, 443)
    options = services.serve_ssh(bench.lab, bench.server, bench.client, port)
    yield
    services.use_ssh(bench.client, bench.server.address, options, bench.number(6, 3, 40))


@case("scp", "A file copied by SSH", "openssh-server")
def _scp(bench: Bench) -> Iterator[None]:
    options = services.serve_ssh(bench.lab, bench.server, bench.client)
    yield
    size = bench.number(8_000, 500, 80_000)
    services.use_scp(bench.client, bench.server.address, options, size)


@case("ntp", "NTP requests and answers", "chrony")
def _ntp(bench: Bench) -> Iterator[None]:
    services.serve_ntp(bench.lab, bench.server)
    yield
    services.use_ntp(bench.client, bench.server.address)


@case("mqtt", "MQTT: subscribe and publish", "mosquitto")
def _mqtt(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    conf = f"listener 1883 {address}\nallow_anonymous true\nuser root\n"
    bench.server.start("mosquitto", "-c", bench.server.write("mosquitto.conf", conf))
    bench.lab.claim(TCP, address, 1883, "mqtt")
    bench.server.wait_listen("tcp", 1883)
    yield
    topic = ["-h", address, "-t", "demo/value"]
    bench.client.start("mosquitto_sub", *topic, "-C", "3")
    bench.client.run("sleep", "0.3")
    for value in range(3):
        bench.client.run("mosquitto_pub", *topic, "-m", f"value {value}", "-q", str(value))


@case("redis", "Redis: set and get", "redis-server")
def _redis(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    bench.server.start("redis-server", "--bind", address, "--save", "", "--protected-mode", "no")
    bench.lab.claim(TCP, address, 6379, "redis")
    bench.server.wait_listen("tcp", 6379)
    yield
    bench.client.run("redis-cli", "-h", address, "set", "key", "x" * bench.number(300, 10, 5_000))
    bench.client.run("redis-cli", "-h", address, "get", "key")


@case("memcached", "memcached's text protocol", "memcached", "socat")
def _memcached(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    bench.server.start("memcached", "-u", "root", "-l", address)
    bench.lab.claim(TCP, address, 11211, "memcached")
    bench.server.wait_listen("tcp", 11211)
    yield
    data = "set key 0 60 5\r\nvalue\r\nget key\r\nquit\r\n"
    bench.client.run("socat", "-t2", "-", f"TCP:{address}:11211", data=data)


@case("ftp", "FTP: a directory and a file in passive mode", "vsftpd", "curl")
def _ftp(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    folder = bench.server.folder / "ftp"
    folder.mkdir()
    folder.chmod(0o555)
    (folder / "file").write_bytes(os.urandom(bench.number(4_000, 100, 40_000)))
    (folder / "file").chmod(0o444)
    bench.server.run("mkdir", "-p", "/run/vsftpd/empty")
    conf = bench.server.write(
        "vsftpd.conf",
        f"listen=YES\nbackground=NO\nlisten_address={address}\nanonymous_enable=YES\n"
        f"anon_root={folder}\nseccomp_sandbox=NO\nsecure_chroot_dir=/run/vsftpd/empty\n",
    )
    bench.server.start("vsftpd", conf)
    bench.lab.claim(TCP, address, 21, "ftp")
    bench.lab.claim(TCP, address, 0, "ftp-data")
    bench.server.wait_listen("tcp", 21)
    yield
    bench.client.run("curl", "-sS", "-o", "/dev/null", f"ftp://{address}/")
    bench.client.run("curl", "-sS", "-o", "/dev/null", f"ftp://{address}/file")


@case("tftp", "A small file by TFTP", "tftpd-hpa", "tftp-hpa")
def _tftp(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    folder = bench.server.folder / "tftp"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "file").write_bytes(os.urandom(bench.number(3_000, 100, 20_000)))
    (folder / "file").chmod(0o444)
    bench.server.start(
        *["in.tftpd", "-L", "-s", "-u", "nobody", "-a", f"{address}:69", str(folder)]
    )
    bench.lab.claim(UDP, address, 69, "tftp")
    bench.lab.claim(UDP, address, 0, "tftp")  # the answer comes from a port of its own
    bench.server.wait_listen("udp", 69)
    yield
    bench.client.run("tftp", "-m", "binary", address, "-c", "get", "file", "/dev/null")


@case("smtp", "One mail by SMTP", "python3-aiosmtpd", "curl")
def _smtp(bench: Bench) -> Iterator[None]:
    address, port = bench.server.address, bench.pick(25, 587)
    bench.server.start(PYTHON, "-m", "aiosmtpd", "-n", "-l", f"{address}:{port}")
    bench.lab.claim(TCP, address, port, "smtp")
    bench.server.wait_listen("tcp", port)
    yield
    text = "Subject: demo\r\n\r\n" + "a line of text\r\n" * bench.number(40, 5, 400)
    mail = bench.client.write("mail", text)
    bench.client.run(
        *["curl", "-sS", f"smtp://{address}:{port}", "--mail-from", "a@example.net"],
        *["--mail-rcpt", "b@example.org", "-T", mail],
    )


@case("rsync", "A file by rsync's own protocol", "rsync")
def _rsync(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    bench.server.write("file", os.urandom(bench.number(5_000, 100, 40_000)))
    conf = f"address = {address}\nuse chroot = no\nuid = root\ngid = root\n"
    conf += f"[demo]\npath = {bench.server.folder}\n"
    bench.server.start(
        *["rsync", "--daemon", "--no-detach"], f"--config={bench.server.write('r.conf', conf)}"
    )
    bench.lab.claim(TCP, address, 873, "rsync")
    bench.server.wait_listen("tcp", 873)
    yield
    bench.client.run("rsync", f"rsync://{address}/demo/file", str(bench.client.folder / "got"))


@case("syslog-udp", "Log lines to a syslog server", "bsdutils", "socat")
def _syslog(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    bench.server.start("socat", "-u", f"UDP-RECV:514,bind={address}", "/dev/null")
    bench.lab.claim(UDP, address, 514, "syslog")
    bench.server.wait_listen("udp", 514)
    yield
    for number in range(bench.number(4, 2, 20)):
        bench.client.run("logger", "-d", "-n", address, "-P", "514", f"event {number} happened")


@case("snmp", "SNMP version 2: a walk over the system group", "snmpd", "snmp")
def _snmp(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    conf = bench.server.write("snmpd.conf", "rocommunity public\nsysLocation nowhere\n")
    bench.server.start("snmpd", "-f", "-Lo", "-C", "-c", conf, f"udp:{address}:161")
    bench.lab.claim(UDP, address, 161, "snmp")
    bench.server.wait_listen("udp", 161)
    yield
    bench.client.run("snmpwalk", "-v", "2c", "-c", "public", address, "1.3.6.1.2.1.1")


@case("stun", "STUN binding requests", "coturn")
def _stun(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    bench.server.start(
        *["turnserver", "-n", "-L", address, "--no-tls", "--no-dtls", "--no-cli", "-S"],
        *["--no-stdout-log", "-l", "/dev/null", "--pidfile", "/run/t.pid"],
    )
    bench.lab.claim(UDP, address, 3478, "stun")
    bench.server.wait_listen("udp", 3478)
    yield
    for _ in range(2):
        bench.client.run("turnutils_stunclient", address)


@case("turn", "A TURN allocation that relays data", "coturn")
def _turn(bench: Bench) -> Iterator[None]:
    address = bench.server.address
    bench.server.start(
        *["turnserver", "-n", "-L", address, "-E", address, "--no-tls", "--no-dtls", "--no-cli"],
        *["-a", "-u", "user:secret", "-r", "example.net", "--allow-loopback-peers"],
        *["--no-stdout-log", "-l", "/dev/null", "--pidfile", "/run/t.pid"],
    )
    bench.lab.claim(UDP, address, 3478, "turn")
    bench.lab.claim(UDP, address, 0, "turn")
    bench.server.wait_listen("udp", 3478)
    yield
    bench.client.run(
        *["turnutils_uclient", "-u", "user", "-w", "secret", "-y", "-c", "-n", "5", "-m", "1"],
        *["-l", "200", address],
        check=False,
    )


IPERF = "iperf3 fills its packets with random bytes: high entropy is no sign of a VPN."


@case("iperf3-tcp", "A speed test over TCP", "iperf3", note=IPERF)
def _iperf_tcp(bench: Bench) -> Iterator[None]:
    port = bench.port(5201)
    services.serve_iperf(bench.lab, bench.server, port)
    yield
    services.use_iperf(bench.client, bench.server.address, port, "-l", "1000")


@case("iperf3-udp", "A speed test over UDP, on the port of WireGuard", "iperf3", note=IPERF)
def _iperf_udp(bench: Bench) -> Iterator[None]:
    port = bench.port(51820)
    services.serve_iperf(bench.lab, bench.server, port)
    yield
    services.use_iperf(bench.client, bench.server.address, port)


@case(
    "random-tcp",
    "Random bytes both ways over TCP: no protocol at all",
    "socat",
    note="The rule for fully encrypted traffic matches it; only a weak finding is right.",
)
def _random_tcp(bench: Bench) -> Iterator[None]:
    address, port = bench.server.address, bench.port(7000)
    answer = bench.server.write("answer", os.urandom(bench.number(2_000, 100, 20_000)))
    bench.server.start("socat", f"TCP-LISTEN:{port},bind={address},fork", f"SYSTEM:cat {answer}")
    bench.lab.claim(TCP, address, port, "random")
    bench.server.wait_listen("tcp", port)
    yield
    question = bench.client.write("question", os.urandom(bench.number(600, 100, 5_000)))
    bench.client.run("sh", "-c", f"socat -t1 - TCP:{address}:{port} < {question} > /dev/null")


@case("dtls", "DTLS 1.2 by openssl: a handshake and a few lines", "openssl")
def _dtls(bench: Bench) -> Iterator[None]:
    address, port = bench.server.address, bench.pick(4433, 443, 5684)
    certificate, key = bench.authority.issue("www.example.net", "serverAuth")
    bench.server.start(
        *["openssl", "s_server", "-dtls1_2", "-accept", f"{address}:{port}", "-quiet"],
        *["-cert", certificate, "-key", key],
    )
    bench.lab.claim(UDP, address, port, "dtls")
    bench.server.wait_listen("udp", port)
    yield
    talk = "(sleep 0.3; for i in 1 2 3 4; do echo line $i; sleep 0.1; done; echo Q)"
    client = f"openssl s_client -dtls1_2 -connect {address}:{port}"
    bench.client.run("sh", "-c", f"{talk} | timeout 5 {client}", check=False)


@case("postgres", "PostgreSQL: a login and two statements", "postgresql-15")
def _postgres(bench: Bench) -> Iterator[None]:
    address, folder = bench.server.address, bench.server.folder
    bench.server.run("chown", "postgres", str(folder))
    tools = "/usr/lib/postgresql/15/bin"
    bench.server.run("runuser", "-u", "postgres", "--", f"{tools}/initdb", "-D", f"{folder}/pg")
    (folder / "pg" / "pg_hba.conf").write_text("host all all all trust\n")
    bench.server.start(
        *["runuser", "-u", "postgres", "--", f"{tools}/postgres", "-D", f"{folder}/pg"],
        *["-h", address, "-k", str(folder), "-c", "fsync=off"],
    )
    bench.lab.claim(TCP, address, 5432, "postgres")
    bench.server.wait_listen("tcp", 5432)
    yield
    statement = "select generate_series(1, 40); select version()"
    bench.client.run("psql", "-h", address, "-U", "postgres", "-c", statement)


@case("vxlan", "VXLAN between two hosts, with pings inside: encapsulation, no VPN", "iproute2")
def _vxlan(bench: Bench) -> Iterator[None]:
    ends = (bench.client, bench.server)
    for number, (host, peer) in enumerate(zip(ends, ends[::-1], strict=True), 1):
        host.run(
            *["ip", "link", "add", "vx", "type", "vxlan", "id", "42", "dev", "eth0"],
            *["local", host.address, "remote", peer.address, "dstport", "4789"],
        )
        host.run("ip", "address", "add", f"172.16.0.{number}/24", "dev", "vx")
        host.run("ip", "link", "set", "vx", "up")
        bench.lab.claim(UDP, host.address, 4789, "vxlan", "vxlan", is_vpn=0)
    yield
    bench.client.run("ping", "-c", "4", "-i", "0.1", "172.16.0.2")

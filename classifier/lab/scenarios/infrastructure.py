"""Ordinary infrastructure: DNS, NTP, syslog, SNMP, STUN and TURN, speed tests."""

from collections.abc import Iterator

from classifier.lab import services
from classifier.lab.stage import UDP, Stage, Ways, scenario

DNS = ("dnsmasq:dnsmasq-base", "dig:bind9-dnsutils")


@scenario("dnsmasq-udp", "DNS questions and answers over UDP", *DNS, ways=False, ipv6=True)
def _dns(stage: Stage) -> Iterator[Ways]:
    services.serve_dns(stage.net, stage.server)
    yield None
    asked = [("www", "A"), ("www", "AAAA"), ("no.such", "MX"), ("long", "TXT")]
    for _ in range(stage.number(0, 10, 60)):
        name = f"{stage.rng.choice(('www', 'mail', 'api', 'cdn'))}{stage.rng.randint(1, 99)}"
        asked.append((name, stage.rng.choice(("A", "A", "AAAA", "MX", "HTTPS", "SRV"))))
    for name, kind in asked:
        question = (f"{name}.example.net", kind, "+tries=3")
        services.use_dns(stage.client, stage.address, *question)


@scenario("dnsmasq-tcp", "DNS answers too long for UDP, over TCP", *DNS, ways=False, ipv6=True)
def _dns_tcp(stage: Stage) -> Iterator[Ways]:
    services.serve_dns(stage.net, stage.server)
    yield None
    for _ in range(stage.number(1, 2, 20)):
        services.use_dns(stage.client, stage.address, "long.example.net", "TXT", "+tcp")


@scenario("chrony-ntp", "NTP requests and answers", "chronyd:chrony", ways=False, ipv6=True)
def _ntp(stage: Stage) -> Iterator[Ways]:
    services.serve_ntp(stage.net, stage.server)
    yield None
    services.use_ntp(stage.client, stage.address)


@scenario("rsyslog-udp", "Log lines to a syslog server", "logger:bsdutils", "socat", ways=False)
def _syslog(stage: Stage) -> Iterator[Ways]:
    address = stage.server.address
    stage.server.start("socat", "-u", f"UDP-RECV:514,bind={address}", "/dev/null")
    stage.claim(UDP, 514, "syslog")
    stage.server.wait_listen("udp", 514)
    yield None
    for number in range(stage.number(4, 2, 20)):
        stage.client.run("logger", "-d", "-n", address, "-P", "514", f"event {number} happened")


@scenario(
    "snmp-walk", "SNMP version 2: walks over the system group", "snmpd", "snmpwalk:snmp", ways=False
)
def _snmp(stage: Stage) -> Iterator[Ways]:
    address = stage.server.address
    conf = stage.server.write("snmpd.conf", "rocommunity public\nsysLocation nowhere\n")
    stage.server.start("snmpd", "-f", "-Lo", "-C", "-c", conf, f"udp:{address}:161")
    stage.claim(UDP, 161, "snmp")
    stage.server.wait_listen("udp", 161)
    yield None
    for _ in range(stage.number(1, 1, 8)):
        stage.client.run(
            "snmpwalk", "-v", "2c", "-c", "public", "-r", "8", address, "1.3.6.1.2.1.1"
        )


TURN = ("turnserver:coturn", "turnutils_uclient:coturn")
QUIET = ("--no-stdout-log", "-l", "/dev/null", "--pidfile", "/run/t.pid")


@scenario("coturn-stun", "STUN binding requests", *TURN, ways=False)
def _stun(stage: Stage) -> Iterator[Ways]:
    address = stage.server.address
    plain = ["--no-tls", "--no-dtls", "--no-cli"]
    stage.server.start("turnserver", "-n", "-L", address, *plain, "-S", *QUIET)
    stage.claim(UDP, 3478, "stun")
    stage.server.wait_listen("udp", 3478)
    yield None
    for _ in range(stage.number(2, 2, 20)):
        stage.client.run("turnutils_stunclient", address, check=False)


@scenario("coturn-turn", "TURN allocations that relay data", *TURN, ways=False)
def _turn(stage: Stage) -> Iterator[Ways]:
    address = stage.server.address
    stage.server.start(
        *["turnserver", "-n", "-L", address, "-E", address, "--no-tls", "--no-dtls", "--no-cli"],
        *["-a", "-u", "user:secret", "-r", "example.net", "--allow-loopback-peers", *QUIET],
    )
    stage.claim(UDP, 3478, "turn")
    stage.claim(UDP, 0, "turn")
    stage.server.wait_listen("udp", 3478)
    yield None
    amount = ["-n", str(stage.number(5, 5, 60)), "-m", "1", "-l", str(stage.number(200, 60, 900))]
    login = ["-u", "user", "-w", "secret", "-y", "-c"]
    stage.client.run("turnutils_uclient", *login, *amount, address, check=False)


@scenario("iperf3-tcp", "Speed tests over TCP, of random bytes", "iperf3", ways=False, ipv6=True)
def _iperf_tcp(stage: Stage) -> Iterator[Ways]:
    port = stage.port(5201)
    services.serve_iperf(stage.net, stage.server, port, stage.address)
    yield None
    options = ["-l", "1000", "-n", f"{stage.number(12, 12, 900)}K", *stage.pick((), ("-R",))]
    services.use_iperf(stage.client, stage.address, port, *options)


@scenario(
    "iperf3-udp", "A speed test over UDP, on the port of WireGuard", "iperf3", ways=False, ipv6=True
)
def _iperf_udp(stage: Stage) -> Iterator[Ways]:
    port = stage.port(51820)
    services.serve_iperf(stage.net, stage.server, port, stage.address)
    yield None
    size = stage.pick(600, 1200, 160)
    options = ["-u", "-b", stage.pick("400k", "4m"), "-l", str(size)]
    services.use_iperf(stage.client, stage.address, port, *options)

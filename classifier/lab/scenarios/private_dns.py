"""DNS inside TLS and inside HTTPS: unbound answers, kdig asks."""

from collections.abc import Iterator

from classifier.lab.stage import TCP, Stage, Ways, scenario

NAME = "dns.example.net"
PROGRAMS = ("unbound", "kdig:knot-dnsutils")


def _resolver(stage: Stage, port: int, kind: str) -> None:
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    conf = (
        f'server:\n interface: {stage.address}@{port}\n {kind}-port: {port}\n username: ""\n'
        ' chroot: ""\n pidfile: ""\n use-syslog: no\n do-daemonize: no\n'
        " access-control: 0.0.0.0/0 allow\n access-control: ::/0 allow\n"
        f" tls-service-pem: {certificate}\n tls-service-key: {key}\n"
        ' local-zone: "example.net." redirect\n'
        ' local-data: "example.net. 60 A 192.0.2.80"\n'
        ' local-data: "example.net. 60 AAAA 2001:db8:80::80"\n'
        ' module-config: "iterator"\n'
    )
    stage.server.start("unbound", "-d", "-c", stage.server.write("unbound.conf", conf))
    stage.claim(TCP, port, "tls")
    stage.server.wait_listen("tcp", port)


def _ask(stage: Stage, port: int, *options: str) -> None:
    trust = (f"+tls-ca={stage.authority.certificate}", f"+tls-hostname={NAME}")
    for _ in range(stage.number(2, 4, 30)):
        names = []
        for _ in range(stage.rng.choice((1, 1, 2, 6))):  # several go in one connection
            word = stage.rng.choice(("www", "mail", "api", "cdn"))
            names += [f"{word}{stage.rng.randint(1, 99)}.example.net"]
            names += [stage.rng.choice(("A", "A", "AAAA"))]
        argv = ["kdig", f"@{stage.address}", "-p", str(port), *options, *trust, "+keepopen"]
        stage.client.run(*argv, "+retry=2", "+timeout=5", *names)


@scenario("unbound-dot", "DNS over TLS", *PROGRAMS, ways=False, ipv6=True)
def _dot(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(853, 853, 443)
    _resolver(stage, port, "tls")
    yield None
    _ask(stage, port, "+tls")


@scenario("unbound-doh", "DNS over HTTPS", *PROGRAMS, ways=False, ipv6=True)
def _doh(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(443, 8443)
    _resolver(stage, port, "https")
    yield None
    _ask(stage, port, "+https", *stage.pick((), ("+https-get",)))

"""Neighbours: ordinary hosts on the same link, with ordinary programs, while a scenario runs.

They make the other half of every capture: names asked, pages and files fetched over TLS 1.2, 1.3
and plain HTTP, over IPv4 and IPv6. What they do, when and how much comes from the seed; that one of
their transfers fails on a lossy link is no failure of the run.
"""

import random
import shlex

from classifier.lab import services
from classifier.lab.authority import Authority
from classifier.lab.host import Daemon
from classifier.lab.network import Network, warm_up

__all__ = ["Neighbours"]

FILES = {"s": 700, "m": 6_000, "l": 45_000, "x": 300_000}
WORDS = ("news", "shop", "cdn", "img", "mail", "maps", "play", "api", "docs", "login", "static")
ZONES = ("example.net", "example.org", "example.com")
OPTIONS = ("", "", "--http1.1", "--tls-max 1.2", "--tlsv1.3")


class Neighbours:
    """Hosts beside the scenario's own, and their servers.

    Parameters
    ----------
    net : Network
        Where they are added.
    rng : random.Random
        What they do comes from here.
    authority : Authority
        Signs their server's certificate.
    """

    def __init__(self, net: Network, rng: random.Random, authority: Authority) -> None:
        self.rng = rng
        self.web = net.outside("neighbours-web", "198.18.0.80", "2001:db8:80::80")
        self.infra = net.outside("neighbours-dns", "198.18.0.53", "2001:db8:80::53")
        services.serve_web(net, authority, self.web, "www.example.net", files=FILES)
        services.serve_dns(net, self.infra)
        self.homes = [
            net.inside(f"home{number}", f"10.31.0.{10 + number}", f"2001:db8:31::{10 + number:x}")
            for number in range(rng.randint(2, 3))
        ]
        for home in self.homes:
            warm_up(home, self.web)

    def _errand(self) -> str:
        """Return one shell command, an errand of a second at most on a good link."""
        rng = self.rng
        name = f"{rng.choice(WORDS)}{rng.randint(1, 40)}.{rng.choice(ZONES)}"
        v6 = int(rng.random() < 0.3)
        if rng.random() < 0.45:
            kind = rng.choice(("A", "A", "AAAA", "HTTPS", "TXT"))
            where = self.infra.addresses[v6]
            return f"dig @{where} {name} {kind} +tries=2 +time=2 >/dev/null"
        file = rng.choice(("", "s", "s", "m", "m", "l", "x"))
        scheme, port = rng.choice((("http", 80), ("https", 443), ("https", 443), ("https", 443)))
        place = services.bracket(self.web.addresses[v6])
        options = rng.choice(OPTIONS) if scheme == "https" else ""
        resolve = shlex.quote(f"{name}:{port}:{place}")
        return (
            f"curl -s -k -m 12 -o /dev/null {options} --resolve {resolve} {scheme}://{name}/{file}"
        )

    def start(self, seconds: float, errands: int) -> list[Daemon]:
        """Let them do this many errands within about so many seconds; return what runs."""
        share = max(1, errands // len(self.homes))
        running = []
        for home in self.homes:
            lines = []
            for _ in range(share):
                pause = self.rng.expovariate(share / max(seconds, 0.5))
                apart = "&" if self.rng.random() < 0.3 else ""
                lines.append(f"sleep {min(pause, 3):.2f}; {self._errand()} {apart}")
            script = home.write("errands.sh", "\n".join([*lines, "wait"]) + "\n")
            running.append(home.start("sh", script))
        return running

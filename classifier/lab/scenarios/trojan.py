"""Trojan: a proxy inside TLS that answers as a web server to whom it does not know."""

import json
from collections.abc import Iterator

from classifier.lab import services
from classifier.lab.stage import TCP, Stage, Way, Ways, scenario

NAME = "www.example.net"


@scenario("trojan-tls", "Trojan: connections inside TLS", "trojan", "nginx:nginx-light", clients=3)
def _trojan(stage: Stage) -> Iterator[Ways]:
    port = stage.port(443)
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    services.serve_web(stage.net, stage.authority, stage.server, NAME, plain=8081, tls=None)
    common = {"password": ["lab secret"], "log_level": 1}
    server = {
        "run_type": "server",
        "local_addr": stage.server.address,
        "local_port": port,
        "remote_addr": stage.server.address,
        "remote_port": 8081,
        **common,
        "ssl": {"cert": certificate, "key": key, "alpn": ["http/1.1"]},
    }
    client = {
        "run_type": "client",
        "local_addr": "127.0.0.1",
        "local_port": 1080,
        "remote_addr": stage.server.address,
        "remote_port": port,
        **common,
        "ssl": {
            "verify": True,
            "verify_hostname": True,
            "cert": stage.authority.certificate,
            "sni": NAME,
            "alpn": stage.pick(["h2", "http/1.1"], ["http/1.1"]),
        },
    }
    stage.server.start("trojan", stage.server.write("trojan.json", json.dumps(server)))
    stage.claim(TCP, port, "tls", "trojan")
    stage.server.wait_listen("tcp", port)
    yield None
    for one in stage.clients:
        one.start("trojan", one.write("trojan.json", json.dumps(client)))
        one.wait_listen("tcp", 1080)
    proxy = "socks5://127.0.0.1:1080"
    yield [Way(one, stage.server, stage.inner, proxy=proxy, udp=False) for one in stage.clients]

"""V2Ray: VMess and VLESS on each of its carriers."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

from classifier.lab.stage import TCP, UDP, Stage, Way, Ways, scenario

NAME = "www.example.net"


def _carrier(stage: Stage, network: str, tls: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``streamSettings`` of server and client."""
    common: dict[str, Any] = {"network": network}
    if network == "ws":
        common["wsSettings"] = {"path": stage.pick("/ray", "/", "/chat"), "headers": {"Host": NAME}}
    if network == "kcp":
        mask = stage.pick("none", "srtp", "utp", "wechat-video", "dtls", "wireguard")
        common["kcpSettings"] = {"header": {"type": mask}, "mtu": 1200, "seed": "lab"}
    if network == "quic":
        mask = stage.pick("none", "srtp", "wechat-video")
        common["quicSettings"] = {"security": "none", "key": "", "header": {"type": mask}}
    far, near = dict(common), dict(common)
    if tls:
        certificate, key = stage.authority.issue(NAME, "serverAuth")
        files = {"certificateFile": certificate, "keyFile": key}
        far |= {"security": "tls", "tlsSettings": {"certificates": [files]}}
        near |= {"security": "tls", "tlsSettings": {"serverName": NAME, "allowInsecure": True}}
    return far, near


def _v2ray(stage: Stage, protocol: str, network: str, tls: bool) -> Iterator[Ways]:
    port, user = stage.port(443 if tls else 10086), str(uuid.UUID(int=stage.rng.getrandbits(128)))
    over_udp = network in ("kcp", "quic")
    at_server, at_client = _carrier(stage, network, tls)
    known: dict[str, Any] = {"id": user}
    asked: dict[str, Any] = {"id": user}
    inbound: dict[str, Any] = {"clients": [known]}
    if protocol == "vmess":
        known["alterId"] = asked["alterId"] = 0
        asked["security"] = stage.pick("auto", "aes-128-gcm", "chacha20-poly1305")
    else:
        inbound["decryption"] = asked["encryption"] = "none"
    quiet = {"loglevel": "warning"}
    server = {
        "log": quiet,
        "inbounds": [
            {
                "listen": stage.address,
                "port": port,
                "protocol": protocol,
                "settings": inbound,
                "streamSettings": at_server,
            }
        ],
        "outbounds": [{"protocol": "freedom"}],
    }
    far = {"address": stage.address, "port": port, "users": [asked]}
    client = {
        "log": quiet,
        "inbounds": [{"listen": "127.0.0.1", "port": 1080, "protocol": "socks"}],
        "outbounds": [
            {"protocol": protocol, "settings": {"vnext": [far]}, "streamSettings": at_client}
        ],
    }
    stage.server.start("v2ray", "-config", stage.server.write("v2ray.json", json.dumps(server)))
    application = "tls" if tls and not over_udp else {"ws": "http"}.get(network, "unknown")
    stage.claim(UDP if over_udp else TCP, port, application, protocol)
    stage.server.wait_listen("udp" if over_udp else "tcp", port)
    yield None
    for one in stage.clients:
        one.start("v2ray", "-config", one.write("v2ray.json", json.dumps(client)))
        one.wait_listen("tcp", 1080)
    proxy = "socks5://127.0.0.1:1080"
    yield [Way(one, stage.server, stage.inner, proxy=proxy, udp=False) for one in stage.clients]


for _name, _shows, _setup in (
    ("vmess-tcp", "VMess in TCP", ("vmess", "tcp", False)),
    ("vmess-tls", "VMess in TLS", ("vmess", "tcp", True)),
    ("vmess-ws", "VMess in a WebSocket", ("vmess", "ws", False)),
    ("vmess-ws-tls", "VMess in a WebSocket in TLS", ("vmess", "ws", True)),
    ("vmess-kcp", "VMess over KCP in UDP, with headers that imitate", ("vmess", "kcp", False)),
    ("vmess-quic", "VMess over V2Ray's QUIC", ("vmess", "quic", False)),
    ("vless-tls", "VLESS in TLS", ("vless", "tcp", True)),
    ("vless-ws-tls", "VLESS in a WebSocket in TLS", ("vless", "ws", True)),
):

    @scenario(f"v2ray-{_name}", f"V2Ray: {_shows}", "v2ray", ipv6=True, clients=2)
    def _run(stage: Stage, setup: tuple[str, str, bool] = _setup) -> Iterator[Ways]:
        yield from _v2ray(stage, *setup)

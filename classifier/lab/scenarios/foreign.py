"""Hooks for programs that Debian does not package; they run where a user has put them into PATH.

Written from the programs' documentation where none of them was at hand: whoever has one should
expect to correct its lines, and the checks of a run will say so.

Sources: hans' README; Hysteria 2, "Full server config" and "Full client config"; sing-box,
"Configuration"; AmneziaWG's README; ZeroTier's manual of the local controller.
"""

import json
from collections.abc import Iterator

from classifier.lab.stage import TCP, UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach

ICMP = 1
SOCKS = "socks5://127.0.0.1:1080"


@scenario("hans-icmp", "hans: IP in echo requests and replies", "hans:")
def _hans(stage: Stage) -> Iterator[Ways]:
    stage.server.set("net/ipv4/icmp_echo_ignore_all", "1")
    stage.server.start("hans", "-s", "10.74.0.0", "-p", "secret", "-f", "-d", "tun0")
    stage.claim(ICMP, 0, "icmp", "icmp-tunnel")
    stage.server.wait_device("tun0")
    yield None
    stage.client.start("hans", "-c", stage.server.address, "-p", "secret", "-f", "-d", "tun0")
    reach(stage.client, "10.74.0.1")
    yield Way(stage.client, stage.server, "10.74.0.1", limit=20_000)


@scenario("hysteria-quic", "Hysteria 2: a proxy that looks like HTTP/3", "hysteria:")
def _hysteria(stage: Stage) -> Iterator[Ways]:
    port, address = stage.port(443), stage.server.address
    certificate, key = stage.authority.issue("www.example.net", "serverAuth")
    far = {
        "listen": f"{address}:{port}",
        "tls": {"cert": certificate, "key": key},
        "auth": {"type": "password", "password": "secret"},
    }
    near = {
        "server": f"{address}:{port}",
        "auth": "secret",
        "tls": {"sni": "www.example.net", "ca": stage.authority.certificate},
        "socks5": {"listen": "127.0.0.1:1080"},
    }
    if stage.pick(False, True):
        obfs = {"type": "salamander", "salamander": {"password": "salt and pepper"}}
        far["obfs"] = near["obfs"] = obfs
    conf = stage.server.write("hysteria.json", json.dumps(far))
    stage.server.start("hysteria", "server", "-c", conf, "--disable-update-check")
    stage.claim(UDP, port, "quic", "hysteria")
    stage.server.wait_listen("udp", port)
    yield None
    conf = stage.client.write("hysteria.json", json.dumps(near))
    stage.client.start("hysteria", "client", "-c", conf, "--disable-update-check")
    stage.client.wait_listen("tcp", 1080)
    yield Way(stage.client, stage.server, stage.inner, proxy=SOCKS, udp=False)


def _sing_box(stage: Stage, kind: str, tls: bool) -> Iterator[Ways]:
    port, address = stage.port(443 if tls else 8388), stage.server.address
    user = {"uuid": "6e6a2c5c-2b0a-4a0e-8f5b-5d3f5f1b7c11"}
    password = "AAAAAAAAAAAAAAAAAAAAAA=="  # a key of 16 bytes, of a run that ends in seconds
    inbound = {"type": kind, "listen": address, "listen_port": port}
    outbound = {"type": kind, "server": address, "server_port": port}
    if kind == "shadowsocks":
        own = {"method": "2022-blake3-aes-128-gcm", "password": password}
        inbound, outbound = inbound | own, outbound | own
    else:
        inbound, outbound = inbound | {"users": [user]}, outbound | user
    if tls:
        certificate, key = stage.authority.issue("www.example.net", "serverAuth")
        far = {"enabled": True, "certificate_path": certificate, "key_path": key}
        near = {"enabled": True, "server_name": "www.example.net", "insecure": True}
        inbound, outbound = inbound | {"tls": far}, outbound | {"tls": near}
    socks = {"type": "socks", "listen": "127.0.0.1", "listen_port": 1080}
    server = {"inbounds": [inbound], "outbounds": [{"type": "direct"}]}
    client = {"inbounds": [socks], "outbounds": [outbound]}
    over_udp = kind == "tuic"
    stage.server.start("sing-box", "run", "-c", stage.server.write("s.json", json.dumps(server)))
    application = "quic" if over_udp else "tls" if tls else "shadowsocks"
    stage.claim(UDP if over_udp else TCP, port, application, kind)
    stage.server.wait_listen("udp" if over_udp else "tcp", port)
    yield None
    stage.client.start("sing-box", "run", "-c", stage.client.write("c.json", json.dumps(client)))
    stage.client.wait_listen("tcp", 1080)
    yield Way(stage.client, stage.server, stage.inner, proxy=SOCKS, udp=False)


@scenario("sing-box-vless", "sing-box: VLESS in TLS", "sing-box:")
def _vless(stage: Stage) -> Iterator[Ways]:
    yield from _sing_box(stage, "vless", True)


@scenario("sing-box-shadowsocks", "sing-box: Shadowsocks of 2022", "sing-box:")
def _shadowsocks(stage: Stage) -> Iterator[Ways]:
    yield from _sing_box(stage, "shadowsocks", False)


@scenario("sing-box-tuic", "sing-box: TUIC over QUIC", "sing-box:")
def _tuic(stage: Stage) -> Iterator[Ways]:
    yield from _sing_box(stage, "tuic", True)


@scenario(
    "amneziawg-udp", "AmneziaWG: WireGuard with junk and changed headers", "awg:", "amneziawg-go:"
)
def _amnezia(stage: Stage) -> Iterator[Ways]:
    port, inner = stage.port(51820), ("10.72.0.1", "10.72.0.2")
    ends = (stage.server, stage.client)
    keys = [host.run("awg", "genkey").strip() for host in ends]
    public = [stage.server.run("awg", "pubkey", data=key).strip() for key in keys]
    odd = f"Jc = {stage.number(4, 1, 10)}\nJmin = 40\nJmax = 90\nS1 = 30\nS2 = 45\n"
    odd += "H1 = 1148238517\nH2 = 874631252\nH3 = 2045873610\nH4 = 391457728\n"
    stage.claim(UDP, port, "wireguard", "wireguard")
    yield None
    for number, host in enumerate(ends):
        host.start("amneziawg-go", "-f", "awg0", env={"WG_PROCESS_FOREGROUND": "1"})
        host.run("sh", "-c", "until ip link show awg0; do sleep 0.1; done", seconds=15)
        text = f"[Interface]\nPrivateKey = {keys[number]}\n{odd}"
        text += f"ListenPort = {port}\n" if host is stage.server else ""
        text += f"[Peer]\nPublicKey = {public[1 - number]}\nAllowedIPs = {inner[1 - number]}/32\n"
        if host is stage.client:
            text += f"Endpoint = {stage.server.address}:{port}\n"
        host.run("awg", "setconf", "awg0", host.write("awg.conf", text))
        host.run("ip", "address", "add", inner[number], "peer", inner[1 - number], "dev", "awg0")
        host.run("ip", "link", "set", "awg0", "mtu", "1300", "up")
    reach(stage.client, inner[0])
    yield Way(stage.client, stage.server, inner[0], bind=inner[1])


@scenario(
    "zerotier-planet",
    "ZeroTier: a network of its own controller and planet",
    *("zerotier-one:", "zerotier-cli:", "zerotier-idtool:", "curl"),
    seconds=180,
)
def _zerotier(stage: Stage) -> Iterator[Ways]:
    ends, port = (stage.server, stage.client), 9993
    homes = [str(host.folder / "zt") for host in ends]
    for host, home in zip(ends, homes, strict=True):
        host.run("mkdir", "-p", home)
        host.run(
            "zerotier-idtool", "generate", f"{home}/identity.secret", f"{home}/identity.public"
        )
    moon = stage.server.run("zerotier-idtool", "initmoon", f"{homes[0]}/identity.public")
    world = json.loads(moon)
    world["roots"][0]["stableEndpoints"] = [f"{stage.server.address}/{port}"]
    path = stage.server.write("zt/moon.json", json.dumps(world))
    stage.server.run("sh", "-c", f"cd {homes[0]} && zerotier-idtool genmoon {path}")
    identity = stage.server.run("cat", f"{homes[0]}/identity.public").partition(":")[0]
    stage.claim(UDP, port, "zerotier", "zerotier")
    stage.claim(UDP, 0, "zerotier", "zerotier", host=stage.client)
    for host, home in zip(ends, homes, strict=True):
        host.run("sh", "-c", f"mkdir -p {home}/moons.d && cp {homes[0]}/*.moon {home}/moons.d/")
    stage.server.start("zerotier-one", f"-p{port}", homes[0])
    stage.server.wait_listen("udp", port)
    yield None
    stage.client.start("zerotier-one", "-p0", homes[1])
    network = f"{identity}000001"
    api = f"http://127.0.0.1:{port}/controller/network/{network}"
    token = stage.server.run("cat", f"{homes[0]}/authtoken.secret").strip()
    pool = [{"ipRangeStart": "10.71.0.1", "ipRangeEnd": "10.71.0.9"}]
    setup = {"private": False, "ipAssignmentPools": pool, "v4AssignMode": {"zt": True}}
    setup["routes"] = [{"target": "10.71.0.0/24"}]
    head = ["-H", f"X-ZT1-Auth: {token}", "-d", json.dumps(setup)]
    stage.server.run("curl", "-sS", "--fail", *head, api)
    for host, home in zip(ends, homes, strict=True):
        host.run("zerotier-cli", f"-D{home}", "join", network)
    address = "ip -4 -o address | grep -o '10[.]71[.]0[.][0-9]*/' | tr -d /"
    wait = f"until {address} | grep -q .; do sleep 0.2; done; {address}"
    far, near = (host.sh(wait, seconds=60).split()[0] for host in ends)
    reach(stage.client, far, 60)
    yield Way(stage.client, stage.server, far, bind=near)

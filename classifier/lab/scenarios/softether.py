"""SoftEther's own protocol: an upgrade inside TLS, Ethernet frames after it, and UDP beside it."""

from collections.abc import Iterator

from classifier.lab.host import Host, wait_for
from classifier.lab.stage import TCP, UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach

SERVER, CLIENT = "10.75.0.1", "10.75.0.2"
PLACES = {"/SERVER": "127.0.0.1:5555", "/CLIENT": "127.0.0.1"}
OWN = 5555  # where the server listens
PROGRAMS = ("vpnserver:softether-vpnserver", "vpnclient:softether-vpnclient")


def _ready(host: Host, program: str, kind: str, port: int) -> None:
    """Start a daemon whose folders are this host's alone, and wait until it takes commands."""
    host.cover("/var/lib", "/var/log")
    host.run("mkdir", "-p", "/var/lib/softether", "/var/log/softether", "/run/softether")
    host.start(program, "execsvc")
    host.wait_listen("tcp", port)
    wait_for(
        lambda: "completed" in _order(host, kind, "About", check=False), f"{program}: an answer", 30
    )


def _order(host: Host, kind: str, *lines: str, check: bool = True) -> str:
    path = host.write("orders", "\n".join(lines) + "\n")
    return host.run("vpncmd", PLACES[kind], kind, f"/IN:{path}", check=check, seconds=40)


@scenario(
    "softether-tls",
    "SoftEther: a client and a hub, over one or several TLS connections",
    *(*PROGRAMS, "vpncmd:softether-vpncmd"),
    kernel=("nat",),
    seconds=180,
)
def _softether(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(443, 443, 992, 5555, 8443)
    server, client = stage.server, stage.client
    address, connections = server.address, stage.number(1, 1, 4)
    _ready(server, "vpnserver", "/SERVER", OWN)
    _order(
        *(server, "/SERVER", "HubCreate lab /PASSWORD:hub", "Hub lab"),
        "UserCreate user /GROUP:none /REALNAME:none /NOTE:none",
        "UserPasswordSet user /PASSWORD:secret",
        "BridgeCreate lab /DEVICE:lab /TAP:yes",
        *(f"ListenerDelete {other}" for other in (443, 992, 1194)),
    )
    if port != OWN:  # it listens on all addresses, but the service in the tunnel needs 443 too
        server.sh(
            "nft add table ip lab\n"
            "nft 'add chain ip lab pre { type nat hook prerouting priority -100; }'\n"
            f"nft add rule ip lab pre ip daddr {address} tcp dport {port} redirect to :{OWN}"
        )
    wait_for(lambda: "tap_lab" in server.run("ip", "link"), "the server's device", 30)
    server.run("ip", "address", "add", f"{SERVER}/24", "dev", "tap_lab")
    server.run("ip", "link", "set", "tap_lab", "mtu", "1400", "up")
    _ready(client, "vpnclient", "/CLIENT", 9931)
    options = f"/MAXTCP:{connections} /INTERVAL:1 /TTL:0 /HALF:no /BRIDGE:no /MONITOR:no"
    _order(
        *(client, "/CLIENT", "NicCreate vpn"),
        f"AccountCreate lab /SERVER:{address}:{port} /HUB:lab /USERNAME:user /NICNAME:vpn",
        "AccountPasswordSet lab /PASSWORD:secret /TYPE:standard",
        f"AccountDetailSet lab {options} /NOTRACK:yes /NOQOS:no /DISABLEUDP:{stage.pick('no', 'yes')}",
    )
    stage.claim(TCP, port, "tls", "softether")
    stage.claim(UDP, 0, "softether", "softether")
    for host in (server, client):  # each asks the other's name, as any Windows host may
        stage.claim(UDP, 137, "netbios-ns", host=host)
    yield None
    _order(client, "/CLIENT", "AccountConnect lab")
    client.run("ip", "address", "add", f"{CLIENT}/24", "dev", "vpn_vpn")
    client.run("ip", "link", "set", "vpn_vpn", "mtu", "1400", "up")
    reach(client, SERVER, 40)
    yield Way(client, server, SERVER, bind=CLIENT)

"""OpenVPN 2.x: UDP and TCP, each wrapping of the control channel, and a static key."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from classifier.lab.authority import Authority
from classifier.lab.host import Host
from classifier.lab.network import Network
from classifier.lab.stage import Stage, Ways, scenario
from classifier.lab.tunnel import Tunnel

__all__ = ["OpenVpn"]


@dataclass(frozen=True, slots=True)
class OpenVpn:
    """How one OpenVPN server and its client are set up."""

    server_address: str
    port: int = 1194
    proto: str = "udp"  # udp, tcp
    wrap: str = "none"  # none, tls-auth, tls-crypt, tls-crypt-v2, static
    cipher: str = "AES-256-GCM"
    options: tuple[str, ...] = field(default=())  # given to both ends
    number: int = 1  # tells tunnels of one lab apart

    @property
    def net(self) -> str:
        """The first three numbers of the inner addresses."""
        return f"10.{200 + self.number // 256}.{self.number % 256}"

    def ends(self, authority: Authority, server: Host) -> tuple[list[str], list[str]]:
        """Return the command lines of server and client; the client's lacks ``--remote``."""
        common = ["openvpn", "--dev", f"tun{self.number}", "--dev-type", "tun", "--verb", "3"]
        common += ["--disable-dco", *self.options]
        static = self._static(self.net, server) if self.wrap == "static" else None
        at_server, at_client = static or self._tls(self.net, authority, server)
        roles = ("-server", "-client") if self.proto == "tcp" else ("", "")
        wide = "6" if ":" in self.server_address else "4"
        protos = [["--proto", f"{self.proto}{wide}{role}"] for role in roles]
        place = ["--local", self.server_address, "--port", str(self.port)]
        return [*common, *at_server, *protos[0], *place], [
            *[*common, *at_client, *protos[1], "--nobind"]
        ]

    def start(self, lab: Network, authority: Authority, client: Host, server: Host) -> Tunnel:
        """Start both ends and wait for the tunnel."""
        at_server, at_client = self.ends(authority, server)
        listener = server.start(*at_server)
        server.wait_listen(self.proto, self.port)
        number = 6 if self.proto == "tcp" else 17
        lab.claim(number, self.server_address, self.port, "openvpn", "openvpn")
        caller = client.start(*at_client, "--remote", self.server_address, str(self.port))
        caller.wait_output("Initialization Sequence Completed")
        return Tunnel(client, server, f"{self.net}.2", f"{self.net}.1", (caller, listener))

    def _static(self, net: str, server: Host) -> tuple[list[str], list[str]]:
        """Return the options of server and client that share one static key."""
        key = server.write(f"static{self.number}.key", "")
        server.run("openvpn", "--genkey", "secret", key)
        common = ["--secret", key, "--cipher", "AES-256-CBC", "--ifconfig"]
        return [*common, f"{net}.1", f"{net}.2"], [*common, f"{net}.2", f"{net}.1"]

    def _tls(self, net: str, authority: Authority, server: Host) -> tuple[list[str], list[str]]:
        """Return the options of server and client that know each other by certificates."""
        wrap_server, wrap_client = self._keys(server)
        at_server = ["--server", f"{net}.0", "255.255.255.0", "--topology", "subnet"]
        at_server += ["--dh", "none", *wrap_server]
        at_client = ["--client", "--remote-cert-tls", "server", *wrap_client]
        for argv, name, usage in (
            (at_server, "vpn.example.net", "serverAuth"),
            (at_client, "client.example.net", "clientAuth"),
        ):
            certificate, private = authority.issue(name, usage)
            argv += ["--ca", authority.certificate, "--cert", certificate, "--key", private]
            argv += ["--data-ciphers", self.cipher]
        return at_server, at_client

    def _keys(self, server: Host) -> tuple[list[str], list[str]]:
        """Return the options for the wrapping of the control channel: server's, client's."""
        if self.wrap == "none":
            return [], []
        key = str(server.folder / f"wrap{self.number}.key")
        if self.wrap == "tls-crypt-v2":
            of_client = str(server.folder / f"wrap{self.number}.client")
            server.run("openvpn", "--genkey", "tls-crypt-v2-server", key)
            make = ["--tls-crypt-v2", key, "--genkey", "tls-crypt-v2-client", of_client]
            server.run("openvpn", *make)
            return ["--tls-crypt-v2", key], ["--tls-crypt-v2", of_client]
        server.run("openvpn", "--genkey", "secret", key)
        if self.wrap == "tls-auth":
            return ["--tls-auth", key, "0"], ["--tls-auth", key, "1"]
        return ["--tls-crypt", key], ["--tls-crypt", key]


CIPHERS = ("AES-256-GCM", "CHACHA20-POLY1305", "AES-128-GCM", "AES-256-CBC")
WRAPS = {
    "none": ("plain", "the TLS handshake is readable inside control packets"),
    "tls-auth": ("tls-auth", "control packets carry an HMAC and a replay id"),
    "tls-crypt": ("tls-crypt", "control packets are encrypted; only opcodes and ids are readable"),
    "tls-crypt-v2": ("tls-crypt-v2", "the client's reset carries a wrapped key of its own"),
}


def connect(
    stage: Stage,
    proto: str,
    wrap: str,
    port: int = 0,
    cipher: str = "",
    options: tuple[str, ...] = (),
) -> list[Tunnel]:
    """Start OpenVPN from each client to a server of its own, with choices from the seed."""
    auth = stage.pick((), ("--auth", "SHA256"), ("--auth", "SHA512")) if wrap != "static" else ()
    alive = stage.pick((), ("--keepalive", "2", "20"), ("--keepalive", "10", "60"))
    first, cipher = port or stage.port(1194), cipher or stage.pick(*CIPHERS)
    tunnels = []
    for number, client in enumerate(stage.clients):
        setup = OpenVpn(
            stage.address,
            port=first + number,
            proto=proto,
            wrap=wrap,
            cipher=cipher,
            options=(*auth, *alive, *options),
            number=number + 1,
        )
        tunnels.append(setup.start(stage.net, stage.authority, client, stage.server))
    return tunnels


def _session(
    stage: Stage,
    proto: str,
    wrap: str,
    port: int = 0,
    cipher: str = "",
    options: tuple[str, ...] = (),
) -> Iterator[Ways]:
    yield None
    tunnels = connect(stage, proto, wrap, port, cipher, options)
    yield [tunnel.way for tunnel in tunnels]
    for tunnel in tunnels:
        tunnel.stop()


for _proto in ("udp", "tcp"):
    for _wrap, (_name, _shows) in WRAPS.items():

        @scenario(
            f"openvpn-{_proto}-{_name}",
            f"OpenVPN over {_proto.upper()}: {_shows}",
            "openvpn",
            ipv6=True,
            clients=3,
        )
        def _whole(stage: Stage, proto: str = _proto, wrap: str = _wrap) -> Iterator[Ways]:
            yield from _session(stage, proto, wrap)


@scenario(
    "openvpn-udp-port-53",
    "OpenVPN on the port of DNS: the port decides nothing",
    "openvpn",
    ipv6=True,
)
def _port_53(stage: Stage) -> Iterator[Ways]:
    yield from _session(stage, "udp", stage.pick("none", "tls-auth", "tls-crypt"), port=53)


@scenario(
    "openvpn-udp-static-key",
    "OpenVPN with a static key: no opcode and no handshake, every packet is an IV and ciphertext",
    "openvpn",
    ipv6=True,
    clients=2,
)
def _static(stage: Stage) -> Iterator[Ways]:
    yield from _session(stage, "udp", "static")


@scenario(
    "openvpn-tcp-static-key",
    "OpenVPN over TCP with a static key: lengths, and IV and ciphertext behind each",
    "openvpn",
    ipv6=True,
    clients=2,
)
def _static_tcp(stage: Stage) -> Iterator[Ways]:
    yield from _session(stage, "tcp", "static")


def _static_mac(proto: str) -> None:
    @scenario(
        f"openvpn-{proto}-static-mac",
        f"OpenVPN over {proto.upper()} with a static key and a MAC of 32 bytes, of others or none",
        "openvpn",
        ipv6=True,
    )
    def _run(stage: Stage) -> Iterator[Ways]:
        mac = stage.pick("SHA256", "SHA512", "SHA384", "MD5", "none")
        yield from _session(stage, proto, "static", options=("--auth", mac))


_static_mac("udp")
_static_mac("tcp")


@scenario(
    "openvpn-tcp-cbc",
    "OpenVPN over TCP with a cipher in CBC mode: packet ids of data are encrypted too",
    "openvpn",
    ipv6=True,
)
def _cbc(stage: Stage) -> Iterator[Ways]:
    yield from _session(stage, "tcp", "none", cipher="AES-256-CBC")

"""Starts OpenVPN, WireGuard and strongSwan between two hosts, and checks that they carry traffic.

All keys and certificates are made at run time in the hosts' scratch folders and vanish with them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from netns import Daemon, Host, Lab, RecipeError, wait_for

IPSEC_CONF = """\
charon-systemd {
  load_modular = no
  load = random nonce openssl pem x509 pubkey hmac kdf aes sha1 sha2 kernel-libipsec \
kernel-netlink socket-default vici updown
  install_virtual_ip = no
  i_dont_care_about_security_and_use_aggressive_mode_psk = yes
  retransmit_timeout = 1.0
  filelog { stderr { default = 1 } }
  syslog { identifier = charon
    daemon { default = -1 }
    auth { default = -1 }
  }
  plugins {
    vici { socket = unix:///run/charon.vici }
    kernel-libipsec { allow_peer_ts = yes }
  }
}
swanctl { socket = unix:///run/charon.vici }
"""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel that is up: where to send traffic, and what keeps it running."""

    client: Host
    server: Host
    inner_client: str
    inner_server: str
    daemons: tuple[Daemon, ...] = ()

    def ping(self, count: int = 3, payload_bytes: int = 56, interval_s: float = 0.05) -> None:
        """Send echo requests through the tunnel; fail where none comes back."""
        self.client.run(
            *["ping", "-I", self.inner_client, "-c", str(count), "-i", str(interval_s)],
            *["-s", str(payload_bytes), "-W", "2", self.inner_server],
        )

    def serve(self, file_bytes: int) -> None:
        """Start a web server at the tunnel's far end with one file of random bytes."""
        folder = self.server.folder / "inner"
        folder.mkdir(exist_ok=True)
        (folder / "file").write_bytes(os.urandom(file_bytes))
        self.server.start(
            *["python3", "-m", "http.server", "8080", "--bind", self.inner_server],
            *["--directory", str(folder)],
        )
        self.server.wait_listen("tcp", 8080)

    def fetch(self) -> None:
        """Fetch that file through the tunnel; fail where it does not arrive whole."""
        url = f"http://{_bracket(self.inner_server)}:8080/file"
        got = self.client.run(
            *["curl", "-sS", "--interface", self.inner_client, "-o", "/dev/null"],
            *["-w", "%{size_download}", url],
        )
        want = (self.server.folder / "inner" / "file").stat().st_size
        if got.strip() != str(want):
            raise RecipeError(f"{url}: {got.strip()} of {want} bytes came through the tunnel")

    def stop(self) -> None:
        """End the tunnel's programs, the client first, so that it can say goodbye."""
        for daemon in self.daemons:
            daemon.stop()


def _bracket(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class Authority:
    """A throw-away certificate authority of one lab."""

    def __init__(self, lab: Lab) -> None:
        self.folder = lab.folder / "ca"
        self.folder.mkdir()
        self.host = lab.gate  # any host will do: only ``openssl`` runs there
        self.certificate = str(self.folder / "ca.crt")
        self._key = str(self.folder / "ca.key")
        self._request("ca", "Demo CA", ["-x509", "-out", self.certificate])

    def _request(self, name: str, subject: str, extra: Sequence[str]) -> None:
        self.host.run(
            *["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            *["-nodes", "-keyout", str(self.folder / f"{name}.key"), "-subj", f"/CN={subject}"],
            *["-days", "30", *extra],
        )

    def issue(self, name: str, usage: str) -> tuple[str, str]:
        """Return paths of a new certificate and key; usage is ``serverAuth`` or ``clientAuth``."""
        request, certificate = self.folder / f"{name}.csr", self.folder / f"{name}.crt"
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(
            f"keyUsage=digitalSignature\nextendedKeyUsage={usage}\nsubjectAltName=DNS:{name}\n"
        )
        if not certificate.exists():
            self._request(name, name, ["-out", str(request)])
            self.host.run(
                *["openssl", "x509", "-req", "-in", str(request), "-CA", self.certificate],
                *["-CAkey", self._key, "-CAcreateserial", "-days", "30"],
                *["-extfile", str(extensions), "-out", str(certificate)],
            )
        return str(certificate), str(self.folder / f"{name}.key")


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

    def start(self, lab: Lab, authority: Authority, client: Host, server: Host) -> Tunnel:
        """Start both ends and wait for the tunnel."""
        net = f"10.{200 + self.number // 256}.{self.number % 256}"
        common = ["openvpn", "--dev", f"tun{self.number}", "--dev-type", "tun", "--verb", "3"]
        common += ["--disable-dco", *self.options]
        ends = self._static(net, server) if self.wrap == "static" else None
        at_server, at_client = ends or self._tls(net, authority, server)
        roles = ("-server", "-client") if self.proto == "tcp" else ("", "")
        wide = "6" if ":" in self.server_address else "4"
        protos = [["--proto", f"{self.proto}{wide}{role}"] for role in roles]
        listener = server.start(
            *[*common, *at_server, *protos[0]],
            *["--local", self.server_address, "--port", str(self.port)],
        )
        server.wait_listen(self.proto, self.port)
        number = 6 if self.proto == "tcp" else 17
        lab.claim(number, self.server_address, self.port, "openvpn", "openvpn")
        caller = client.start(
            *[*common, *at_client, *protos[1]],
            *["--nobind", "--remote", self.server_address, str(self.port)],
        )
        caller.wait_output("Initialization Sequence Completed")
        return Tunnel(client, server, f"{net}.2", f"{net}.1", (caller, listener))

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


@dataclass(frozen=True, slots=True)
class WireGuard:
    """How one WireGuard pair is set up (wireguard-go: no kernel module is needed)."""

    server_address: str
    port: int = 51820
    keepalive_s: int = 0
    preshared: bool = False
    mtu: int = 1420
    number: int = 1

    def start(self, lab: Lab, client: Host, server: Host) -> Tunnel:
        """Start both ends; the handshake happens with the first inner packet."""
        net = f"10.{220 + self.number // 256}.{self.number % 256}"
        keys = [client.run("wg", "genkey").strip() for _ in range(2)]
        public = [client.run("wg", "pubkey", data=key + "\n").strip() for key in keys]
        shared = f"PresharedKey = {client.run('wg', 'genpsk')}" if self.preshared else ""
        remote = f"Endpoint = {_bracket(self.server_address)}:{self.port}"
        alive = f"PersistentKeepalive = {self.keepalive_s}" if self.keepalive_s else ""
        daemons = []
        for host, end, own, peer, extra in (
            (server, 1, 0, 1, f"ListenPort = {self.port}"),
            (client, 2, 1, 0, ""),
        ):
            device = f"wg{self.number}"
            daemons.append(host.start("wireguard-go", "-f", device))
            wait_for(lambda h=host, d=device: _has_link(h, d), f"wireguard-go: {device}")
            text = (
                f"[Interface]\nPrivateKey = {keys[own]}\n{extra}\n"
                f"[Peer]\nPublicKey = {public[peer]}\nAllowedIPs = {net}.0/24\n{shared}\n"
            )
            text += f"{remote}\n{alive}\n" if end == 2 else ""
            host.run("wg", "setconf", device, host.write(f"{device}.conf", text))
            host.run("ip", "address", "add", f"{net}.{end}/24", "dev", device)
            host.run("ip", "link", "set", device, "mtu", str(self.mtu), "up")
        lab.claim(17, self.server_address, self.port, "wireguard", "wireguard")
        return Tunnel(client, server, f"{net}.2", f"{net}.1", (daemons[1], daemons[0]))


def _has_link(host: Host, device: str) -> bool:
    return "private key" in host.run("wg", "show", device, check=False) or (
        f"interface: {device}" in host.run("wg", "show", device, check=False)
    )


@dataclass(frozen=True, slots=True)
class StrongSwan:
    """How one IKE pair is set up; its user-space ESP always travels in UDP (RFC 3948)."""

    version: int = 2
    aggressive: bool = False
    proposals: str = "aes256-sha256-ecp256"
    esp_proposals: str = "aes256-sha256"
    number: int = 1

    def start(self, lab: Lab, client: Host, server: Host) -> Tunnel:
        """Start both daemons and negotiate."""
        net = f"10.{240 + self.number // 256}.{self.number % 256}"
        secret = client.run("wg", "genpsk").strip()
        inner = {client: f"{net}.2", server: f"{net}.1"}
        daemons = []
        for host, peer in ((server, client), (client, server)):
            host.run("ip", "address", "add", f"{inner[host]}/32", "dev", "lo")
            folder = host.folder / "swanctl"
            folder.mkdir()
            conf = host.write("swanctl/swanctl.conf", self._swanctl(host, peer, inner, secret))
            env = {"STRONGSWAN_CONF": host.write("strongswan.conf", IPSEC_CONF)}
            daemons.append(host.start("charon-systemd", env=env))
            wait_for(lambda h=host: Path(f"/proc/{h.pid}/root/run/charon.vici").exists(), "charon")
            host.run("swanctl", "--load-all", "--file", conf, env=env)
        for port in (500, 4500):
            application = "ike" if port == 500 else "ipsec-nat-t"
            lab.claim(17, server.address, port, application, "ipsec")
        client.run("swanctl", "--initiate", "--child", "net", "--timeout", "10", env=env)
        return Tunnel(client, server, inner[client], inner[server], tuple(daemons[::-1]))

    def _swanctl(self, host: Host, peer: Host, inner: dict[Host, str], secret: str) -> str:
        return f"""\
connections {{
  peer {{
    version = {self.version}
    aggressive = {"yes" if self.aggressive else "no"}
    local_addrs = {host.address}
    remote_addrs = {peer.address}
    proposals = {self.proposals}
    local {{
      auth = psk
      id = {host.name}.example.net
    }}
    remote {{
      auth = psk
      id = {peer.name}.example.net
    }}
    children {{
      net {{
        local_ts = {inner[host]}/32
        remote_ts = {inner[peer]}/32
        esp_proposals = {self.esp_proposals}
      }}
    }}
  }}
}}
secrets {{
  ike {{
    secret = "{secret}"
  }}
}}
"""

"""strongSwan: IKEv2 and IKEv1, with ESP in UDP from its user-space library."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from classifier.lab.host import Host, wait_for
from classifier.lab.network import Network, kernel_has
from classifier.lab.stage import Stage, Ways, scenario
from classifier.lab.tunnel import Tunnel

__all__ = ["StrongSwan"]

IPSEC_CONF = """\
charon-systemd {
  load_modular = no
  load = random nonce openssl pem x509 pubkey hmac kdf aes sha1 sha2 IPSEC \
socket-default vici updown
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


def conf_of_kernel() -> str:
    """Return the configuration; ESP is done in user space where the kernel has none.

    Of two that offer ESP the one named first wins, so the user-space library stands first.
    """
    real = kernel_has("xfrm")
    return IPSEC_CONF.replace(
        "IPSEC", "kernel-netlink" if real else "kernel-libipsec kernel-netlink"
    )


@dataclass(frozen=True, slots=True)
class StrongSwan:
    """How one IKE pair is set up; its user-space ESP always travels in UDP (RFC 3948)."""

    version: int = 2
    aggressive: bool = False
    proposals: str = "aes256-sha256-ecp256"
    esp_proposals: str = "aes256-sha256"
    number: int = 1
    ipv6: bool = False
    nat: bool = False

    def start(self, lab: Network, client: Host, server: Host) -> Tunnel:
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
            env = {"STRONGSWAN_CONF": host.write("strongswan.conf", conf_of_kernel())}
            daemons.append(host.start("charon-systemd", env=env))
            wait_for(Path(f"/proc/{host.pid}/root/run/charon.vici").exists, "charon")
            host.run("swanctl", "--load-all", "--file", conf, env=env)
        if kernel_has("xfrm"):
            lab.claim(50, self._of(server), 0, "esp", "ipsec")
        for port in (500, 4500):
            application = "ike" if port == 500 else "ipsec-nat-t"
            lab.claim(17, self._of(server), port, application, "ipsec")
        client.run("swanctl", "--initiate", "--child", "net", "--timeout", "10", env=env)
        for host, peer in ((server, client), (client, server)):
            wait_for(
                functools.partial(self._installed, host, inner[host], inner[peer]),
                f"{host.name}: the way into the tunnel",
            )
        return Tunnel(client, server, inner[client], inner[server], tuple(daemons[::-1]))

    @staticmethod
    def _installed(host: Host, own: str, peer: str) -> bool:
        """Whether packets go into the tunnel: the responder of IKEv1 is ready a while later."""
        if kernel_has("xfrm"):
            return peer in host.run("ip", "xfrm", "policy", check=False)
        return "ipsec0" in host.run("ip", "route", "get", peer, "from", own, check=False)

    def _of(self, host: Host) -> str:
        return host.address6 if self.ipv6 else host.address

    def _swanctl(self, host: Host, peer: Host, inner: dict[Host, str], secret: str) -> str:
        remote = "%any" if self.nat and peer.name.startswith("client") else self._of(peer)
        return f"""\
connections {{
  peer {{
    version = {self.version}
    aggressive = {"yes" if self.aggressive else "no"}
    local_addrs = {self._of(host)}
    remote_addrs = {remote}
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


def connect(stage: Stage, version: int, aggressive: bool = False) -> Tunnel:
    """Start strongSwan at both ends and negotiate, with choices from the seed."""
    proposals = stage.pick("aes256-sha256-ecp256", "aes128-sha256-modp2048", "aes256-sha512-ecp384")
    setup = StrongSwan(
        version,
        aggressive,
        proposals,
        stage.pick("aes256-sha256", "aes128-sha256"),
        ipv6=stage.conditions.ipv6,
        nat=stage.conditions.nat,
    )
    return setup.start(stage.net, stage.client, stage.server)


for _name, _version, _aggressive, _shows in (
    ("ikev2", 2, False, "IKEv2 on port 500, then IKE and ESP on 4500"),
    ("ikev1-main", 1, False, "IKEv1 main mode and quick mode, then ESP in UDP"),
    ("ikev1-aggressive", 1, True, "IKEv1 aggressive mode, then ESP in UDP"),
):

    @scenario(
        f"strongswan-{_name}",
        _shows,
        *("charon-systemd", "swanctl:strongswan-swanctl", "wg:wireguard-tools"),
        ipv6=True,
    )
    def _ike(
        stage: Stage, version: int = _version, aggressive: bool = _aggressive
    ) -> Iterator[Ways]:
        yield None
        tunnel = connect(stage, version, aggressive)
        yield tunnel.way
        tunnel.stop()

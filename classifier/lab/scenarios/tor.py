"""Tor: a private network with an authority, relays and an exit; directly and through obfs4.

The relays learn of each other and vote before the capture starts. Their intervals are those of a
testing network; cells, links and circuits are the real ones.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from classifier.lab.host import Host, wait_for
from classifier.lab.stage import TCP, Stage, Way, Ways, scenario

OR_PORT, DIR_PORT = 9001, 9030
COMMON = """\
TestingTorNetwork 1
DataDirectory {folder}/tor
Nickname {name}
Address {address}
ContactInfo nobody@example.net
AssumeReachable 1
ExitPolicyRejectPrivate 0
ServerDNSDetectHijacking 0
ServerDNSAllowBrokenConfig 1
PathsNeededToBuildCircuits 0.6
MinUptimeHidServDirectoryV2 0
UseDefaultFallbackDirs 0
EnforceDistinctSubnets 0
RunAsDaemon 0
Log notice stdout
{authorities}
"""
VOTING = """\
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
V3AuthNIntervalsValid 2
TestingV3AuthInitialVotingInterval 5
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 20
V3AuthVoteDelay 4
V3AuthDistDelay 4
TestingV3AuthVotingStartOffset 0
TestingAuthDirTimeToLearnReachability 0
TestingDirAuthVoteGuard *
TestingDirAuthVoteExit *
TestingDirAuthVoteHSDir *
TestingMinExitFlagThreshold 0
"""


def _conf(host: Host, name: str, authorities: str, more: str) -> str:
    facts = {"folder": host.folder, "name": name, "address": host.address}
    return host.write("torrc", COMMON.format(authorities=authorities, **facts) + more)


def _authority(host: Host, port: int) -> str:
    """Make the authority's keys and return the line by which all others know it."""
    keys = host.folder / "tor" / "keys"
    host.run("mkdir", "-p", "-m", "700", str(keys))
    host.run(
        *["tor-gencert", "--create-identity-key", "-m", "12", "--passphrase-fd", "0"],
        *["-i", f"{keys}/authority_identity_key", "-s", f"{keys}/authority_signing_key"],
        *["-c", f"{keys}/authority_certificate"],
        data="lab secret\n",
    )
    certificate = Path(keys, "authority_certificate").read_text()
    identity = re.search(r"^fingerprint ([0-9A-F]{40})", certificate, re.MULTILINE)
    assert identity is not None
    relay = f"ORPort {host.address}:{port}\nDirPort {host.address}:{DIR_PORT}\n"
    draft = _conf(host, "authority", "", "DirAuthority x v3ident=" + identity[1] + " ")
    text = Path(draft).read_text().rpartition("DirAuthority")[0]
    line = f"DirAuthority authority orport={port} no-v2 v3ident={identity[1]} "
    line += f"{host.address}:{DIR_PORT} "
    unknown = "0" * 40
    Path(draft).write_text(text + line + unknown + "\n" + relay)
    told = host.run("tor", "-f", draft, "--list-fingerprint", "--quiet")
    print_ = re.search(r"((?:[0-9A-F]{4} ?){10})", told)
    assert print_ is not None
    return line + print_[1].replace(" ", "")


def _network(stage: Stage, port: int, more: str) -> str:
    """Start authority, relays and the exit at the server; return the authority's line."""
    sites = [f"198.51.{100 + number}.{stage.rng.randint(2, 250)}" for number in (1, 2, 3)]
    hosts = [stage.net.outside(f"relay{number}", site) for number, site in enumerate(sites)]
    line = _authority(hosts[0], port)
    for number, host in enumerate([*hosts, stage.server]):
        options = f"ORPort {host.address}:{port}\n"
        if number == 0:
            options += f"DirPort {host.address}:{DIR_PORT}\n{VOTING}"
        if host is stage.server:
            options += f"ExitPolicy accept *:*\nExitRelay 1\n{more}"
        else:
            options += "ExitPolicy reject *:*\n"
        name = "authority" if number == 0 else f"relay{number}"
        host.start("tor", "-f", _conf(host, name, line, options))
        stage.claim(TCP, port, "tls", "tor", host=host)
        stage.claim(TCP, DIR_PORT, "http", "tor", host=host)
    return line


def _ready(stage: Stage, line: str, options: str) -> None:
    """Start the client and wait until it has built a circuit."""
    text = f"SocksPort 127.0.0.1:1080\n{options}"
    conf = _conf(stage.client, "client", line, text).strip()
    tor = stage.client.start("tor", "-f", conf)
    tor.wait_output("Bootstrapped 100%", 60)


def _consensus(stage: Stage) -> None:
    """Wait until the exit is in a consensus that it has fetched itself."""
    known = stage.server.folder / "tor" / "cached-microdesc-consensus"

    def listed() -> bool:
        if not known.exists():
            return False
        text = known.read_text(errors="replace")
        return len(re.findall(r"^r ", text, re.MULTILINE)) >= 4 and "Exit" in text

    wait_for(listed, "a consensus with all relays", 120)


def _way(stage: Stage) -> Way:
    proxy = "socks5://127.0.0.1:1080"
    return Way(stage.client, stage.server, stage.inner, proxy=proxy, udp=False)


@scenario("tor-direct", "Tor: a client of a private network", "tor", seconds=240, loss=False)
def _direct(stage: Stage) -> Iterator[Ways]:
    line = _network(stage, stage.pick(OR_PORT, 443, 9443), "")
    _consensus(stage)
    yield None
    _ready(stage, line, "")
    yield _way(stage)


@scenario("tor-obfs4", "Tor through an obfs4 bridge", "tor", "obfs4proxy", seconds=240, loss=False)
def _obfs4(stage: Stage) -> Iterator[Ways]:
    port = stage.port(8443)
    iat = stage.pick(0, 1, 2)
    bridge = stage.net.outside("bridge", "198.51.110.9")
    line = _network(stage, OR_PORT, "")
    listen = f"ServerTransportListenAddr obfs4 {bridge.address}:{port}\n"
    options = f"BridgeRelay 1\nORPort {bridge.address}:{OR_PORT}\nExtORPort auto\n{listen}"
    options += "ExitPolicy reject *:*\nServerTransportPlugin obfs4 exec /usr/bin/obfs4proxy\n"
    options += f"ServerTransportOptions obfs4 iat-mode={iat}\nPublishServerDescriptor 0\n"
    bridge.start("tor", "-f", _conf(bridge, "bridge", line, options))
    stage.claim(TCP, port, "unknown", "obfs4", host=bridge)
    bridge.wait_listen("tcp", port)
    told = bridge.folder / "tor" / "pt_state" / "obfs4_bridgeline.txt"
    wait_for(told.exists, "obfs4's line for clients")
    words = re.search(r"(cert=\S+ iat-mode=\d)", told.read_text())
    assert words is not None
    _consensus(stage)
    yield None
    use = f"UseBridges 1\nBridge obfs4 {bridge.address}:{port} {words[1]}\n"
    _ready(stage, line, f"{use}ClientTransportPlugin obfs4 exec /usr/bin/obfs4proxy\n")
    yield _way(stage)

"""Asks tshark for the client hellos and key exchanges of a capture."""

import subprocess
from typing import NamedTuple

from reference.tls import Hello, ja4

_FIELDS = ["ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.srcport",
           "udp.dstport", "quic.version", "ssh.kex.hassh", "ssh.kex.hasshserver"]  # fmt: skip
_HELLO = ["handshake.type", "handshake.extensions_server_name", "handshake.ja3",
          "handshake.version", "handshake.ciphersuite", "handshake.extension.type",
          "handshake.extensions_alpn_str", "handshake.sig_hash_alg",
          "handshake.extensions.supported_version"]  # fmt: skip
_GREASE = {(n << 12) | (n << 4) | 0x0A0A for n in range(16)}


class Seen(NamedTuple):
    """What tshark shows of one packet."""

    endpoints: frozenset[tuple[str, int]]
    proto: int
    server_name: str
    ja3: str
    ja4: str
    hassh: str
    hassh_server: str


def read(program: str, path: str) -> list[Seen]:
    """Return what tshark sees, in the order of the capture."""
    names = _FIELDS + [f"{layer}.{name}" for layer in ("tls", "dtls") for name in _HELLO]
    wanted = "tls.handshake.type == 1 || dtls.handshake.type == 1 || ssh.kex.hassh"
    command = [program, "-n", "-r", path, "-Y", f"{wanted} || ssh.kex.hasshserver", "-T", "fields"]
    command += ["-E", "occurrence=a", "-E", "separator=|", "-E", "aggregator=;"]
    for name in names:
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    rows = (dict(zip(names, line.split("|"), strict=False)) for line in lines)
    return [seen for row in rows if len(row) == len(names) for seen in _seen(row)]


def _numbers(text: str) -> list[int]:
    return [int(part, 0) for part in text.split(";") if part]


def _seen(row: dict[str, str]) -> list[Seen]:
    ends = [(row[f"ip.{end}"] or row[f"ipv6.{end}"]).partition(";")[0] for end in ("src", "dst")]
    proto, layer = (6, "tcp") if row["tcp.srcport"] else (17, "udp")
    ports = [row[f"{layer}.{end}port"] for end in ("src", "dst")]
    dtls = "dtls" if row["dtls.handshake.type"] else "tls"
    hello = {name: row[f"{dtls}.{name}"] for name in _HELLO}
    # Several hellos in one packet, or packets inside packets: fields cannot be told apart
    if ";" in "".join(ports) or not all(ports) or hello["handshake.type"].count("1") > 1:
        return []
    endpoints = frozenset(zip(ends, map(int, ports), strict=True))
    letter = "q" if row["quic.version"] else dtls[0]
    return [
        Seen(
            endpoints, proto, hello["handshake.extensions_server_name"], hello["handshake.ja3"],
            _ja4(hello, letter), row["ssh.kex.hassh"], row["ssh.kex.hasshserver"],
        )
    ]  # fmt: skip


def _ja4(row: dict[str, str], letter: str) -> str:
    """Make JA4 of the lists that tshark shows; its version 4.0 does not make it itself."""
    if not row["handshake.version"]:
        return ""
    lists = [
        [n for n in _numbers(row[f"handshake.{name}"]) if n not in _GREASE]
        for name in (
            "ciphersuite",
            "extension.type",
            "sig_hash_alg",
            "extensions.supported_version",
        )
    ]
    if {34, 50} & set(lists[1]):  # lists of algorithms of their own, under the same field
        return ""
    alpn = row["handshake.extensions_alpn_str"].partition(";")[0].encode()
    version = _numbers(row["handshake.version"])[0]
    hello = Hello(version, lists[0], lists[1], b"", alpn, lists[2], lists[3], whole=True)
    return ja4(hello, letter)

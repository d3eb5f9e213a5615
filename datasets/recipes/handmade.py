"""Rewrites captures by the specification, for what no program at hand sends.

Of ESP and AH, for kernels that have no IPsec, the cases capture a few pings between the two hosts; each is
replaced by one packet of the wanted protocol with the same addresses and time. OpenVPN is put under the
disguise that patched builds of it wear.
"""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import dpkt

from classifier.lab.stage import Scenario, Stage, Ways

PACKETS = 12


def _rewrite(path: Path, change: Callable[[int, bytes], bytes]) -> None:
    with path.open("rb") as file:
        records = list(dpkt.pcap.Reader(file))
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for number, (seconds, frame) in enumerate(records):
            writer.writepkt(change(number, frame), ts=seconds)


def _replace(path: Path, proto: int, body: Callable[[int, int], bytes]) -> None:
    spis: dict[bytes, int] = {}
    counts: dict[bytes, int] = {}

    def change(_: int, frame: bytes) -> bytes:
        source = frame[26:30]
        spi = spis.setdefault(source, 0xC0000000 | int.from_bytes(os.urandom(3)))
        counts[source] = counts.get(source, 0) + 1
        packet = dpkt.ip.IP(
            src=source, dst=frame[30:34], p=proto, ttl=63, data=body(spi, counts[source])
        )
        packet.len = len(packet)
        return frame[:14] + bytes(packet)

    _rewrite(path, change)


def esp(path: Path) -> None:
    """ESP, RFC 4303 section 2: SPI, sequence number from 1, IV, ciphertext, 16-byte ICV."""

    def body(spi: int, sequence: int) -> bytes:
        ciphertext = 16 * (5 + sequence % 4)
        return struct.pack("!II", spi, sequence) + os.urandom(16 + ciphertext + 16)

    _replace(path, 50, body)


def ah(path: Path) -> None:
    """AH, RFC 4302 section 2: next header, length in words less 2, 12-byte ICV, then UDP."""

    def body(spi: int, sequence: int) -> bytes:
        datagram = bytes(dpkt.udp.UDP(sport=40000, dport=5000, data=os.urandom(64), ulen=72))
        header = struct.pack("!BBHII", 17, 4, 0, spi, sequence)
        return header + os.urandom(12) + datagram

    _replace(path, 51, body)


def scramble(path: Path) -> None:
    """OpenVPN's patch "scramble xormask": each message is XORed with a word, over and over."""
    word = os.urandom(5)

    def change(_: int, frame: bytes) -> bytes:
        packet = dpkt.ethernet.Ethernet(frame)
        if isinstance(packet.data.data, dpkt.udp.UDP):
            udp = packet.data.data
            udp.data = bytes(byte ^ word[i % len(word)] for i, byte in enumerate(udp.data))
            udp.sum = packet.data.sum = 0  # made anew
        return bytes(packet)

    _rewrite(path, change)


def _pings(proto: int, application: str) -> Callable[[Stage], Iterator[Ways]]:
    """Return a scenario's run: the pings that become packets of the protocol."""

    def run(stage: Stage) -> Iterator[Ways]:
        stage.claim(proto, 0, application, "ipsec")
        yield None
        stage.client.run("ping", "-c", str(PACKETS), "-i", "0.05", stage.server.address)

    return run


ESP = Scenario(
    "handmade-esp",
    "ESP as IP protocol 50 (RFC 4303): one SPI and one rising sequence number per direction",
    _pings(50, "esp"),
    ways=False,
)
AH = Scenario(
    "handmade-ah",
    "AH as IP protocol 51 (RFC 4302) around readable UDP",
    _pings(51, "ah"),
    ways=False,
)

"""A stand-in for pppd on kernels without PPP: the protocol in user space, over a TUN device.

Run as a program in pppd's place by ``xl2tpd``, ``pptpd`` and ``pptp``, which give it a terminal (by
name, or as standard input) and, on the server's side, ``LOCAL:REMOTE``. Frames are those of RFC
1662 (asynchronous HDLC); link control (RFC 1661) and IP control (RFC 1332) are negotiated without
options but the addresses; there is no authentication, and nothing is compressed.
"""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import tty

__all__: list[str] = []

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
FCS_START, FCS_GOOD, FCS_POLYNOMIAL = 0xFFFF, 0xF0B8, 0x8408
IP, LINK, IP_CONTROL = 0x0021, 0xC021, 0x8021
REQUEST, ACCEPT, REFUSE, ECHO, ECHOED = 1, 2, 3, 9, 10
ADDRESS_OPTION, ANY = 3, bytes(4)
TUNSETIFF, TUN_FLAGS, DEVICE = 0x400454CA, 0x1001, "ppp0"  # TUN without its own header
AGAIN_S = 1.0


def checksum(frame: bytes) -> int:
    """Return the 16-bit frame check sequence of RFC 1662, appendix C."""
    value = FCS_START
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (FCS_POLYNOMIAL if value & 1 else 0)
    return value


def framed(protocol: int, packet: bytes) -> bytes:
    """Return a packet as it goes over the line."""
    frame = struct.pack(">BBH", 0xFF, 0x03, protocol) + packet
    frame += struct.pack("<H", checksum(frame) ^ 0xFFFF)
    line = bytearray([FLAG])
    for byte in frame:
        if byte < 0x20 or byte in (FLAG, ESCAPE):
            line += bytes([ESCAPE, byte ^ FLIP])
        else:
            line.append(byte)
    return bytes([*line, FLAG])


def unframed(line: bytes) -> bytes:
    """Return what stands between two flags without escapes."""
    frame, escaped = bytearray(), False
    for byte in line:
        if byte == ESCAPE:
            escaped = True
        else:
            frame.append(byte ^ FLIP if escaped else byte)
            escaped = False
    return bytes(frame)


class Link:
    """Both ends' negotiation, and packets between the line and the device."""

    def __init__(self, line: int, local: bytes, remote: bytes) -> None:
        self.line, self.local, self.remote = line, local, remote
        self.device = -1
        self.accepted = {LINK: False, IP_CONTROL: False}
        self.number = 0

    def ask(self) -> None:
        """Send a request for what is not yet agreed."""
        if not self.accepted[LINK]:
            self.send(LINK, REQUEST, struct.pack(">BBI", 5, 6, 0x1A2B3C4D + os.getpid()))
        elif not self.accepted[IP_CONTROL]:
            self.send(IP_CONTROL, REQUEST, bytes([ADDRESS_OPTION, 6]) + self.local)

    def send(self, protocol: int, code: int, body: bytes, number: int = -1) -> None:
        """Send a control packet; a request of our own gets the next number."""
        if number < 0:
            self.number = number = self.number % 255 + 1
        packet = struct.pack(">BBH", code, number, 4 + len(body)) + body
        os.write(self.line, framed(protocol, packet))

    def take(self, frame: bytes) -> None:
        """Act on a frame that arrived."""
        if len(frame) < 6 or checksum(frame) != FCS_GOOD:
            return
        frame = frame[2 if frame[:2] == b"\xff\x03" else 0 : -2]
        protocol, packet = int.from_bytes(frame[:2]), frame[2:]
        if protocol == IP and self.device >= 0:
            os.write(self.device, packet)
        if protocol not in self.accepted or len(packet) < 4:
            return
        code, number, body = packet[0], packet[1], packet[4 : int.from_bytes(packet[2:4])]
        if code == ECHO:
            self.send(LINK, ECHOED, body, number)
        elif code == ACCEPT:
            self.accepted[protocol] = True
            self.ask()
        elif code == REFUSE and protocol == IP_CONTROL:
            self.local = body[2:6]
            self.ask()
        elif code == REQUEST and protocol == LINK:
            self.send(LINK, ACCEPT, body, number)
        elif code == REQUEST:
            if body[2:6] == ANY:
                self.send(protocol, REFUSE, bytes([ADDRESS_OPTION, 6]) + self.remote, number)
            else:
                self.remote = body[2:6]
                self.send(protocol, ACCEPT, body, number)
        if all(self.accepted.values()) and self.device < 0 and ANY not in (self.local, self.remote):
            self.open_device()

    def open_device(self) -> None:
        """Open the device with the addresses that were agreed."""
        self.device = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), TUN_FLAGS))
        local, remote = (".".join(map(str, address)) for address in (self.local, self.remote))
        for words in (
            ["address", "add", local, "peer", remote, "dev", DEVICE],
            ["link", "set", DEVICE, "mtu", "1280", "up"],
        ):
            subprocess.run(["ip", *words], check=True)


def main() -> int:
    """Speak PPP until the line is closed."""
    words = " ".join(sys.argv[1:])
    terminal = re.search(r"/dev/pts/\d+", words)
    line = os.open(terminal.group(), os.O_RDWR | os.O_NOCTTY) if terminal else 0
    if os.isatty(line):
        tty.setraw(line, termios.TCSANOW)
    addresses = re.search(r"(?:^|\s)(\d+\.\d+\.\d+\.\d+):(\d+\.\d+\.\d+\.\d+)", words)
    ends = addresses.groups() if addresses else ("0.0.0.0", "0.0.0.0")
    local, remote = (bytes(map(int, end.split("."))) for end in ends)
    link, rest = Link(line, local, remote), b""
    link.ask()
    while True:
        watched = [line] if link.device < 0 else [line, link.device]
        ready = select.select(watched, [], [], AGAIN_S)[0]
        if not ready:
            link.ask()
        if link.device in ready:
            os.write(line, framed(IP, os.read(link.device, 2048)))
        if line in ready:
            try:
                more = os.read(line, 4096)
            except OSError:  # the other end of the terminal is closed
                return 0
            if not more:
                return 0
            *lines, rest = (rest + more).split(bytes([FLAG]))
            for each in lines:
                link.take(unframed(each))


if __name__ == "__main__":
    sys.exit(main())

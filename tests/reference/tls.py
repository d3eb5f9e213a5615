"""Client hellos and JA4, read slowly on ``bytes`` and written from the documents.

RFC 8446 4.1.2 and RFC 6347 4.2.1 for the hello, RFC 6066 3 for the server name, FoxIO's
technical_details/JA4.md for the fingerprint.
"""

import hashlib
from dataclasses import dataclass, field

GREASE = {(n << 12) | (n << 4) | 0x0A0A for n in range(16)}
VERSIONS = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
    0xFEFF: "d1",
    0xFEFD: "d2",
    0xFEFC: "d3",
}


class Short(Exception):
    """The bytes end before the field does."""


class Reader:
    """Fields one after another."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, n: int) -> bytes:
        if len(self.data) < n:
            raise Short
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def number(self, n: int) -> int:
        return int.from_bytes(self.take(n))

    def vector(self, n: int) -> bytes:
        return self.take(self.number(n))


@dataclass
class Hello:
    """What a client hello says; ``whole`` where nothing of it is missing or odd."""

    version: int = 0
    ciphers: list[int] = field(default_factory=list)
    extensions: list[int] = field(default_factory=list)
    server_name: bytes = b""
    alpn: bytes = b""
    algorithms: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    whole: bool = False


def pairs(data: bytes) -> list[int]:
    """Return 16-bit numbers without GREASE, leaving out an odd last byte."""
    numbers = [int.from_bytes(data[i : i + 2]) for i in range(0, len(data) - 1, 2)]
    return [n for n in numbers if n not in GREASE]


def parse_hello(body: bytes, declared: int, dtls: bool = False) -> Hello:
    """Read the kept bytes of a hello's body that should have ``declared`` bytes."""
    hello = Hello()
    try:
        _read(Reader(body), hello, dtls)
    except Short:
        hello.whole = False
    hello.whole = hello.whole and len(body) == declared
    return hello


def _read(reader: Reader, hello: Hello, dtls: bool) -> None:
    hello.version = reader.number(2)
    reader.take(32)
    reader.vector(1)
    if dtls:
        reader.vector(1)
    listed = reader.vector(2)
    if len(listed) % 2:
        raise Short
    hello.ciphers = pairs(listed)
    reader.vector(1)
    if not reader.data:
        hello.whole = True
        return
    size = reader.number(2)
    hello.whole = size == len(reader.data)
    reader.data = reader.data[:size]
    while len(reader.data) >= 4:
        kind, size = reader.number(2), reader.number(2)
        value = reader.data[:size]
        if len(value) < size:
            hello.whole = False
        if kind == 0:
            _server_name(hello, value, size)
        reader.data = reader.data[size:]
        if kind in GREASE:
            continue
        hello.extensions.append(kind)
        if len(value) < size:
            break
        if kind == 16 and size >= 4 and 0 < value[2] <= size - 3:
            hello.alpn = value[3 : 3 + value[2]]
        elif kind == 43 and size >= 3:
            hello.versions += pairs(value[1 : 1 + min(value[0], size - 1)])
        elif kind == 13 and size >= 4:
            hello.algorithms = pairs(value[2 : 2 + min(int.from_bytes(value[:2]), size - 2)])
    hello.whole = hello.whole and not reader.data


def _server_name(hello: Hello, value: bytes, size: int) -> None:
    if len(value) >= 5 and value[2] == 0:
        length = int.from_bytes(value[3:5])
        if 0 < length <= size - 5 and len(value) >= 5 + length:
            hello.server_name = value[5 : 5 + length]


def ja4(hello: Hello, letter: str = "t") -> str:
    """Return the fingerprint, empty for a hello that is not whole."""
    if not hello.whole:
        return ""
    version = hello.version
    if hello.versions:
        version = min(hello.versions) if letter == "d" else max(hello.versions)
    a = letter + VERSIONS.get(version, "00") + ("d" if 0 in hello.extensions else "i")
    a += f"{min(99, len(hello.ciphers)):02}{min(99, len(hello.extensions)):02}"
    a += alpn_characters(hello.alpn)
    ciphers = [f"{n:04x}" for n in sorted(hello.ciphers)]
    extensions = [f"{n:04x}" for n in sorted(hello.extensions) if n not in (0, 16)]
    text = ",".join(extensions)
    if hello.algorithms:
        text += "_" + ",".join(f"{n:04x}" for n in hello.algorithms)
    return f"{a}_{short_hash(','.join(ciphers))}_{short_hash(text) if extensions else '0' * 12}"


def alpn_characters(name: bytes) -> str:
    """Return first and last character of the first ALPN name, or of its hexadecimal form."""
    if not name:
        return "00"
    if all(b < 128 and chr(b).isalnum() for b in (name[0], name[-1])):
        return chr(name[0]) + chr(name[-1])
    return name.hex()[0] + name.hex()[-1]


def short_hash(text: str) -> str:
    """Return twelve hexadecimal digits, zeros for nothing."""
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12

"""Slow twins of the detectors' probes, on bytes, from the specifications.

Each takes what was captured of a message and its length on the wire, and returns what the kernel
does: 0 not ours, -1 cannot tell, else a kind of message.
"""


def looks_random(data: bytes) -> bool:
    previous = [-1, *data]
    dull = [b for b, before in zip(data, previous, strict=False) if b in (0, before)]
    if len(data) >= 16 and max(data) < 0x80:
        return False
    return len(dull) <= len(data) // (8 if len(data) >= 32 else 4)


def wireguard(data: bytes, wire_bytes: int) -> int:
    kinds = {1: {148}, 2: {92}, 3: {64}, 4: {*range(32, 70_000, 16), *range(1312, 70_000)}}
    if not any(wire_bytes in sizes for sizes in kinds.values()):
        return 0
    if any(data[1:4]):
        return 0
    if len(data) < 16:
        return -1
    kind = data[0]
    if wire_bytes not in kinds.get(kind, ()) or data[4:8] == bytes(4):
        return 0
    if kind == 4 and int.from_bytes(data[8:16], "little") >= 2**48:
        return 0
    first, end = {1: (8, 132), 2: (12, 76), 3: (8, 64), 4: (16, 32)}[kind]
    secret = data[first:end]
    return kind if len(secret) < 8 or looks_random(secret) else 0


def openvpn(data: bytes, wire_bytes: int) -> int:
    # Opcode and key; session id; ack count and ids with the peer's session id; packet id; tag
    least = {
        3: 1 + 8 + 1 + 4,
        4: 1 + 8 + 1 + 4,
        5: 1 + 8 + 1 + 4 + 8,
        6: 1 + 4 + 16 + 1,
        7: 1 + 8 + 1 + 4,
        8: 1 + 8 + 1 + 4 + 8 + 4,
        9: 4 + 4 + 16 + 1,
        10: 54 + 290,
        11: 54,
    }
    if wire_bytes < 14:
        return 0
    if not data:
        return -1
    opcode, key_id = divmod(data[0], 8)
    if opcode not in least or wire_bytes < least[opcode]:
        return 0
    if opcode in (7, 8, 10, 11) and key_id != 0:
        return 0
    if len(data) < 9:
        return -1
    if opcode in (6, 9) or looks_random(data[1:9]):
        return opcode
    return 0


def ike(data: bytes, wire_bytes: int) -> int:
    if wire_bytes < 28:
        return 0
    if len(data) < 20:
        return -1
    following, version, exchange, flags = data[16:20]
    if version == 0x10:
        exchanges, payloads, allowed = {1, 2, 3, 4, 5, 6, 32, 33}, range(22), 0b111
    elif version == 0x20:
        exchanges, payloads, allowed = set(range(34, 45)), [0, *range(33, 55)], 0b111000
    else:
        return 0
    if exchange not in exchanges or flags & ~allowed or data[:8] == bytes(8):
        return 0
    if following not in payloads and following < 128:
        return 0
    if len(data) < 28:
        return -1
    if int.from_bytes(data[24:28]) != wire_bytes or (following == 0) != (wire_bytes == 28):
        return 0
    readable = version == 0x20 or not flags & 1
    if following and readable and len(data) >= 32:
        size = int.from_bytes(data[30:32])
        if not 4 <= size <= wire_bytes - 28:
            return 0
    return version >> 4


def esp(data: bytes, wire_bytes: int) -> int:
    if not data:
        return -1
    if wire_bytes == 1:
        return 3 if data == b"\xff" else 0
    if wire_bytes < 32:
        return 0
    if len(data) < 8:
        return -1
    spi, sequence = int.from_bytes(data[:4]), int.from_bytes(data[4:8])
    if spi == 0:
        return 2
    return 1 if spi >= 256 and wire_bytes % 4 == 0 and sequence > 0 else 0


Message = tuple[bytes, int]  # what was captured, and bytes on the wire


def _loaded(side: list[Message]) -> list[Message]:
    return [message for message in side if message[1] > 0]


def headless(sides: list[list[Message]]) -> int:
    """Return 1 for UDP whose messages are all random; 8 and 16 more where their sizes leave one rest."""
    loaded = [_loaded(side) for side in sides]
    if min(map(len, loaded)) < 4 or any(len(data) < 16 for side in loaded for data, _ in side):
        return 0
    first = [next(data for data, _ in side if data) for side in sides]
    if any(len(data) < 18 for data in first):
        return 0
    if not all(looks_random(data[:34]) for side in loaded for data, _ in side):
        return 0
    if not all(looks_random(data[:16]) for data in first):
        return 0
    for side in loaded:
        if any(len({data[i] for data, _ in side}) == 1 for i in range(16)):
            return 0
    sizes = [size for side in loaded for _, size in side]
    return 1 + sum(block for block in (8, 16) if len({size % block for size in sizes}) == 1)


def headless_streams(sides: list[list[Message]], streams: list[bytes]) -> int:
    """Return 1 for TCP of which both streams begin with a length and random bytes, else 0."""
    several = all(len(_loaded(side)) >= 2 for side in sides)
    begun = all(len(stream) >= 18 and stream[0] <= 5 for stream in streams)
    return int(several and begun and all(looks_random(stream[2:18]) for stream in streams))


def chained(stream: bytes) -> bool:
    """Tell whether a header of OpenVPN's data v2 leads by its length to one that is the same."""
    for at in range(len(stream) - 3):
        size = int.from_bytes(stream[at : at + 2])
        header = stream[at + 2 : at + 6]
        after = at + 2 + size + 2
        ours = size < 2048 and 0x48 <= header[0] <= 0x4F and header[1] == 0
        if ours and after + 24 <= len(stream) and stream[after : after + 4] == header:
            return True
    return False


def exemption(data: bytes) -> int:
    """Return the number of the first exemption of Wu et al. that holds, 0 for none."""
    ones = sum(byte.bit_count() for byte in data) / len(data)
    printable = [0x20 <= byte <= 0x7E for byte in data]
    longest = max(map(len, "".join("x" if p else " " for p in printable).split()), default=0)
    padded = data.ljust(3, b"\0")
    known = padded[0] in (0x16, 0x17) and padded[1] == 3 and padded[2] <= 9
    rules = (
        ones <= 3.4 or ones >= 4.6,
        len(data) >= 6 and all(printable[:6]),
        2 * sum(printable) > len(data),
        longest > 20,
        known or data.startswith((b"GET ", b"PUT ", b"POST ", b"HEAD ")),
    )
    return next((number for number, holds in enumerate(rules, 1) if holds), 0)

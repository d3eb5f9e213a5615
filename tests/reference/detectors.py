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

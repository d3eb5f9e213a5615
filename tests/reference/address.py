"""Addresses as text, written from RFC 5952 on plain integers."""


def ipv4_text(address: int) -> str:
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def ipv6_text(address: int) -> str:
    octets = address.to_bytes(16, "big")
    if octets[:12] == bytes(10) + b"\xff\xff":  # section 5: a well-known prefix with IPv4 inside
        return "::ffff:" + ipv4_text(int.from_bytes(octets[12:], "big"))
    groups = [int.from_bytes(octets[k : k + 2], "big") for k in range(0, 16, 2)]
    texts = [format(group, "x") for group in groups]  # 4.1 and 4.3
    for size in range(8, 1, -1):  # 4.2.1 and 4.2.2: as many as possible, never a single one
        for start in range(9 - size):  # 4.2.3: the first of equals
            if not any(groups[start : start + size]):
                left, right = texts[:start], texts[start + size :]
                return ":".join(left) + "::" + ":".join(right)
    return ":".join(texts)

"""Community ID, version 1, from the specification, with hashlib and bytes."""

import base64
import hashlib

ASKS_AND_ANSWERS = {
    1: [(8, 0), (13, 14), (15, 16), (17, 18), (10, 9)],
    58: [(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)],
}


def community_id(
    source: bytes, target: bytes, proto: int, sport: int = 0, dport: int = 0, icmp: int = 0
) -> str:
    ports: tuple[int, int] | None = None
    ordered = True
    if proto in (6, 17, 132):
        ports = (sport, dport)
    elif proto in (1, 58):
        kind, code = icmp >> 8, icmp & 255
        other = dict(ASKS_AND_ANSWERS[proto])
        other |= {answer: ask for ask, answer in ASKS_AND_ANSWERS[proto]}
        ordered = kind in other
        ports = (kind, other.get(kind, code))
    ends = [(source, ports[0] if ports else 0), (target, ports[1] if ports else 0)]
    if ordered:
        ends.sort()
    message = b"\0\0" + ends[0][0] + ends[1][0] + bytes([proto, 0])
    if ports:
        message += ends[0][1].to_bytes(2, "big") + ends[1][1].to_bytes(2, "big")
    return "1:" + base64.b64encode(hashlib.sha1(message).digest()).decode()

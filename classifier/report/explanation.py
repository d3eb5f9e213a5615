"""Why a flow got its verdict, from capture, packet and detector to register and rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from classifier.report._layout import grouped, safe_text, time_text
from classifier.report.html_repr import pre_html

if TYPE_CHECKING:
    from classifier.policy import Policy

__all__ = ["Explanation"]

_NEAR_MISSES = {
    "expired": "an entry covers an endpoint, but had expired",
    "not_yet": "an entry covers an endpoint, but was not yet valid",
    "wrong_side": "an entry covers an endpoint, but as the other side",
    "wrong_scope": "an entry covers an endpoint, but for another protocol or port",
    "not_active": "an entry covers an endpoint, but is not active",
}

# Payload bytes of a packet that are shown.
_DUMPED_BYTES = 64


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known about one flow; its ``str`` is the text that ``explain`` prints.

    Attributes
    ----------
    row : mapping
        The flow's row, by column.
    packets : sequence of mappings
        The packets that evidence names: ``frame``, ``capture``, ``ts_ns``, ``direction``,
        ``ip_bytes``, ``payload_bytes`` and ``payload``.
    policy : Policy, optional
        The policy that judged it, to show the rule's condition.
    entries : sequence of str
        Registrations around its endpoints that did not apply, and why.
    """

    row: Mapping[str, Any]
    packets: Sequence[Mapping[str, Any]] = field(default=())
    policy: "Policy | None" = None
    entries: Sequence[str] = field(default=())

    def __str__(self) -> str:
        """Return the explanation as text, safe for a terminal."""
        parts = [
            ("flow", _flow_lines(self.row)),
            ("identification", _identification_lines(self.row)),
            ("evidence", _evidence_lines(self.row)),
            ("registration", [*_registration_lines(self.row), *self.entries]),
            ("verdict", self._verdict_lines()),
            ("packets behind it", self._packet_lines()),
        ]
        blocks = [
            "\n".join([title, *(f"  {safe_text(line, 500)}" for line in lines)])
            for title, lines in parts
            if lines
        ]
        return "\n".join(blocks) + "\n"

    def _repr_html_(self) -> str:
        return pre_html(str(self))

    def _packet_lines(self) -> list[str]:
        if self.row["evidence"] and not self.packets:
            return ["not at hand: streams, and captures of a written run, are not read again"]
        return _packet_lines(self.packets)

    def _verdict_lines(self) -> list[str]:
        name = self.row["rule"]
        lines = [f"{self.row['verdict']}, by rule '{name}'"]
        if self.policy is None:
            return lines
        for rule in self.policy.rules:
            if rule.name == name:
                return [*lines, f"{self.policy.path}:{rule.line}: when {rule.when}"]
        return [f"{self.row['verdict']}: no rule of policy '{self.policy.name}' applies"]


def _end(row: Mapping[str, Any], side: str) -> str:
    port = row[f"{side}_port"]
    return f"{row[f'{side}_ip']} port {port}" if port else str(row[f"{side}_ip"])


def _amount(row: Mapping[str, Any], side: str) -> str:
    return f"{grouped(row[f'{side}_packets'])} packets ({grouped(row[f'{side}_bytes'])} bytes)"


def _flow_lines(row: Mapping[str, Any]) -> list[str]:
    seconds = (row["last_ns"] - row["first_ns"]) / 1e9
    lines = [
        f"number {row['flow_id']}, Community ID {row['community_id']}, in {row['capture']}",
        f"{row['proto']} from {_end(row, 'orig')} to {_end(row, 'resp')}",
        f"{time_text(row['first_ns'])} to {time_text(row['last_ns'])} ({seconds:.6f} s)",
        f"{_amount(row, 'orig')} sent, {_amount(row, 'resp')} answered",
        f"its beginning is {'' if row['start_seen'] else 'not '}in the capture",
    ]
    if row["parent_flow_id"] >= 0:
        lines.append(f"continues flow {row['parent_flow_id']} after a timeout")
    if row["vlan"]:
        lines.append("VLAN " + ", ".join(map(str, row["vlan"])))
    if row["encapsulation"]:
        lines.append(f"inside {row['encapsulation']}")
    if row["server_name"]:
        lines.append(f"server name {row['server_name']}")
    if row["ja4"]:
        lines.append(f"JA4 {row['ja4']}")
    return lines


def _identification_lines(row: Mapping[str, Any]) -> list[str]:
    call = "VPN" if row["is_vpn"] else "not called a VPN"
    name = ", ".join(filter(None, (row["family"] or "no family named", row["kind"])))
    lines = [
        f"{call}, probability {row['vpn_probability']:.6f}; {name}",
        f"application {row['application']}, service {row['service']}",
    ]
    if row["method"]:
        sure = f", strongest evidence {row['strength']}" if row["strength"] else ""
        lines.append(f"by {row['method']}{sure}")
    if row["decided_packet"]:
        lines.append(
            f"reached at packet {row['decided_packet']} of the flow, "
            f"{time_text(row['decided_ns'])}, after {grouped(row['bytes_before'])} bytes"
        )
    return lines


def _evidence_lines(row: Mapping[str, Any]) -> list[str]:
    if not row["evidence"]:
        return ["none"]
    return [
        f"{e['strength']}: {e['detector']}, packet {e['packet']}: {e['detail']}"
        for e in row["evidence"]
    ]


def _registration_lines(row: Mapping[str, Any]) -> list[str]:
    if row["registered"]:
        entry = f"{row['registration_id']}, {row['organisation']} ({row['category']})"
        return [f"{entry}, matched on the {row['matched_side']} side"]
    near = row["near_miss"]
    return [f"none; {_NEAR_MISSES.get(near, near)} ({near})" if near else "none"]


def _packet_lines(packets: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for packet in packets:
        sender = "originator" if packet["direction"] == "orig" else "responder"
        lines.append(
            f"packet {packet['frame']} of {packet['capture']}, {time_text(packet['ts_ns'])}, "
            f"from the {sender}, {packet['ip_bytes']} bytes, "
            f"{packet['payload_bytes']} of payload"
        )
        lines += _dump(packet.get("payload", b""))
    return lines


def _dump(payload: bytes) -> list[str]:
    """Return the first bytes in hexadecimal and ASCII, as tcpdump -X shows them."""
    lines = []
    for at in range(0, min(len(payload), _DUMPED_BYTES), 16):
        piece = payload[at : min(at + 16, _DUMPED_BYTES)]
        ascii_text = "".join(chr(b) if 32 <= b < 127 else "." for b in piece)
        lines.append(f"  {at:04x}  {piece.hex(' '):<47}  {ascii_text}")
    if len(payload) > _DUMPED_BYTES:
        lines.append(f"  ... {len(payload) - _DUMPED_BYTES} more bytes captured")
    return lines

"""Opens the packets that evidence names in tshark, and prints where the two disagree.

    python benchmarks/check_evidence.py CAPTURE|FOLDER... [--all]

Each capture is classified by the detectors alone. Of every piece of evidence the packets that its
words name must be in the capture, belong to the flow, and carry a payload; where the words say
*both*, *answer* or *then*, the first and the last are of different directions. What the words say is
then asked of tshark's dissector of that protocol, made to read the flow's port (``-d``): message
types, indexes, session ids, SPIs, networks, codes. Where tshark 4.0 has no dissector (tinc, n2n,
Nebula, fastd, ZeroTier, Tailscale, VTun, KCP, Yggdrasil) the fixed bytes of the messages are compared.

One line is printed for each disagreement, and a table of how much was checked and how. The exit code
is 1 where there was any. ``--all`` prints a line for each piece of evidence.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import classifier
from classifier.errors import ClassifierError

ADDRESSES = ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst")
PORTS = ("tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport")
PAYLOADS = ("tcp.payload", "udp.payload")
FIELDS = (
    *("frame.number", "frame.protocols", "tcp.len", "udp.length", *ADDRESSES, *PORTS, *PAYLOADS),
    *("wg.type", "wg.sender", "wg.receiver", "openvpn.opcode", "openvpn.sessionid"),
    *("openvpn.rsessionid", "isakmp.ispi", "isakmp.version", "esp.spi", "ah.spi", "gre.proto"),
    *("gre.flags_and_version", "l2tp.type", "pptp.magic_cookie", "socks.version"),
    *("http.request.method", "http.response.code", "dns.qry.name", "dns.flags.response"),
    *("vxlan.vni", "geneve.vni", "gtp.teid", "icmp.type", "dtls.handshake.type"),
    *("tls.record.content_type", "tls.app_data"),
)
FRAMES_PER_CALL = 1000
SEPARATOR, AGGREGATOR = "\t", ";"


class Frame(NamedTuple):
    """What tshark says of one packet."""

    fields: Mapping[str, list[str]]

    def all(self, name: str) -> list[str]:
        """Return all values of a field, none where it is absent."""
        return self.fields.get(name, [])

    def one(self, name: str) -> str:
        """Return the first value of a field, empty where it is absent."""
        return next(iter(self.all(name)), "")

    def number(self, name: str) -> int:
        """Return the first value as a number, -1 where it is absent."""
        value = self.one(name)
        return int(value, 0) if value else -1

    @property
    def payload(self) -> bytes:
        """The bytes behind the transport header."""
        return bytes.fromhex(next((self.one(name) for name in PAYLOADS if self.one(name)), ""))

    def ends(self) -> Iterator[tuple[str, int, str, int]]:
        """Yield source, its port, destination and its port of each IP header, outermost first."""
        ports = [[int(v) for name in PORTS[at::2] for v in self.all(name)] for at in (0, 1)]
        for version in ("ip", "ipv6"):
            pairs = zip(self.all(f"{version}.src"), self.all(f"{version}.dst"), strict=False)
            for source, destination in pairs:
                yield source, 0, destination, 0
                for a, b in zip(*ports, strict=False):
                    yield source, a, destination, b


class Claim(NamedTuple):
    """One piece of evidence and the flow it is of."""

    flow: Mapping[str, object]
    detector: str
    strength: str
    detail: str
    frames: list[int]

    def direction(self, frame: Frame) -> int:
        """Return 0 or 1 where a packet is of the flow, -1 where it is not."""
        one = tuple(self.flow[name] for name in ("orig_ip", "orig_port", "resp_ip", "resp_port"))
        for source, a, destination, b in frame.ends():
            if (source, a, destination, b) == one:
                return 0
            if (destination, b, source, a) == one:
                return 1
        return -1


Test = Callable[[Frame, Frame, re.Match[str]], bool]


class Check(NamedTuple):
    """How the words of some evidence are checked on its first and last packet."""

    detector: str
    words: str  # regular expression; its groups are the values that the words quote
    dissectors: str  # one of which tshark must use for the flow's port; empty for its own choice
    holds: Test


def begins(*texts: bytes, skip: int = 0) -> Test:
    """Check that both packets begin with one of some byte strings."""
    return lambda a, b, _: all(f.payload[skip:].startswith(texts) for f in (a, b))


def has(name: str, *values: str) -> Test:
    """Check that both packets have a field, with one of the values if any are given."""
    return lambda a, b, _: all(
        (set(f.all(name)) & set(values)) if values else f.all(name) for f in (a, b)
    )


def quoted(name: str) -> Test:
    """Check that a field of the last packet is the number that the words quote."""
    return lambda _, b, words: int(words[1], 0) in [int(v, 0) for v in b.all(name)]


def _acknowledged(a: Frame, b: Frame, _: re.Match[str]) -> bool:
    """Check by the dissector, or by the bytes where it takes an HMAC for another length."""
    for one, other in ((a, b), (b, a)):
        for session in one.all("openvpn.sessionid"):
            if session in other.all("openvpn.rsessionid"):
                return True
            if int(session, 0).to_bytes(8, "big") in other.payload[9:]:
                return bool(other.all("openvpn.opcode"))
        # Behind a proxy's greeting nothing is dissected: length, opcode, session id over TCP
        if not one.all("openvpn.opcode") and one.payload[3:11] in other.payload[11:]:
            return len(one.payload) > 10
    return False


def _same_spi(a: Frame, b: Frame, words: re.Match[str]) -> bool:
    """Check by the dissector, or over TCP, whose prefix it does not know, by the bytes."""
    if not a.one("isakmp.ispi"):
        first = a.payload.removeprefix(b"IKETCP")
        return first[6:14] == b.payload[6:14] and first[23] >> 4 == int(words[1])
    same = a.one("isakmp.ispi") == b.one("isakmp.ispi")
    return same and b.number("isakmp.version") >> 4 == int(words[1])


def _same_index(a: Frame, b: Frame, _: re.Match[str]) -> bool:
    return a.one("wg.sender") == b.one("wg.receiver") != ""


def _types(first: str, last: str) -> Test:
    return lambda a, b, _: a.one("wg.type") in first and b.one("wg.type") in last


def _and(*tests: Test) -> Test:
    return lambda a, b, words: all(test(a, b, words) for test in tests)


def _dnscat(a: Frame, b: Frame, words: re.Match[str]) -> bool:
    session = f"{int(words[1], 0):04x}"
    return all(
        re.match(rf"(dnscat\.)?[0-9a-f]{{4}}..{session}", f.one("dns.qry.name").lower())
        for f in (a, b)
    )


def _mirrored(a: Frame, b: Frame, _: re.Match[str]) -> bool:
    one, other = a.payload, b.payload
    return one[8:13] == other[13:18] and one[13:18] == other[8:13]


def _teredo(a: Frame, _b: Frame, _: re.Match[str]) -> bool:
    inner = a.all("ipv6.src") + a.all("ipv6.dst")
    return any(address.startswith(("2001:0:", "2001::", "fe80::")) for address in inner)


def _nebula(a: Frame, b: Frame, _: re.Match[str]) -> bool:
    return all(f.payload[0] >> 4 == 1 and f.payload[2:4] == b"\0\0" for f in (a, b))


def _kcp(a: Frame, b: Frame, words: re.Match[str]) -> bool:
    conversation = int(words[1], 0).to_bytes(4, "little")
    return all(conversation in f.payload[:32] for f in (a, b))


def _http(a: Frame, b: Frame, words: re.Match[str]) -> bool:
    code = words.groupdict().get("code")
    # A request in two segments is dissected in the second
    asked = a.one("http.request.method") == "CONNECT" or a.payload.startswith(b"CONNECT ")
    return asked and (not code or code in b.all(CODE))


def _exchange(a: Frame, b: Frame, words: re.Match[str]) -> bool:
    asked = re.match(rb"(GET|POST|SSTP_DUPLEX_POST) /", a.payload)
    return bool(asked) and (words[0] == "request" or b.payload.startswith(b"HTTP/1."))


def _warp(a: Frame, b: Frame, words: re.Match[str]) -> bool:
    one, other = a.payload, b.payload
    if words[0] == "data":
        return one[0] == other[0] == 4 and one[1:4] != bytes(3) != other[1:4]
    return (one[0], other[0]) == (1, 2) and one[4:8] == other[8:12]


def _carries_ip(a: Frame, b: Frame, _: re.Match[str]) -> bool:
    return all(len(f.all("ip.src") + f.all("ipv6.src")) > 1 for f in (a, b))


def _mostly(values: str) -> Test:
    return lambda a, b, _: all(f.one("openvpn.opcode") in values.split() for f in (a, b))


CODE = "http.response.code"
WORDS_OF_BOTH = re.compile(r"\b(both|answer|answered|then|from each|reply|returned)\b")
# Nothing of the other side, or first and last of a run
WORDS_OF_FEW = re.compile(
    r"no answer|not answered|otherwise|one side|one way|not seen|\b\d+ |, \d+ "
)
CONTROL, DATA = "0x03 0x04 0x05 0x07 0x08 0x0a 0x0b 3 4 5 7 8 10 11", "0x06 0x09 6 9"

CHECKS = (
    Check("wireguard", "initiation then response", "wg", _and(_types("1", "2"), _same_index)),
    Check("wireguard", "then cookie reply", "wg", _and(_types("12", "3"), _same_index)),
    Check("wireguard", "then data to the index", "wg", _and(_types("12", "4"), _same_index)),
    Check("wireguard", "data", "wg", _types("4", "4")),
    Check("wireguard", "handshake initiation of 148", "wg", _types("1", "1")),
    Check("wireguard", "handshake response of 92", "wg", _types("2", "2")),
    Check("openvpn", "session id of one side acknowledged", "openvpn", _acknowledged),
    Check("openvpn", "control messages|client reset", "openvpn", _mostly(CONTROL)),
    Check("openvpn", "data messages one behind the other", "", has("tcp.len")),
    Check("openvpn", "data messages", "openvpn", _mostly(DATA)),
    Check("ike", r"IKEv(\d) message", "isakmp udpencap tcpencap", _same_spi),
    Check("ike", "IKETCP", "", begins(b"IKETCP")),
    Check("ipsec-esp", r"SPI (0x\w+)", "", quoted("esp.spi")),
    Check("ipsec-esp", "ESP packets from both", "", has("esp.spi")),
    Check("ipsec-esp", "ESP inside UDP", "udpencap", has("esp.spi")),
    Check("ipsec-ah", r"SPI (0x\w+)", "", quoted("ah.spi")),
    Check("ipsec-ah", "AH packets from both", "", has("ah.spi")),
    Check("gre", r"GRE version 1", "", lambda a, b, _: all(
        f.number("gre.flags_and_version") & 7 == 1 and f.number("gre.proto") == 0x880B
        for f in (a, b))),
    Check("gre", r"type (0x\w+)", "", quoted("gre.proto")),
    Check("l2tp", "control", "l2tp", has("l2tp.type", "1", "True")),
    Check("l2tp", "data", "l2tp", has("l2tp.type", "0", "False")),
    Check("pptp", "control", "pptp", has("pptp.magic_cookie", "0x1a2b3c4d")),
    Check("socks", "datagrams", "", begins(bytes(2))),
    Check("socks", r"SOCKS (\d) ", "socks", lambda a, b, w: all(
        f.payload[0] in (int(w[1]), 0, 1) for f in (a, b)) and a.one("socks.version") in (
        "", w[1])),
    Check("http-connect", r"CONNECT request and its answer (?P<code>\d+)", "http", _http),
    Check("http-connect", r"CONNECT request", "http", _http),
    Check("dns-tunnel", r"dnscat2 session (0x\w+)", "dns", _dnscat),
    Check("dns-tunnel", "version|control label|names of one zone", "dns", has("dns.qry.name")),
    Check("dns-tunnel", "under the zone", "dns", has("dns.qry.name")),
    Check("dns-tunnel", "own datagrams", "", begins(b"\x10\xd1\x9e")),
    Check("udp-encapsulation", r"VXLAN header of network (\d+)", "vxlan", quoted("vxlan.vni")),
    Check("udp-encapsulation", r"GENEVE header of network (\d+)", "geneve", quoted("geneve.vni")),
    Check("udp-encapsulation", r"GTP-U header of tunnel (0x\w+)", "gtp", quoted("gtp.teid")),
    Check("udp-encapsulation", "Teredo", "teredo", _teredo),
    Check("icmp-tunnel", "", "", has("icmp.type", "8", "0")),
    Check("anyconnect", "DTLS hello|DTLS of the version", "dtls", has("dtls.handshake.type")),
    Check("tor|tls-in-tls", "", "tls", lambda a, b, _: b"\x17\x03" in b.payload or bool(
        b.all("tls.record.content_type") or b.payload)),
    Check("ssh-tunnel", r"login (\d+) bytes", "ssh", quoted("tcp.len")),
    Check("tailscale", "", "", begins(b"TS\xf0\x9f\x92\xac")),
    Check("tinc", "first line", "", begins(b"0 ")),
    Check("n2n", "", "", begins(b"\x01", b"\x02", b"\x03")),
    Check("nebula", "", "", _nebula),
    Check("fastd", "handshake", "", begins(b"\x01\x00", b"\xc8\x03")),
    Check("zerotier", "exchanged|both ways", "", _mirrored),
    Check("vtun", "greet", "", begins(b"VTUN server ver ", b"HOST: ", b"HOS2: ")),
    Check("yggdrasil", "", "", begins(b"meta")),
    Check("softether", "random datagrams", "", has("udp.length")),
    Check("softether", "TLS to a server", "tls", lambda a, b, _: bool(
        b.all("tls.record.content_type") or b.payload)),  # a record's later segment has no type
    Check("softether", "over DNS", "dns", has("dns.qry.name")),
    Check("softether", "PACK|where it is", "", has("udp.length")),
    Check("fortinet|globalprotect|pulse|softether|sstp", "its answer|request", "", _exchange),
    Check("warp", "data|returned", "", _warp),
    Check("ip-in-ip", "valid", "", _carries_ip),
    Check("kcptun", r"conversation (0x\w+)", "", _kcp),
)  # fmt: skip
TRANSPORTS = ("tcp", "udp")


def claims_of(capture: str) -> list[Claim]:
    """Classify a capture and return its evidence."""
    table = classifier.classify(capture, model=None, progress=False).table
    found = []
    for row in table.to_pylist():
        for item in row["evidence"]:
            words = re.findall(r"packets? (\d+)(?: and (\d+))?", item["detail"])
            frames = [int(number) for pair in words for number in pair if number]
            found.append(Claim(row, item["detector"], item["strength"], item["detail"], frames))
    return found


def check_for(claim: Claim) -> tuple[Check, re.Match[str]] | None:
    """Return the first check for the words of a piece of evidence."""
    for check in CHECKS:
        if re.fullmatch(check.detector, claim.detector):
            words = re.search(check.words, claim.detail)
            if words:
                return check, words
    return None


def ask(capture: str, frames: Sequence[int], decode: Sequence[str]) -> dict[int, Frame]:
    """Return what tshark says of some packets, with ``decode`` as its ``-d`` options."""
    seen = {}
    for start in range(0, len(frames), FRAMES_PER_CALL):
        numbers = ",".join(map(str, frames[start : start + FRAMES_PER_CALL]))
        argv = ["tshark", "-n", "-r", capture, "-Y", f"frame.number in {{{numbers}}}"]
        argv += [word for one in decode for word in ("-d", one)]
        argv += ["-T", "fields", "-E", f"aggregator={AGGREGATOR}", "-E", "occurrence=a"]
        argv += [word for name in FIELDS for word in ("-e", name)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            values = zip(FIELDS, line.split(SEPARATOR), strict=True)
            fields = {name: value.split(AGGREGATOR) for name, value in values if value}
            seen[int(fields["frame.number"][0])] = Frame(fields)
    return seen


def problem(claim: Claim, seen: Mapping[int, Frame], check: Check | None) -> str:
    """Return what is wrong with a piece of evidence, empty where nothing is."""
    if not claim.frames:
        return "names no packet"
    missing = [number for number in claim.frames if number not in seen]
    if missing:
        return f"tshark has no packet {missing[0]}"
    frames = [seen[number] for number in claim.frames]
    pair = "(packet " in claim.detail
    known = "known at packet" in claim.detail or "before it: packet" in claim.detail
    if pair or known:
        frames = frames[1:]  # the first one is of the other flow
    sides = [claim.direction(frame) for frame in frames]
    if -1 in sides:
        return f"packet {claim.frames[sides.index(-1)]} is of another flow"
    carried = claim.flow["proto"] in TRANSPORTS
    if carried and not known and not all(frame.payload for frame in frames):
        return "a packet that carries nothing"
    both = WORDS_OF_BOTH.search(claim.detail) and not WORDS_OF_FEW.search(claim.detail)
    if both and len(frames) > 1 and sides[0] == sides[-1]:
        return "both packets are of one direction"
    found = check_for(claim)
    if check is None or found is None:
        return ""
    return "" if check.holds(frames[0], frames[-1], found[1]) else "tshark reads something else"


def decode_as(claim: Claim, dissector: str) -> str:
    """Return the ``-d`` option that makes tshark read a flow by a dissector."""
    return f"{claim.flow['proto']}.port=={claim.flow['resp_port']},{dissector}"


def examine(capture: str) -> Iterator[tuple[Claim, Check | None, str]]:
    """Yield each piece of evidence of a capture, how it was checked and what is wrong."""
    claims = [
        (claim, found[0] if (found := check_for(claim)) else None) for claim in claims_of(capture)
    ]
    groups: dict[str, list[int]] = defaultdict(list)
    for at, (claim, check) in enumerate(claims):
        named = check is not None and claim.flow["proto"] in TRANSPORTS
        for dissector in (check.dissectors.split() if named and check else ()) or ("",):
            groups[dissector].append(at)
    wrong = [""] * len(claims)
    right: set[int] = set()
    for dissector, group in groups.items():
        decode = sorted({decode_as(claims[at][0], dissector) for at in group} if dissector else ())
        seen = ask(capture, sorted({n for at in group for n in claims[at][0].frames}), decode)
        for at in group:
            wrong[at] = problem(claims[at][0], seen, claims[at][1])
            right |= set() if wrong[at] else {at}
    for at, (claim, check) in enumerate(claims):
        yield claim, check, "" if at in right else wrong[at]


def captures_in(places: Sequence[str]) -> Iterator[str]:
    """Yield the captures that were named, or lie in a named folder."""
    for place in places:
        path = Path(place)
        inside = path.rglob("*.pcap*") if path.is_dir() else [path]
        yield from (str(one) for one in sorted(inside))


def main(argv: Sequence[str] | None = None) -> int:
    """Check captures; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("captures", nargs="+")
    parser.add_argument("--all", action="store_true", help="print every piece of evidence")
    options = parser.parse_args(argv)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for capture in captures_in(options.captures):
        try:
            for claim, check, wrong in examine(capture):
                how = "no rule" if check is None else "dissector" if check.dissectors else "fields"
                counts[f"{claim.detector}, {claim.strength}"][how] += 1
                if wrong:
                    counts[f"{claim.detector}, {claim.strength}"]["wrong"] += 1
                if wrong or options.all:
                    place = f"{Path(capture).name}: {claim.flow['flow_id']}"
                    print(f"{place}: {claim.detector}: {claim.detail}: {wrong or 'as said'}")
        except ClassifierError as error:
            print(error, file=sys.stderr)
    columns = ("dissector", "fields", "no rule", "wrong")
    print(f"\n| evidence | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in sorted(counts.items()):
        print(f"| {name} | {' | '.join(str(row[column]) for column in columns)} |")
    total = sum(row["wrong"] for row in counts.values())
    print(f"\n{sum(map(Counter.total, counts.values())) - total} pieces, {total} wrong")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())

"""The fields of a registration: their words, their codes, and how one text becomes a value.

These functions judge one field at a time and say what is wrong with it. ``_parse`` calls them once
per distinct text, so a register of a million rows with a thousand dates costs a thousand calls.
"""

import datetime
import ipaddress
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.tables import PROTOCOL_NAMES, protocol_number

__all__ = [
    "ACTIVE",
    "ALWAYS_KNOWN",
    "ANY",
    "COLUMN_NAMES",
    "DETAIL_NAMES",
    "FILE_DETAILS",
    "FLAGS",
    "FREE_TEXT",
    "OPEN_END",
    "ROW",
    "SIDES",
    "STATUSES",
    "BadField",
    "Prefix",
    "check_row",
    "has_ports",
    "parse_flags",
    "parse_port",
    "parse_prefix",
    "parse_proto",
    "parse_side",
    "parse_status",
    "parse_time",
    "shown",
    "time_text",
]

#: Columns of a register, in the order in which they are written.
COLUMN_NAMES = (
    "registration_id",
    "organisation",
    "category",
    "prefix",
    "side",
    "proto",
    "port",
    "valid_from",
    "valid_to",
    "status",
)

#: Columns that hold what applicants wrote.
FREE_TEXT = ("registration_id", "organisation", "category")

#: Columns that a register may have beside: what the window asks of an applicant.
FILE_DETAILS = ("contact", "purpose", "flags", "documents")

#: What a database keeps of a row beside `COLUMN_NAMES`. ``state`` is empty while the row is open,
#: else why it was closed: ``revoked``, ``amended`` (others took its place) or ``lapsed``.
DETAIL_NAMES = (*FILE_DETAILS, "state")

#: Words of ``flags``, in the order in which they are written.
FLAGS = ("dynamic", "cgnat", "shared_egress")

#: ``side`` -> bits: 1 client, 2 server.
SIDES = {"client": 1, "server": 2, "either": 3}

#: ``status`` -> code.
STATUSES = {"active": 0, "pending": 1, "rejected": 2, "revoked": 3, "expired": 4}
ACTIVE = 0

#: ``proto`` and ``port`` where a row names none.
ANY = -1

#: ``to_ns`` of a registration without an end.
OPEN_END = np.iinfo(np.int64).max

#: ``recorded_ns`` of a row without a recorded time: known at any time.
ALWAYS_KNOWN = -OPEN_END

#: A registration as numbers.
ROW = np.dtype(
    [
        ("hi", "u8"),  # IPv6: upper 64 bits of the prefix; IPv4: 0
        ("lo", "u8"),  # IPv6: lower 64 bits; IPv4: the address
        ("from_ns", "i8"),  # UTC nanoseconds since 1970, first valid
        ("to_ns", "i8"),  # first invalid; OPEN_END where there is no end
        ("recorded_ns", "i8"),  # ALWAYS_KNOWN where there is no recorded time
        ("entry", "i8"),  # versions of one registration row share this number
        ("port", "i4"),  # of the server, or ANY
        ("proto", "i2"),  # IP protocol number, or ANY
        ("version", "u1"),  # 4 or 6
        ("length", "u1"),  # of the prefix, bits
        ("side", "u1"),  # SIDES
        ("status", "u1"),  # STATUSES
    ],
    align=True,
)

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_DATE_SIZE = len("2021-03-01")
_DAY_NS = 86_400 * 10**9
_EPOCH_DAY = _EPOCH.toordinal()
_PROTO = re.compile(r"(?:[a-z][a-z0-9-]{0,30}|[0-9]{1,3})")
# RFC 9293, 768, 9260, 4340, 3828: the transports whose headers have ports.
_WITH_PORTS = frozenset({6, 17, 132, 33, 136})


class BadField(ValueError):
    """A field that cannot be read.

    Parameters
    ----------
    problem : str
        What is wrong.
    remedy : str
        What to write instead.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


class Prefix(NamedTuple):
    """An address prefix: version 4 or 6, upper and lower 64 bits, and its length in bits."""

    version: int
    hi: int
    lo: int
    length: int


def shown(text: str) -> str:
    """Return a text of strangers quoted, escaped and short enough for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def parse_prefix(text: str) -> Prefix:
    """Return the prefix that a text writes; an address is a prefix of full length.

    An IPv4-mapped IPv6 prefix (``::ffff:0:0/96`` and longer) is the IPv4 prefix that it maps.

    Raises
    ------
    BadField
        If it is no prefix, or has bits set behind its length.
    """
    text = text.strip()
    address_text, slash, length_text = text.partition("/")
    if not text:
        raise BadField("the prefix is empty", "write it like 203.0.113.64/28 or 2001:db8::/32")
    try:
        if "%" in address_text:
            raise ValueError("scoped")
        address = ipaddress.ip_address(address_text)
    except ValueError:
        raise BadField(
            f"{shown(text)} is not a prefix", "write it like 203.0.113.64/28 or 2001:db8::/32"
        ) from None
    bits: int = address.max_prefixlen
    length = bits
    if slash:
        digits = length_text.isascii() and length_text.isdigit() and len(length_text) < 9
        if not digits or int(length_text) > bits:
            raise BadField(
                f"{shown(text)} is not a prefix", f"lengths end at {bits} for IPv{address.version}"
            )
        length = int(length_text)
    value = int(address)
    base = value >> (bits - length) << (bits - length)
    if base != value:
        network = f"{type(address)(base)}/{length}"
        raise BadField(
            f"{shown(text)} has bits set behind its length",
            f"write '{network}' for the network or '{address}/{bits}' for the address",
        )
    if bits == 128 and value >> 32 == 0xFFFF and length >= 96:
        return Prefix(4, 0, value & 0xFFFFFFFF, length - 96)
    return Prefix(address.version, value >> 64, value & 0xFFFFFFFFFFFFFFFF, length)


def _word(text: str, what: str, codes: dict[str, int]) -> int:
    try:
        return codes[text.strip()]
    except KeyError:
        *most, last = codes
        raise BadField(
            f"{shown(text)} is not a {what}", f"write {', '.join(most)} or {last}"
        ) from None


def parse_side(text: str) -> int:
    """Return the code of a side, or raise `BadField`."""
    return _word(text, "side", SIDES)


def parse_status(text: str) -> int:
    """Return the code of a status, or raise `BadField`."""
    return _word(text, "status", STATUSES)


def parse_proto(text: str) -> int:
    """Return the number of a protocol given by name or number, `ANY` for ``any``."""
    folded = text.strip().lower()
    if folded == "any":
        return ANY
    try:
        if not _PROTO.fullmatch(folded):
            raise ValueError(folded)
        return protocol_number(folded)
    except ValueError:
        raise BadField(
            f"{shown(text)} is not a protocol", "write any, tcp, udp, esp ... or a number up to 255"
        ) from None


def parse_port(text: str) -> int:
    """Return a port number, `ANY` for ``any``."""
    text = text.strip()
    if text.lower() == "any":
        return ANY
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= 65535):
        raise BadField(f"{shown(text)} is not a port", "write any or a number from 1 to 65535")
    return int(text)


def parse_flags(text: str) -> int:
    """Return flags, written with spaces between, as bits in the order of `FLAGS`."""
    bits = 0
    for word in text.split():
        if word not in FLAGS:
            raise BadField(f"{shown(word)} is not a flag", f"write {', '.join(FLAGS)}, or nothing")
        bits |= 1 << FLAGS.index(word)
    return bits


def parse_time(text: str) -> int:
    """Return a date or time as UTC nanoseconds since 1970; without a zone it is UTC.

    Times that int64 nanoseconds cannot hold (before 1677, after 2262) become the nearest that they
    can, so that ``9999-12-31`` means no end. Fractions are read to the microsecond.
    """
    text = text.strip()
    try:
        if len(text) == _DATE_SIZE and text[4] == text[7] == "-":  # a third of the time
            days = datetime.date.fromisoformat(text).toordinal() - _EPOCH_DAY
            return min(max(days * _DAY_NS, -OPEN_END), OPEN_END)
        time = datetime.datetime.fromisoformat(text)
        if time.tzinfo is None:
            time = time.replace(tzinfo=datetime.UTC)
        ns = (time - _EPOCH) // _MICROSECOND * 1000
    except (ValueError, OverflowError):
        raise BadField(
            f"{shown(text)} is not a date", "write ISO 8601 like 2021-03-01 or 2021-03-01T09:30Z"
        ) from None
    return min(max(ns, -OPEN_END), OPEN_END)


def time_text(ns: int) -> str:
    """Return a time as a register writes it: a date where it is midnight, UTC; empty for no end."""
    if ns == OPEN_END:
        return ""
    time = _EPOCH + datetime.timedelta(microseconds=ns // 1000)
    if time.time() == datetime.time():
        return time.date().isoformat()
    return time.replace(tzinfo=None).isoformat() + "Z"


def check_row(port: int, proto: int, from_ns: int, to_ns: int, times: tuple[str, str]) -> None:
    """Raise `BadField` where fields that are right alone contradict each other."""
    if port != ANY and proto != ANY and proto not in _WITH_PORTS:
        name = PROTOCOL_NAMES.get(proto, f"protocol {proto}")
        raise BadField(f"port {port} is given but {name} has no ports", "write any as port")
    if to_ns <= from_ns:
        raise BadField(
            f"valid_to {shown(times[1])} is not after valid_from {shown(times[0])}",
            "valid_to is the first day that is no longer valid; leave it empty for no end",
        )


def has_ports(proto: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return which protocols may stand beside a port: those with ports, and any."""
    return np.isin(proto, [ANY, *_WITH_PORTS])

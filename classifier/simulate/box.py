"""The box: cores, service times, buffer and link, and the token bucket of a throttle."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.errors import ClassifierError, must_be

__all__ = ["Box", "ServiceTime", "Throttle", "parse_rate", "parse_service"]

_TIME_UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
_RATE_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"

#: The most times that a file of service times may hold.
_MOST_TIMES = 10_000_000


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """How long a core needs for a packet.

    Attributes
    ----------
    kind : str
        ``constant``, ``exponential`` (mean ``packet_ns``), ``empirical`` (drawn from ``times_ns``)
        or ``measured`` (constant, measured from this library on this machine).
    packet_ns : float
        Nanoseconds per packet: constant or mean.
    flow_ns : float
        Nanoseconds more for the first packet of a flow.
    times_ns : ndarray of float64, shape (n,)
        What ``empirical`` draws from, with replacement.
    """

    kind: str = "constant"
    packet_ns: float = 1500.0
    flow_ns: float = 0.0
    times_ns: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be a time."""
        if not 0 <= self.packet_ns < 1e18 or not 0 <= self.flow_ns < 1e18:
            raise ClassifierError(
                f"service time {self.packet_ns} ns and {self.flow_ns} ns per flow",
                remedy="give times from 0 up",
            )

    @property
    def mean_ns(self) -> float:
        """Mean nanoseconds per packet, without what a flow costs."""
        return float(self.times_ns.mean()) if self.kind == "empirical" else self.packet_ns

    def draw(self, n: int, seed: int) -> NDArray[np.float64]:
        """Return the times of ``n`` packets; the same for the same seed.

        Returns
        -------
        ndarray of float64, shape (n,), ns
        """
        rng = np.random.default_rng(seed)
        if self.kind == "exponential":
            return rng.exponential(self.packet_ns, n)
        if self.kind == "empirical":
            return rng.choice(self.times_ns, n)
        return np.full(n, self.packet_ns)

    def __str__(self) -> str:
        """Return it in a few words."""
        text = f"{self.kind}, {self.mean_ns:,.0f} ns per packet"
        return text + (f" and {self.flow_ns:,.0f} ns per flow" if self.flow_ns else "")


@dataclass(frozen=True, slots=True)
class Throttle:
    """A token bucket that holds packets back until it has tokens for them.

    Attributes
    ----------
    rate_bps : float
        Bits of IP packets per second.
    burst_bytes : int
        Depth of the bucket.
    per : str
        One bucket for each ``flow``, each client ``address``, or each ``class`` of use.
    most_ms : float
        A packet that would wait longer is dropped.
    """

    rate_bps: float
    burst_bytes: int = 15_000
    per: str = "flow"
    most_ms: float = 500.0

    def __post_init__(self) -> None:
        """Refuse what cannot be a bucket."""
        for name in ("rate_bps", "burst_bytes", "most_ms"):
            must_be(name, getattr(self, name), (int, float, np.number), "a number", "throttle")
        if self.per not in ("flow", "address", "class"):
            raise ClassifierError(
                f"a throttle per {self.per!r}", remedy="give flow, address or class"
            )
        if not self.rate_bps > 0 or self.burst_bytes < 1 or not self.most_ms >= 0:
            raise ClassifierError(
                f"a throttle of {self.rate_bps} bit/s with a burst of {self.burst_bytes} bytes",
                remedy="give a rate and a burst above 0",
            )


@dataclass(frozen=True, slots=True)
class Box:
    """The inspecting device and the link behind it.

    Attributes
    ----------
    cores : int
    service : ServiceTime
    link_bps : float, optional
        Bits of IP packets per second that leave the box; None does not limit them.
    buffer : int, optional
        Packets that may wait, for each core and for the link; None sets no limit.
    dispatch : str
        ``flow``: each flow's packets always go to the same core; ``shared``: to the next free one.
    throttle : Throttle, optional
        What flows with the verdict ``would_throttle`` pass; None lets them pass.
    """

    cores: int = 1
    service: ServiceTime = field(default_factory=ServiceTime)
    link_bps: float | None = None
    buffer: int | None = 1000
    dispatch: str = "flow"
    throttle: Throttle | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a box."""
        must_be("cores", self.cores, (int, np.integer), "a whole number", "box")
        must_be("buffer", self.buffer, (int, np.integer), "a whole number, or None", "box")
        must_be("link_bps", self.link_bps, (int, float, np.number), "bits per second", "box")
        must_be("throttle", self.throttle, Throttle, "a Throttle, or None", "box")
        must_be("service", self.service, ServiceTime, "a ServiceTime", "box")
        if not 1 <= self.cores <= 1024:
            raise ClassifierError(f"{self.cores} cores", remedy="give 1 to 1024")
        if self.buffer is not None and not 1 <= self.buffer <= 10_000_000:
            raise ClassifierError(
                f"a buffer of {self.buffer} packets", remedy="give 1 to 10,000,000, or none"
            )
        if self.link_bps is not None and not 0 < self.link_bps < 1e15:
            raise ClassifierError(
                f"a link of {self.link_bps} bit/s", remedy="give bits per second above 0"
            )
        if self.dispatch not in ("flow", "shared"):
            raise ClassifierError(f"dispatch {self.dispatch!r}", remedy="give flow or shared")


def parse_rate(text: str) -> float:
    """Return bits per second of ``250k``, ``1.5M``, ``10Gbit/s``.

    Raises
    ------
    ClassifierError
        If it is no rate.
    """
    found = re.fullmatch(_NUMBER + r"([kmgt]?)(?:bps|bits?|bits?/s)?", text.strip().lower())
    value = float(found[1]) * _RATE_UNITS[found[2]] if found else 0.0
    if not 0 < value < 1e15:
        raise ClassifierError(f"{text!r} is no rate", remedy="give bits per second, as 10M or 1G")
    return value


def parse_time(text: str) -> float:
    """Return nanoseconds of ``1.5us``, ``200ns``, ``3ms``.

    Raises
    ------
    ClassifierError
        If it is no time.
    """
    found = re.fullmatch(_NUMBER + r"(ns|us|ms|s)", text.strip().lower())
    if not found:
        raise ClassifierError(f"{text!r} is no time", remedy="give a number and ns, us, ms or s")
    return float(found[1]) * _TIME_UNITS[found[2]]


def parse_service(text: str, flow_time: str = "0ns") -> ServiceTime:
    """Return the service time that ``--service-time`` and ``--flow-time`` name.

    Parameters
    ----------
    text : str
        ``constant:1.5us``, ``exponential:1.5us``, ``file:PATH`` (a text file of nanoseconds, a
        number on each line, drawn with replacement), or ``measured`` (to be measured).
    flow_time : str
        More for the first packet of a flow.

    Raises
    ------
    ClassifierError
        If it is none of these, or the file cannot be read.
    """
    must_be("service_time", text, str, "text as constant:1.5us, or a ServiceTime")
    must_be("flow_time", flow_time, str, "text as 20us")
    kind, _, rest = text.partition(":")
    flow_ns = parse_time(flow_time)
    if kind in ("constant", "exponential") and rest:
        return ServiceTime(kind, parse_time(rest), flow_ns)
    if kind == "file" and rest:
        return ServiceTime("empirical", 0.0, flow_ns, _read_times(Path(rest)))
    if text == "measured":
        return ServiceTime("measured", 0.0, 0.0)
    raise ClassifierError(
        f"{text!r} is no service time",
        remedy="give constant:TIME, exponential:TIME, file:PATH or measured",
    )


def _read_times(path: Path) -> NDArray[np.float64]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ClassifierError(
            f"cannot be read ({error})", path=str(path), remedy="give a text file of nanoseconds"
        ) from error
    times: list[float] = []
    for number, line in enumerate(lines, start=1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        try:
            value = float(word)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e18 or len(times) >= _MOST_TIMES:
            raise ClassifierError(
                f"line {number}: {word[:40]!r} is no service time",
                path=str(path),
                remedy=f"give nanoseconds from 0 up, {_MOST_TIMES:,} lines at most",
            )
        times.append(value)
    if not times:
        raise ClassifierError("holds no times", path=str(path), remedy="give a number on each line")
    return np.array(times)

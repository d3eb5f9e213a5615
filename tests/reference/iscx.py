"""The time features of ISCXVPN2016 from lists of packets: slow, and written from the definitions."""

import itertools
import statistics
from typing import NamedTuple


class Packet(NamedTuple):
    """A packet of one flow: microseconds, who sent it, IP bytes, whether it is a TCP FIN."""

    us: int
    sender: str
    ip_bytes: int
    fin: bool


def summary(values: list[int]) -> tuple[float, float, float, float]:
    """Return least, greatest, mean, sample deviation, or what stands for nothing."""
    if not values:
        return -1, -1, 0, 0
    deviation = statistics.stdev(values) if len(values) > 1 else 0
    return min(values), max(values), statistics.fmean(values), deviation


def differences(times: list[int]) -> list[int]:
    return [b - a for a, b in itertools.pairwise(times)]


def windows(packets: list[Packet], timeout_us: int) -> list[tuple[str, list[Packet]]]:
    """Cut a flow's packets into windows, each with the name of who is forward."""
    out: list[tuple[str, list[Packet]]] = []
    is_open = False
    for packet in packets:
        if is_open and (packet.fin or packet.us - out[-1][1][0].us <= timeout_us):
            out[-1][1].append(packet)
            is_open = not packet.fin
        else:
            out.append((out[-1][0] if is_open else packet.sender, [packet]))
            is_open = True
    return out


def features(forward: str, packets: list[Packet], idle_us: int) -> list[float]:
    """Return the 23 features of a window."""
    times = [packet.us for packet in packets]
    mine = [p.us for i, p in enumerate(packets) if i == 0 or p.sender == forward]
    theirs = [p.us for i, p in enumerate(packets) if i > 0 and p.sender != forward]
    f, b, both = (summary(differences(part)) for part in (mine, theirs, times))
    breaks = [i for i in range(1, len(times)) if times[i] - times[i - 1] > idle_us]
    idle = summary([times[i] - times[i - 1] for i in breaks])
    active = summary(differences([times[0], *(times[i] for i in breaks)]))
    duration = times[-1] - times[0]
    rates = [0.0, 0.0]
    if duration > 0:
        total = sum(p.ip_bytes for p in packets)
        rates = [len(times) * 1e6 / duration, total * 1e6 / duration]
    directions = [value for pair in zip(f, b, strict=True) for value in pair]
    ordered = [part[i] for part in (active, idle) for i in (0, 2, 1, 3)]
    return [duration, *directions, *rates, *both, *ordered]

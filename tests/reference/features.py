"""Features of one flow from lists of packets: slow, and written from the schema's formulas."""

import itertools
import math
import statistics
from collections import Counter
from typing import NamedTuple

NAN = math.nan
SIDES = ("orig", "resp")
SECOND = 1_000_000_000


class Packet(NamedTuple):
    """One of the first packets: nanoseconds, 0 or 1 for the sender, bytes on the wire, kept bytes."""

    ts_ns: int
    direction: int
    ip_bytes: int
    payload_bytes: int
    seq: int
    kept: bytes


def mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else NAN


def deviation(values: list[float]) -> float:
    return statistics.pstdev(values) if values else NAN


def share(part: float, whole: float) -> float:
    return part / whole if whole else NAN


def in_sequence(packets: list[Packet], tcp: bool) -> list[Packet]:
    """Return packets with payload; of TCP, those whose sequence number goes up."""
    chosen: list[Packet] = []
    top: dict[int, int] = {}
    for p in packets:
        if p.payload_bytes == 0:
            continue
        if tcp and p.direction in top:
            step = (p.seq - top[p.direction]) % 2**32
            if step == 0 or step >= 2**31:
                continue
        top[p.direction] = p.seq
        chosen.append(p)
    return chosen


def place_of(value: int) -> int:
    """Return the bin from 1 to 8."""
    bounds = [15, 31, 63, 127, 255, 511, 1024]
    return 1 + sum(value > bound for bound in bounds)


def times(values: list[int]) -> list[int]:
    """Return the clock at each packet: it never goes back."""
    return list(itertools.accumulate(values, max))


def series(packets: list[Packet], tcp: bool) -> dict[str, float]:
    out: dict[str, float] = {}
    chosen = in_sequence(packets, tcp)
    clock = times([p.ts_ns for p in chosen])
    waits = [0, *(max(b.ts_ns - t, 0) for t, b in zip(clock, chosen[1:], strict=False))]
    for k in range(30):
        there = k < len(chosen)
        out[f"ppi_ipt_ms_{k + 1:02d}"] = waits[k] / 1e6 if there else NAN
        out[f"ppi_dir_{k + 1:02d}"] = 1 - 2 * chosen[k].direction if there else NAN
        out[f"ppi_size_{k + 1:02d}"] = chosen[k].payload_bytes if there else NAN
    first = chosen[:30]
    out["ppi_len"] = len(first)
    lasted = max(first[-1].ts_ns - first[0].ts_ns, 0) / 1e9 if first else NAN
    out["ppi_duration_s"] = lasted
    turns = [(a.direction, b.direction) for a, b in itertools.pairwise(first)]
    out["ppi_roundtrips"] = turns.count((0, 1))
    every = times([p.ts_ns for p in packets])
    gaps = [max(p.ts_ns - t, 0) for t, p in zip(every, packets[1:], strict=False)]
    long = [gap / 1e9 for gap in gaps if gap >= SECOND]
    out["gap_long_n"], out["gap_long_s"] = len(long), sum(long)
    out["gap_max_s"] = max(gaps) / 1e9 if gaps else NAN
    active = (every[-1] - every[0]) / 1e9 - sum(long) if gaps else NAN
    out["active_s"] = max(active, 0) if gaps else NAN
    out["gap_long_mean_s"] = mean(long)
    out["gap_long_cv"] = deviation(long) / mean(long) if len(long) > 1 else NAN
    out["gap_whole_s"] = mean([abs(gap - math.floor(gap + 0.5)) for gap in long])
    inner = 0
    for a, b, c in zip(chosen[2:], chosen[3:], chosen[4:], strict=False):
        sizes = [p.payload_bytes for p in (a, b, c)]
        alternate = a.direction == c.direction != b.direction
        inner += (
            alternate
            and max(sizes) <= 200
            and 4 <= sizes[0] - sizes[2] <= 28
            and abs(sizes[0] - sizes[1]) <= 8
        )
    out["inner_handshakes"] = inner
    runs = [list(run) for _, run in itertools.groupby(chosen, key=lambda p: p.direction)]
    out["bursts"] = len(runs)
    for d, side in enumerate(SIDES):
        mine = [p for p in chosen if p.direction == d]
        sizes = [p.payload_bytes for p in mine]
        binned = Counter(place_of(size) for size in sizes)
        waited = Counter(
            place_of(max(b.ts_ns - a.ts_ns, 0) // 1_000_000) for a, b in itertools.pairwise(mine)
        )
        for k in range(1, 9):
            out[f"{side}_size_bin_{k}"] = binned[k] if mine else NAN
            out[f"{side}_ipt_bin_{k}"] = waited[k] if mine else NAN
        n = len(sizes)
        common = Counter(sizes).most_common(1)
        of4, of16 = (Counter(size % m for size in sizes).most_common(1) for m in (4, 16))
        out |= {
            f"{side}_sizes": n,
            f"{side}_size_mean": mean([float(size) for size in sizes]),
            f"{side}_size_std": deviation([float(size) for size in sizes]),
            f"{side}_size_max": max(sizes, default=NAN),
            f"{side}_size_max_share": share(sizes.count(max(sizes, default=0)), n),
            f"{side}_size_mode": common[0][0] if common else NAN,
            f"{side}_size_mode_share": common[0][1] / n if common else NAN,
            f"{side}_size_distinct_share": share(len(set(sizes)), n),
            f"{side}_size_late_min": min(sizes[2:], default=NAN),
            f"{side}_size_late_max": max(sizes[2:], default=NAN),
            f"{side}_residue4_share": of4[0][1] / n if of4 else NAN,
            f"{side}_residue16_share": of16[0][1] / n if of16 else NAN,
            f"{side}_ip_max": max((p.ip_bytes for p in packets if p.direction == d), default=NAN),
        }
        own = [run for run in runs if run[0].direction == d]
        totals = [sum(p.payload_bytes for p in run) for run in own]
        out |= {
            f"{side}_burst_packets_max": max((len(run) for run in own), default=NAN),
            f"{side}_burst_bytes_mean": mean([float(total) for total in totals]),
            f"{side}_burst_bytes_max": max(totals, default=NAN),
        }
        for k in range(3):
            out[f"{side}_burst_bytes_{k + 1}"] = totals[k] if k < len(totals) else NAN
    return out


def longest(flags: list[bool]) -> int:
    return max((len(list(run)) for yes, run in itertools.groupby(flags) if yes), default=0)


def segment(data: bytes) -> list[float]:
    """Return the eleven measures of a payload, cut to 512 bytes."""
    data = data[:512]
    n = len(data)
    if n == 0:
        return [NAN] * 11
    counts = Counter(data)
    entropy = -sum(c / n * math.log2(c / n) for c in counts.values())
    printable = [0x20 <= byte <= 0x7E for byte in data]
    bits = "".join(f"{byte:08b}" for byte in data)
    expected = n / 256
    chi2 = sum((counts[value] - expected) ** 2 / expected for value in range(256))
    return [
        n,
        entropy / math.log2(min(n, 256)) if n > 1 else NAN,
        bits.count("1") / n,
        sum(printable) / n,
        len(list(itertools.takewhile(bool, printable))),
        longest(printable),
        data.count(0) / n,
        sum(byte >= 0x80 for byte in data) / n,
        share(sum(a == b for a, b in itertools.pairwise(data)), n - 1),
        chi2 / 255,
        sum(a != b for a, b in itertools.pairwise(bits)) / (8 * n - 1),
    ]


SEGMENT = ["bytes", "entropy", "ones", "printable_share", "printable_first", "printable_run"]
SEGMENT += ["zero_share", "high_share", "repeat_share", "chi2", "bit_runs"]


def is_record(data: bytes) -> bool:
    size = int.from_bytes(data[3:5])
    return 20 <= data[0] <= 23 and data[1] == 3 and data[2] <= 4 and 0 < size <= 16640


def has_length(data: bytes, size: int) -> bool:
    for width in (2, 4):
        for order in ("big", "little"):
            said = int.from_bytes(data[:width], order)  # type: ignore[arg-type]
            if said in (size, size - width):
                return True
    return False


def payload(packets: list[Packet], proto: int) -> dict[str, float]:
    out: dict[str, float] = {}
    for d, side in enumerate(SIDES):
        mine = [p for p in packets if p.direction == d and p.kept]
        for k in (0, 1):
            found = segment(mine[k].kept if k < len(mine) else b"")
            for name, value in zip(SEGMENT, found, strict=True):
                out[f"{side}_seg{k + 1}_{name}"] = value
        heads = [p.kept[:16] for p in mine if len(p.kept) >= 16][:8]
        enough = len(heads) >= 3
        columns = list(zip(*heads, strict=True)) if enough else []
        same = sum(len(set(column)) == 1 for column in columns)
        up = sum(all((b - a) % 256 == 1 for a, b in itertools.pairwise(c)) for c in columns)
        out[f"{side}_constant_bytes"] = same if enough else NAN
        out[f"{side}_counting_bytes"] = up if enough else NAN
        framed = [p for p in mine if len(p.kept) >= 5]
        long = sum(has_length(p.kept, p.payload_bytes) for p in framed)
        out[f"{side}_length_share"] = share(long, len(framed))
        out[f"{side}_record_share"] = share(sum(is_record(p.kept) for p in framed), len(framed))
        out[f"{side}_lead_distinct"] = share(len({p.kept[0] for p in mine}), len(mine))
    out |= quic(next((p.kept for p in packets if p.direction == 0 and p.kept), b""), proto)
    return out


def quic(data: bytes, proto: int) -> dict[str, float]:
    names = ["quic_long", "quic_version_kind", "quic_dcid_bytes", "quic_scid_bytes"]
    if proto != 17 or not data:
        return dict.fromkeys(names, NAN)
    none = [0, NAN, NAN, NAN]
    version = int.from_bytes(data[1:5])
    if len(data) < 7 or data[0] < 0xC0 or version == 0 or data[5] > 20:
        return dict(zip(names, none, strict=True))
    rest = data[6 + data[5] :]
    if not rest or rest[0] > 20:
        return dict(zip(names, none, strict=True))
    kind = {1: 1, 0x6B3343CF: 2}.get(version, 3 if version >> 8 == 0xFF0000 else 4)
    return dict(zip(names, [1, kind, data[5], rest[0]], strict=True))


RECORDS = ["records", "first_type", "first_bytes", "handshake_bytes", "data_records"]
RECORDS += ["data_bytes_1", "data_bytes_2", "data_bytes_3", "data_max", "alerts", "hello"]
RECORDS += ["extensions", "session_bytes", "version"]


def hello(body: bytes, client: bool) -> list[float]:
    """Return extensions, length of the session identifier and version of a whole hello."""
    nothing = [NAN, NAN, NAN]
    if len(body) < 35:
        return nothing
    version, session = body[1], body[34]
    rest = body[35 + session :]
    if client:
        if len(rest) < 3:
            return nothing
        rest = rest[2 + int.from_bytes(rest[:2]) :]
        if not rest:
            return nothing
        rest = rest[1 + rest[0] :]
    elif len(rest) < 3:
        return nothing
    else:
        rest = rest[3:]
    count = 0
    if len(rest) >= 2:
        size = int.from_bytes(rest[:2])
        if size > len(rest) - 2:
            return nothing
        rest = rest[2 : 2 + size]
        while len(rest) >= 4:
            kind, size = int.from_bytes(rest[:2]), int.from_bytes(rest[2:4])
            value, rest = rest[4 : 4 + size], rest[4 + size :]
            if len(value) < size:
                return nothing
            count += 1
            if kind == 43:
                offers = value[1:] if client else value
                pairs = [offers[i : i + 2] for i in range(0, len(offers) - 1, 2)]
                version = max([version, *(pair[1] for pair in pairs if pair[0] == 3)])
    return [count, session, version]


def records(head: bytes) -> list[float]:
    """Return what the records in the head of a stream say."""
    found: list[tuple[int, int, bytes]] = []
    at = 0
    while at + 5 <= len(head) and len(found) < 32:
        size = int.from_bytes(head[at + 3 : at + 5])
        sound = 20 <= head[at] <= 23 and head[at + 1] == 3 and head[at + 2] <= 4
        if not sound or not 0 < size <= 18432:
            break
        found.append((head[at], size, head[at + 5 : at + 5 + size]))
        at += 5 + size
    if not found:
        return [NAN] * len(RECORDS)
    kind, size, body = found[0]
    said, parts = 0, [NAN, NAN, NAN]
    if kind == 22 and len(body) >= min(4, size) and len(head) >= 9:
        said = head[5]
        declared = int.from_bytes(head[6:9])
        if said in (1, 2) and declared <= len(body) - 4:
            parts = hello(body[4 : 4 + declared], said == 1)
    clear = list(itertools.takewhile(lambda r: r[0] != 20, found))
    data = [r[1] for r in found if r[0] == 23]
    return [
        len(found),
        kind,
        size,
        sum(r[1] for r in clear if r[0] == 22),
        len(data),
        *(data[k] if k < len(data) else NAN for k in range(3)),
        max(data, default=NAN),
        sum(r[0] == 21 for r in found),
        said,
        *parts,
    ]

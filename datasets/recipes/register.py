"""Writes a register of VPN endpoints, of any size, from a seed: fictional holders, no real address.

    python datasets/recipes/register.py --count 20000 --seed 1 --at 2026-01-15 --out register.csv

The same count, seed and date give the same bytes. Addresses come from ranges that are never
assigned: 198.18.0.0/15 (benchmarking, RFC 2544), 100.64.0.0/10 (shared, RFC 6598), 240.0.0.0/4
(reserved, RFC 1112; only where the others are too small) and 2001:db8:8000::/33 (documentation,
RFC 3849). Holders' names are made of syllables.
"""

import argparse
import csv
import datetime
import io
import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLUMNS = (
    *("registration_id", "organisation", "category", "prefix", "side"),
    *("proto", "port", "valid_from", "valid_to", "status"),
)

# Category, how a holder's name is formed, share of holders. Invented proportions: software houses
# and call centres lead the published lists of applicants, no list gives the numbers.
CATEGORIES = (
    ("software_house", "{} Software", 0.34),
    ("call_centre", "{} Call Centre", 0.17),
    ("freelancer", "{} (freelancer)", 0.16),
    ("company", "{} Trading", 0.10),
    ("bank", "Bank of {}", 0.07),
    ("university", "{} University", 0.05),
    ("hospital", "{} Hospital", 0.04),
    ("foreign_mission", "Embassy of {}ia", 0.04),
    ("ngo", "{} Relief", 0.03),
)
SYLLABLES = (
    "b br d dr f fl g gl h j k kr l m n p pl qu r s sk t tr v w y z",
    "a e i o u ai ei oo ou",
    "b d dl ff g l lm m n nd p rb rg rt rv sk st th v x zz",
)
ONSETS, MIDDLES, CODAS = (row.split() for row in SYLLABLES)

# (first address, number of addresses), filled in this order
RANGES = tuple(
    (int(network.network_address), network.num_addresses)
    for network in map(ipaddress.IPv4Network, ("198.18.0.0/15", "100.64.0.0/10", "240.0.0.0/4"))
)
SCOPES = (
    ("any", "any", 0.70),
    ("udp", "1194", 0.08),
    ("udp", "51820", 0.08),
    ("tcp", "443", 0.07),
    ("udp", "any", 0.05),
    ("tcp", "any", 0.02),
)
STATES = (("active", 0.82), ("expired", 0.08), ("revoked", 0.03), ("pending", 0.04))
REJECTED = "rejected"  # the rest
SIDES = (("server", 0.62), ("client", 0.24), ("either", 0.14))
FIRST_DAY = np.datetime64("2020-06-01")  # before it, nothing was registered


def _names(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Return (organisation, category) of so many holders."""
    categories = rng.choice(len(CATEGORIES), size=count, p=[share for *_, share in CATEGORIES])
    parts = [rng.integers(len(part), size=(count, 2)) for part in (ONSETS, MIDDLES, CODAS)]
    holders = []
    for kind, onset, middle, coda in zip(categories, *parts, strict=True):
        word = "".join(
            ONSETS[onset[i]] + MIDDLES[middle[i]] + (CODAS[coda[i]] if i else "") for i in (0, 1)
        )
        category, form, _ = CATEGORIES[kind]
        holders.append((form.format(word.capitalize()), category))
    return holders


def _prefixes4(rng: np.random.Generator, count: int) -> list[str]:
    """Return distinct IPv4 addresses, one in ten widened to a small prefix."""
    space = 0
    for _, size in RANGES:
        space += size
        if space >= 2 * count:
            break
    drawn: NDArray[np.int64] = np.zeros(0, np.int64)
    while drawn.size < count:
        drawn = np.unique(np.append(drawn, rng.integers(space, size=count + 64)))
    drawn = rng.permutation(drawn)[:count]
    lengths = rng.choice([32, 29, 28, 27, 24], size=count, p=[0.90, 0.05, 0.03, 0.015, 0.005])
    address, base = np.zeros(count, np.int64), 0
    for first, size in RANGES:
        here = (drawn >= base) & (drawn < base + size)
        address[here] = first + drawn[here] - base
        base += size
    address = address >> (32 - lengths) << (32 - lengths)
    quads = [(address >> shift & 255).tolist() for shift in (24, 16, 8, 0)]
    return [
        f"{a}.{b}.{c}.{d}" if length == 32 else f"{a}.{b}.{c}.{d}/{length}"
        for a, b, c, d, length in zip(*quads, lengths.tolist(), strict=True)
    ]


def _prefixes6(rng: np.random.Generator, count: int) -> list[str]:
    """Return IPv6 addresses and prefixes out of 2001:db8:8000::/33."""
    groups = rng.integers(0x8000, 0x10000, size=count), rng.integers(1 << 16, size=count)
    hosts = rng.integers(1, 1 << 16, size=count)
    lengths = rng.choice([128, 64, 56, 48], size=count, p=[0.7, 0.2, 0.05, 0.05])
    out = []
    for site, net, host, length in zip(*groups, hosts, lengths, strict=True):
        if length == 128:
            out.append(f"2001:db8:{site:x}:{net:x}::{host:x}")
        elif length == 48:
            out.append(f"2001:db8:{site:x}::/48")
        else:
            net = net & 0xFF00 if length == 56 else net
            out.append(str(ipaddress.IPv6Network((f"2001:db8:{site:x}:{net:x}::", int(length)))))
    return out


def _pick(rng: np.random.Generator, count: int, weighted: Sequence[tuple]) -> NDArray[np.int64]:
    shares = np.array([row[-1] for row in weighted])
    return rng.choice(len(weighted), size=count, p=shares / shares.sum())


def _validity(
    rng: np.random.Generator, states: list[str], at: np.datetime64
) -> tuple[list[str], list[str]]:
    """Return first days and (exclusive) last days that fit the states at that day."""
    count = len(states)
    age = rng.integers(1, max(2, int((at - FIRST_DAY).astype(int))), size=count)
    years = rng.choice([1, 2, 3], size=count, p=[0.3, 0.4, 0.3])
    first = at - age.astype("timedelta64[D]")
    last = first + (365 * years).astype("timedelta64[D]")
    state = np.array(states)
    # Most holders renew in time: an active entry's end is moved past ``at``. One in twelve is not
    # renewed and stays ``active`` with its end in the past, as registers' lists do; one in forty
    # begins later.
    lapsed = rng.random(count) < 1 / 12
    renewed = (state == "active") & ~lapsed & (last <= at)
    last[renewed] = at + rng.integers(1, 730, size=count)[renewed].astype("timedelta64[D]")
    ended = (state == "expired") & (last > at)
    last[ended] = at - rng.integers(0, 300, size=count)[ended].astype("timedelta64[D]")
    first = np.minimum(first, last - np.timedelta64(30, "D"))
    later = ((state == "active") & (rng.random(count) < 1 / 40)) | (state == "pending")
    first[later] = at + rng.integers(1, 120, size=count)[later].astype("timedelta64[D]")
    last[later] = first[later] + (365 * years[later]).astype("timedelta64[D]")
    endless = (state == "active") & (rng.random(count) < 0.03)
    until = np.where(endless, "", last.astype("U10"))
    return first.astype("U10").tolist(), until.tolist()


def make(
    count: int,
    seed: int,
    at: datetime.date,
    own: Sequence[tuple[str, str, str, str, str, str, str, str, str]] = (),
) -> list[tuple[str, ...]]:
    """Return the register's rows in the order of ``COLUMNS``.

    Parameters
    ----------
    count : int
        Rows, own ones included.
    seed : int
        Of the random numbers.
    at : datetime.date
        The day as of which active entries are mostly valid.
    own : sequence of tuples
        Rows without the first column, mixed in at random places.
    """
    rng = np.random.default_rng(seed)
    made = count - len(own)
    holders = _names(rng, made // 3 + 1)  # three addresses each on average
    holder = rng.integers(len(holders), size=made).tolist()
    six = made // 50
    prefixes = _prefixes4(rng, made - six) + _prefixes6(rng, six)
    order = rng.permutation(made).tolist()
    sides = _pick(rng, made, SIDES).tolist()
    scopes = _pick(rng, made, SCOPES).tolist()
    states_by_number = [*STATES, (REJECTED, 1 - sum(share for _, share in STATES))]
    states = [states_by_number[i][0] for i in _pick(rng, made, states_by_number)]
    first, last = _validity(rng, states, np.datetime64(at))
    rows: list[tuple[str, ...]] = []
    for i in range(made):
        side = SIDES[sides[i]][0]
        proto, port, _ = SCOPES[0] if side == "client" else SCOPES[scopes[i]]
        when = first[i], last[i]
        rows.append((*holders[holder[i]], prefixes[order[i]], side, proto, port, *when, states[i]))
    for row, place in zip(own, rng.integers(made + 1, size=len(own)), strict=True):
        rows.insert(int(place), row)
    return [(f"R-{number:06d}", *row) for number, row in enumerate(rows, 1)]


def text(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as CSV with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return out.getvalue()


def main() -> int:
    """Write a register."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="rows (default: 20000)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    parser.add_argument(
        "--at",
        type=datetime.date.fromisoformat,
        default=datetime.date(2026, 1, 15),
        help="day as of which active entries are mostly valid (default: 2026-01-15)",
    )
    parser.add_argument("--out", default="-", help="file, or - for stdout (default: -)")
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error("--count must be at least 1")
    written = text(make(arguments.count, arguments.seed, arguments.at))
    if arguments.out == "-":
        sys.stdout.write(written)
    else:
        Path(arguments.out).write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Changes captures at random and looks for crashes, lost packets and differences from the twins.

``python tests/property/mutate.py --seconds 600 [--seed 7]`` runs the kernels with bounds checks on,
starting from captures made here and from malformed shared ones. What fails is written to the
working folder as ``failed-<n>.pcap``. The suite runs a few seconds of the same.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # before numba is imported
    os.environ["NUMBA_BOUNDSCHECK"] = "1"
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import captures as shared_captures
import frames as f
import strategies as own
from reading import assert_same_flows, assert_same_packets, run, twin_packets

from classifier.errors import CaptureError
from classifier.tables import PACKET

MOST_SEED_BYTES = 8192
INTERESTING = [0, 1, 3, 4, 7, 8, 11, 12, 15, 16, 20, 28, 32, 40, 64, 127, 128, 255]
IDLE_NS = 600 * f.SECOND


def seeds() -> list[bytes]:
    """Small captures: one for each encapsulation, link and container, and the malformed ones."""
    inside = f.ip4(f.tcp(40000, 443, b"hello", seq=5, flags=24), 6)
    inside6 = f.ip6(
        f.extension(44, f.fragment6(17, f.udp(5, 53, b"q"), ident=1, offset=0, more=True)), 0
    )
    found = []
    for packet in (inside, inside6):
        found += [f.pcap([f.link(packet, kind)], link=kind) for kind in own.LINKS]
        for wrap in own.WRAPPERS.values():
            found.append(f.pcap([f.eth(wrap(wrap(packet))), f.eth(wrap(packet))]))
    frame = f.eth(inside, None, [(0x88A8, 1), (0x8100, 2)])
    for order in "<>":
        found.append(f.pcap([frame], order=order, modified=True))
        blocks = f.shb(order=order) + f.idb(order=order, tsresol=9, tsoffset=5) + f.idb(order=order)
        blocks += f.epb(frame, order=order) + f.spb(frame, order=order)
        found.append(
            blocks + f.pb(frame, order=order, interface=1) + f.pcapng([frame], order=order)
        )
    folder = shared_captures.folder()
    if folder:
        small = [p for p in sorted(folder.glob("malformed/*")) if p.is_file()]
        found += [p.read_bytes() for p in small if p.stat().st_size <= MOST_SEED_BYTES]
    return found


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change a few places; the magic mostly stays."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at = rng.randrange(4, len(out)) if len(out) > 4 else 0
        match rng.randrange(7):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                out[at : at + 1] = bytes([rng.choice(INTERESTING)])
            case 2:
                out[at : at + 1] = bytes(
                    [(out[at] if at < len(out) else 0) ^ 1 << rng.randrange(8)]
                )
            case 3:
                del out[at : at + rng.choice([1, 2, 4, 16])]
            case 4:
                out[at:at] = rng.randbytes(rng.choice([1, 2, 4, 16]))
            case 5:
                size = rng.choice([2, 4])
                out[at : at + size] = rng.choice([0, 1, 255, 2**15, 2**16 - 1]).to_bytes(4, "big")[
                    -size:
                ]
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                out[at:at] = other[start : start + rng.randrange(1, 100)]
    return bytes(out)


def mutants(start: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """Yield mutants without end, also of mutants."""
    pool = list(start)
    while True:
        made = mutate(rng.choice(pool), rng, start)
        if made and len(made) <= 2 * MOST_SEED_BYTES:
            if len(pool) < 4 * len(start):
                pool.append(made)
            elif rng.random() < 0.2:
                pool[rng.randrange(len(start), len(pool))] = made
        yield made


def check(data: bytes) -> bool:
    """Look at one capture in every way; return whether it could be opened."""
    try:
        got = run(data, decapsulate=True)
    except CaptureError:
        return False
    in_flows = sum(int(x["orig_packets"] + x["resp_packets"]) for x in got.flows)
    assert sum(got.counts) == got.packets_read, "packets are unaccounted for"
    assert in_flows == got.counts[0], "packets are lost in the flow table"
    if data[:4] in OPEN_MAGICS:
        for decapsulate in (False, True):
            assert_same_packets(data, decapsulate=decapsulate)
        if in_order(data):
            assert_same_flows(data, decapsulate=True)
    return True


OPEN_MAGICS = {f.pcap_header(order=o, nano=n, modified=m)[:4]
               for o in "<>" for n, m in ((False, False), (True, False), (False, True))} | {
    bytes.fromhex("0a0d0d0a")
}  # fmt: skip


def in_order(data: bytes) -> bool:
    """No packet comes late by more than the idle timeout: what then is swept cannot be foreseen."""
    latest = None
    container, _ = twin_packets(data)
    for found in container.packets:
        if latest is not None and found.ts_ns < latest - IDLE_NS:
            return False
        latest = found.ts_ns if latest is None else max(latest, found.ts_ns)
    return True


def hunt(seconds: float, seed: int, *, keep: Path | None = None) -> tuple[int, int, list[str]]:
    """Mutate for some time; return how many were tried, opened, and what failed."""
    start = seeds()
    rng = random.Random(seed)
    tried = opened = 0
    failures = []
    for data in start:
        opened += check(data)
    until = time.monotonic() + seconds
    for data in mutants(start, rng):
        if time.monotonic() > until:
            break
        tried += 1
        try:
            opened += check(data)
        except (AssertionError, ArithmeticError, LookupError, ValueError, TypeError) as error:
            failures.append(f"{type(error).__name__}: {error} ({data.hex()})")
            if keep:
                (keep / f"failed-{len(failures)}.pcap").write_bytes(data)
            if len(failures) >= 5:
                break
    return tried, opened, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices (default: 1)")
    args = parser.parse_args()
    assert PACKET.itemsize
    tried, opened, failures = hunt(args.seconds, args.seed, keep=Path.cwd())
    print(f"seed {args.seed}: {tried} mutants, {opened} opened, {len(failures)} failures")  # noqa: T201
    for failure in failures:
        print(failure)  # noqa: T201
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

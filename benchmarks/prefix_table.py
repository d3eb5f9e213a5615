"""Look-ups per second in the compiled register, against pytricia in the same run.

Usage: ``python benchmarks/prefix_table.py [--million] [--repeats N]``; prints a Markdown table.

Prefixes are drawn from a seed: IPv4 of lengths 16 to 32 all over the unicast space, IPv6 of lengths
32 to 64 and 128 in 2000::/3. *Uniform* look-ups draw addresses from that space and, half of them,
from the registered prefixes; *skewed* ones draw prefixes by a Zipf law of exponent 1.1. pytricia is
asked once per address, given as text and as packed bytes; the faster is the peer. Its answers are
compared with ours on every address that it is asked. Times are the best of the repeats, compiled.
"""

import argparse
import ipaddress
import multiprocessing
import socket
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytricia

from classifier.registry import Registry, Table

SEED = 20260801
N_LOOKUPS = 2_000_000
N_PEER = 200_000
AT_NS = 1_717_200_000_000_000_000  # 2024-06-01
HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status\n"


def draw_prefixes(rng, version, n):
    """Return n distinct prefixes as Python integers and lengths."""
    found = {}
    while len(found) < n:
        if version == 4:
            lengths = rng.choice([16, 20, 22, 24, 26, 28, 29, 30, 32], 2 * n)
            values = rng.integers(1 << 24, 224 << 24, 2 * n)
        else:
            lengths = rng.choice([32, 40, 44, 48, 56, 64, 128], 2 * n)
            high = rng.integers(0x2000 << 48, 0x4000 << 48, 2 * n, np.uint64)
            values = high.astype(object) << 64
        bits = 32 if version == 4 else 128
        for value, length in zip(values.tolist(), lengths.tolist(), strict=True):
            found.setdefault((value >> (bits - length) << (bits - length), length), None)
            if len(found) == n:
                break
    return list(found)


def draw_addresses(rng, version, prefixes, skewed, n):
    """Return n addresses as Python integers."""
    bits = 32 if version == 4 else 128
    if skewed:
        chosen = (rng.zipf(1.1, n) - 1) % len(prefixes)
        inside = np.ones(n, bool)
    else:
        chosen = rng.integers(0, len(prefixes), n)
        inside = rng.random(n) < 0.5
    low = rng.integers(0, 1 << 62, n).tolist()
    anywhere = rng.integers(1 << 24, 224 << 24, n).tolist()
    if version == 6:
        high = rng.integers(0x2000 << 48, 0x4000 << 48, n, np.uint64).tolist()
        anywhere = [h << 64 | l for h, l in zip(high, low, strict=True)]
    result = []
    for k, within, noise, other in zip(
        chosen.tolist(), inside.tolist(), low, anywhere, strict=True
    ):
        base, length = prefixes[k]
        result.append(base | noise % (1 << (bits - length)) if within else other)
    return result


def write_register(path, version, prefixes):
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    with path.open("w") as file:
        file.write(HEADER)
        file.writelines(
            f"R-{i},Holder {i % 999},bank,{kind(value)}/{length},either,any,any,2021-03-01,,active\n"
            for i, (value, length) in enumerate(prefixes)
        )


def build_ours(version, prefixes):
    """Return the table, and seconds to read the register and to compile it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "register.csv"
        write_register(path, version, prefixes)
        before = time.perf_counter()
        registry = Registry.open(path)
        read = time.perf_counter()
        table = registry.compile()
        return table, read - before, time.perf_counter() - read


def resident():
    """Return this process's resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def build_peer(version, prefixes):
    """Return pytricia's tree, seconds to build it, and bytes that it took."""
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    texts = [f"{kind(value)}/{length}" for value, length in prefixes]
    before, start = resident(), time.perf_counter()
    tree = pytricia.PyTricia(32 if version == 4 else 128)
    for row, text in enumerate(texts):
        tree[text] = row
    return tree, time.perf_counter() - start, resident() - before


def peer_memory(version, prefixes):
    """Return what a process without freed memory to use again grows by."""
    return build_peer(version, prefixes)[2]


def best_of(repeats, function):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def as_arrays(version, addresses):
    if version == 4:
        return np.array(addresses, np.uint32)
    return np.array([(a >> 64, a & (1 << 64) - 1) for a in addresses], np.uint64)


def peer_speed(tree, version, addresses, repeats):
    """Return pytricia's rows and its look-ups per second in its faster form."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    size = 4 if version == 4 else 16
    packed = [address.to_bytes(size, "big") for address in addresses]
    texts = [socket.inet_ntop(family, data) for data in packed]
    best = 0.0
    for form in (texts, packed):
        rows, seconds = best_of(repeats, lambda form=form: [tree.get(a, -1) for a in form])
        best = max(best, len(addresses) / seconds)
    return np.array(rows), best


def table_bytes(table: Table):
    return sum(array.nbytes for array in (*table._ranges, *table._groups))


def measure(version, n, repeats):
    """Print the rows of the table for one family and size."""
    rng = np.random.default_rng(SEED)
    prefixes = draw_prefixes(rng, version, n)
    build_ours(version, prefixes[:100])  # compiles the kernels
    table, read_s, compile_s = build_ours(version, prefixes)
    tree, peer_s, _ = build_peer(version, prefixes)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        peer_bytes = fresh.submit(peer_memory, version, prefixes).result()
    for skewed in (False, True):
        numbers = draw_addresses(rng, version, prefixes, skewed, N_LOOKUPS)
        addresses = as_arrays(version, numbers)
        table.match(addresses[:10], at_ns=AT_NS)
        rows, seconds = best_of(repeats, lambda a=addresses: table.match(a))
        _, timed = best_of(repeats, lambda a=addresses: table.match(a, at_ns=AT_NS, side="server"))
        peer_rows, peer = peer_speed(tree, version, numbers[:N_PEER], max(repeats // 2, 1))
        if not np.array_equal(peer_rows, rows[:N_PEER]):
            raise SystemExit("the table and pytricia disagree")
        ours = addresses.shape[0] / seconds
        print(
            f"| IPv{version} {n:,} {'skewed' if skewed else 'uniform'} | {ours / 1e6:.1f} "
            f"| {addresses.shape[0] / timed / 1e6:.1f} | {peer / 1e6:.2f} | {ours / peer:.0f} "
            f"| {read_s * 1e3:.0f} + {compile_s * 1e3:.0f} | {peer_s * 1e3:.0f} "
            f"| {table_bytes(table) / 2**20:.1f} | {peer_bytes / 2**20:.1f} "
            f"| {np.mean(rows >= 0):.0%} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", action="store_true", help="also a million prefixes")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(
        "| prefixes, look-ups | match, M/s | with time and side, M/s | pytricia, M/s | times "
        "| read + compile, ms | pytricia build, ms | table, MiB | pytricia, MiB | matched |"
    )
    print("|---|" + "---:|" * 9)
    for n in (20_000, 1_000_000) if options.million else (20_000,):
        for version in (4, 6):
            measure(version, n, options.repeats)


if __name__ == "__main__":
    main()

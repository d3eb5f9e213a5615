"""Look-ups per second in the compiled register, against pytricia, py-radix and poptrie in one run.

Usage: ``python benchmarks/prefix_table.py [--million] [--repeats N]``; prints Markdown tables.

Prefixes are drawn from a seed: IPv4 of lengths 16 to 32 all over the unicast space, IPv6 of lengths
32 to 64 and 128 in 2000::/3. *Uniform* look-ups draw addresses from that space and, half of them,
from the registered prefixes; *skewed* ones draw prefixes by a Zipf law of exponent 1.1. The peers are
asked once per address, pytricia given text, ipaddress objects and packed bytes, py-radix packed bytes; ours gets a column.
poptrie reads databases of countries: here one is written in its format that says of all prefixes that
they are in it, so it is asked less than the others, whether any covers an address, but for a column of
packed bytes. All answers are compared. Times are processor time, the best of the repeats, compiled; only
two threads are measured by the clock. *One time and side* asks the same of all addresses, *each its own*
gives a column of times, sides, protocols and ports. *Gather* is what the machine needs at least: one
read, by the leading bits of the same addresses, in an array as large as what *match* reads, or up to twice
that.
"""

import argparse
import ipaddress
import multiprocessing
import socket
import struct
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numba
import numpy as np
import poptrie
import pytricia
import radix

from classifier._jit import spend
from classifier.registry import Registry, Table

SEED = 20260801
N_LOOKUPS = 2_000_000
N_PEER = 200_000
SINGLE = ("single", "timed", "objects", "objects, timed")
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


def best_of(repeats, function, clock=time.process_time):
    times = []
    for _ in range(repeats):
        start = clock()
        result = function()
        times.append(clock() - start)
    return result, min(times)


def as_arrays(version, addresses):
    if version == 4:
        return np.array(addresses, np.uint32)
    return np.array([(a >> 64, a & (1 << 64) - 1) for a in addresses], np.uint64)


def texts_and_packed(version, addresses):
    """Return addresses in the forms that peers take."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    packed = [address.to_bytes(4 if version == 4 else 16, "big") for address in addresses]
    return [socket.inet_ntop(family, data) for data in packed], packed


def build_radix(version, prefixes):
    """Return py-radix's tree."""
    tree = radix.Radix()
    size = 4 if version == 4 else 16
    for row, (value, length) in enumerate(prefixes):
        tree.add(packed=value.to_bytes(size, "big"), masklen=length).data["row"] = row
    return tree


def build_poptrie(version, prefixes):
    """Return poptrie's searcher of a database that holds the prefixes, each byte of an address a level."""
    size = 4 if version == 4 else 16
    root = {}
    for value, length in sorted(prefixes, key=lambda prefix: prefix[1]):
        data = value.to_bytes(size, "big")
        last = (length - 1) // 8
        node = root
        for byte in data[:last]:
            node = node.setdefault(byte, {})
            if node is True:
                break
        else:
            for byte in range(data[last], data[last] + (1 << 8 * (last + 1) - length)):
                node[byte] = True
    nodes, written = [root], []
    for node in nodes:  # grows while it is walked: level by level, children side by side
        leaves = sum(1 << 255 - byte for byte, child in node.items() if child is True)
        inner = sorted(byte for byte, child in node.items() if child is not True)
        head = sum(1 << 255 - byte for byte in inner).to_bytes(32, "big") + leaves.to_bytes(
            32, "big"
        )
        written.append(head + struct.pack("<II", 72 * len(nodes) if inner else 0, 0))
        nodes += [node[byte] for byte in inner]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prefixes.bin"
        path.write_bytes(b"".join(written))
        return poptrie.IpSearcher(path)


def ask_radix(tree, packed):
    """Return py-radix's rows."""
    best = tree.search_best
    nodes = [best(packed=address) for address in packed]
    return [-1 if node is None else node.data["row"] for node in nodes]


def ask_pytricia(tree, addresses):
    """Return pytricia's rows."""
    get = tree.get
    return [get(address, -1) for address in addresses]


def ask_one(lookup, addresses):
    """Return our matches, one call for each."""
    return [lookup(address) for address in addresses]


def ask_timed(lookup, addresses):
    """Return our matches at a time, for a side and scope, one call for each."""
    return [lookup(address, AT_NS, "server", "udp", 1194) for address in addresses]


def measured(ways, repeats):
    """Return look-ups per second of each way of asking, which take turns; all answers are compared.

    Each has three goes in a turn, as the first one finds the caches full of the way before.
    """
    seconds = {}
    for _ in range(repeats):
        for name, (ask, wanted) in ways.items():
            found, took = best_of(3, ask)
            if name in SINGLE:
                found = [-1 if match is None else match.row for match in found]
            if not np.array_equal(found, wanted):
                raise SystemExit(f"{name} answers otherwise")
            seconds[name] = min(seconds.get(name, took), took)
    return {name: len(ways[name][1]) / took for name, took in seconds.items()}


@numba.njit(nogil=True)
def gather(addresses, shift, table, out):
    """Read one item for each address."""
    for i in range(addresses.size):
        out[i] = table[addresses[i] >> shift]


def gatherer(addresses, size):
    """Return a function that reads an array of about so many bytes, and what it reads."""
    bits = max(int(size // 4).bit_length(), 1)
    leading = addresses if addresses.ndim == 1 else addresses[:, 0] << np.uint64(3)
    width = np.array(leading.dtype.itemsize * 8 - bits).astype(leading.dtype)[()]
    leading = np.ascontiguousarray(leading)
    out = np.empty(leading.size, np.int32)
    table = np.arange(1 << bits, dtype=np.int32)
    gather(leading[:10], width, table, out[:10])

    def run():
        gather(leading, width, table, out)
        return out

    return run, (leading >> width).astype(np.int32)


def two_cores(table, addresses, repeats):
    """Return look-ups per second of two threads, which share the table."""
    halves = np.array_split(addresses, 2)
    with ThreadPoolExecutor(2) as pool:
        both = partial(pool.map, table.match, halves)
        return len(addresses) / best_of(repeats, lambda: list(both()), time.perf_counter)[1]


def read_bytes(table: Table):
    """Return bytes of what look-ups read that ask for no time, side or scope."""
    ranges = table._index.active
    return sum(a.nbytes for a in (ranges.v4_top, ranges.v4_words, ranges.v6_top, ranges.v6_words))


def table_bytes(table: Table):
    return read_bytes(table) + table._index.entries.nbytes


def measure(version, n, repeats):
    """Print the rows of the table for one family and size."""
    rng = np.random.default_rng(SEED)
    prefixes = draw_prefixes(rng, version, n)
    spend(1 << 20)  # compiled from here on
    table, read_s, compile_s = build_ours(version, prefixes)
    tree, peer_s, _ = build_peer(version, prefixes)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        peer_bytes = fresh.submit(peer_memory, version, prefixes).result()
    other, third = build_radix(version, prefixes), build_poptrie(version, prefixes)
    name = f"IPv{version} {n:,}"
    builds = (
        f"| {name} | {read_s * 1e3:.0f} + {compile_s * 1e3:.0f} | {peer_s * 1e3:.0f} "
        f"| {table_bytes(table) / 2**20:.1f} | {peer_bytes / 2**20:.1f} |"
    )
    singles = []
    for skewed in (False, True):
        numbers = draw_addresses(rng, version, prefixes, skewed, N_LOOKUPS)
        addresses = as_arrays(version, numbers)
        asked = addresses.shape[0]
        each = {
            "at_ns": AT_NS + rng.integers(0, 10**17, asked),
            "side": rng.integers(1, 3, asked).astype(np.int8),
            "proto": rng.choice([6, 17], asked).astype(np.int32),
            "port": rng.integers(1, 1 << 16, asked).astype(np.int32),
        }
        rows = table.match(addresses)
        texts, packed = texts_and_packed(version, numbers[:N_PEER])
        wanted = rows[:N_PEER].tolist()
        covered, joined = (rows[:N_PEER] >= 0).tolist(), b"".join(packed)
        objects = [ipaddress.ip_address(text) for text in texts]
        ways = {
            "match": (partial(table.match, addresses), rows),
            "same": (partial(table.match, addresses, at_ns=AT_NS, side="server"), rows),
            "each": (partial(table.match, addresses, **each), rows),
            "gather": gatherer(addresses, read_bytes(table)),
            "pytricia": (partial(ask_pytricia, tree, texts), wanted),
            "packed": (partial(ask_pytricia, tree, packed), wanted),
            "radix": (partial(ask_radix, other, packed), wanted),
            "poptrie": (partial(third.contains_packed, joined, version == 6), covered),
            "single": (partial(ask_one, table.lookup, texts), wanted),
            "timed": (partial(ask_timed, table.lookup, texts), wanted),
            "objects": (partial(ask_one, table.lookup, objects), wanted),
            "objects, timed": (partial(ask_timed, table.lookup, objects), wanted),
            "pytricia, objects": (partial(ask_pytricia, tree, objects), wanted),
        }
        speed = measured(ways, repeats)
        both = two_cores(table, addresses, repeats)
        kind = "skewed" if skewed else "uniform"
        ours, text, bound = speed["match"], speed["pytricia"], speed["gather"]
        print(
            f"| {name} {kind} | {ours / 1e6:.0f} | {both / 1e6:.0f} | {speed['same'] / 1e6:.0f} "
            f"| {speed['each'] / 1e6:.0f} | {bound / 1e6:.0f} | {text / 1e6:.2f} "
            f"| {speed['packed'] / 1e6:.2f} | {speed['radix'] / 1e6:.2f} | {speed['poptrie'] / 1e6:.1f} "
            f"| {ours / text:.0f} | {speed['same'] / text:.0f} | {speed['each'] / text:.0f} "
            f"| {ours / speed['poptrie']:.0f} | {ours / bound:.2f} | {np.mean(rows >= 0):.0%} |",
            flush=True,
        )
        shown = ("single", "timed", "pytricia", "objects", "objects, timed", "pytricia, objects")
        rates = " | ".join(f"{speed[way] / 1e6:.2f}" for way in shown)
        singles.append(f"| {name} {kind} | {rates} |")
    return builds, singles


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", action="store_true", help="also a million prefixes")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    print("Millions of look-ups per second:\n")
    print(
        "| prefixes, look-ups | match | two threads | one time and side | each its own | gather "
        "| pytricia, text | pytricia, packed | py-radix | poptrie, covered? | times pytricia's text "
        "| one time and side | each its own | times poptrie | of gather | matched |"
    )
    print("|---|" + "---:|" * 15)
    sizes = (20_000, 1_000_000) if options.million else (20_000,)
    done = [measure(version, n, options.repeats) for n in sizes for version in (4, 6)]
    print("\nBuilding and memory:\n")
    print("| prefixes | read + compile, ms | pytricia, ms | table, MiB | pytricia, MiB |")
    print("|---|" + "---:|" * 4)
    print(*(builds for builds, _ in done), sep="\n")
    print("\nOne address at a time, millions per second:\n")
    print(
        "| prefixes, look-ups | text | with time, side, scope | pytricia | ipaddress object "
        "| with time, side, scope | pytricia |"
    )
    print("|---|" + "---:|" * 6)
    print(*(row for _, singles in done for row in singles), sep="\n")


if __name__ == "__main__":
    main()

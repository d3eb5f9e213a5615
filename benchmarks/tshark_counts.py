"""Packets and five-tuples of captures, ours beside tshark's: ``tshark_counts.py FOLDER [--all]``.

Each capture below the folder is read by both, packet by packet. What differs is counted under the
reason that explains it: the accounting's own (``malformed_ip_header``: tshark shows addresses of a
packet that we do not use), a layer that is not opened here, a fragment that took the ports of its
first piece, a file or block that one of the two refuses. Flows are more than five-tuples where a
timeout, or a SYN after the end, began another. Whatever no reason explains is printed and makes the
exit code 1. Needs ``tshark``; nothing is put together by it, nothing looked up.
"""

import argparse
import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classifier.errors import CaptureError
from classifier.flows import FlowTable
from classifier.wire import REASONS, Reassembly, open_capture

ROOT = Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("tshark", ROOT / "tests/differential/tshark.py")
assert _SPEC is not None
assert _SPEC.loader is not None
tshark: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tshark)

#: Layers that IP is looked for in; tshark's names.
OPENED = {"eth", "ethertype", "vlan", "sll", "null", "raw", "ppp", "pppoes", "mpls", "llc", "chdlc"}
Key = tuple[frozenset[tuple[int, int]], int]


@dataclass
class Counts:
    """What both made of one capture."""

    ours: int = 0  # packets, as all that follows
    theirs: int = 0
    ours_ip: int = 0  # in a flow
    theirs_ip: int = 0
    keys: tuple[set[Key], set[Key]] = field(default_factory=lambda: (set(), set()))
    flows: int = 0
    why: Counter[str] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)

    def differ(self) -> bool:
        return bool(self.why or self.unexplained)


def read(path: Path, n_flows: Counter[str]) -> Iterator[tuple[Any, bool]]:
    """Yield our rows, and whether each is a later fragment; ``n_flows`` is filled at the end."""
    table, reassembly = FlowTable(), Reassembly()
    capture = open_capture(path)

    def rows(packets: Any, buffer: Any) -> Iterator[tuple[Any, bool]]:
        later = packets["fragment"] >= 2  # ports, if any, are from another piece
        for _ in table.add(packets, buffer):
            pass
        yield from zip(packets.copy(), later.tolist(), strict=True)

    for packets, buffer in capture.batches():
        for settled in reassembly.settle(packets, buffer):
            yield from rows(*settled)
    for settled in reassembly.finish():
        yield from rows(*settled)
    n_flows["flows"] = table.flows
    for damage in capture.damage:
        n_flows[str(damage).partition("; ")[0].rpartition(": ")[2]] += 1


def key_of(a: tuple[int, int], b: tuple[int, int], proto: int) -> Key:
    return frozenset((a, b)), proto


def difference(row: Any, seen: Any) -> str:
    """Return what differs between our row and what tshark shows of the same packet."""
    source = int(row["src_hi"]) << 64 | int(row["src_lo"])
    target = int(row["dst_hi"]) << 64 | int(row["dst_lo"])
    if (seen.ip_version, seen.src, seen.dst) != (row["ip_version"], source, target):
        return "other addresses"
    if seen.proto not in (-1, row["proto"]):
        return "other protocol"
    if seen.src_port != -1 and (seen.src_port, seen.dst_port) != (row["src_port"], row["dst_port"]):
        return "other ports"
    return ""


def compare(path: Path, answer: "subprocess.CompletedProcess[str]") -> Counts:
    """Hold our reading of a capture against tshark's."""
    theirs, end = dict(tshark.rows(answer.stdout)), answer.stderr.strip().rpartition("\n")[2]
    counts, noted = Counts(theirs=len(theirs)), Counter[str]()
    counts.theirs_ip = sum(seen is not None for seen in theirs.values())
    try:
        for row, later in read(path, noted):
            counts.ours += 1
            seen = theirs.get(int(row["frame"]))
            add(counts, row, later, seen, int(row["frame"]) in theirs)
    except CaptureError as error:
        noted[f"refused: {error.problem}"] += 1
    counts.flows = noted.pop("flows", 0)
    if counts.theirs > counts.ours:
        why = next(iter(noted), "")
        (counts.why if why else counts.unexplained)[why or "packets not read"] += (
            counts.theirs - counts.ours
        )
    elif counts.ours > counts.theirs:
        refused = answer.returncode != 0 and bool(end)
        name = "tshark refuses the rest" if refused else "packets that tshark does not read"
        (counts.why if refused else counts.unexplained)[name] += counts.ours - counts.theirs
    return counts


def add(counts: Counts, row: Any, later: bool, seen: Any, read_by_tshark: bool) -> None:
    """Count one of our rows and what tshark shows of it."""
    if row["reason"]:
        if seen is not None:
            name = REASONS[row["reason"]]
            closed = next((layer for layer in seen.outer if layer not in OPENED), "")
            if name.startswith(("malformed", "truncated")):
                counts.why[name] += 1
            elif closed:
                counts.why[f"{name} (IP inside {closed})"] += 1
            else:
                counts.unexplained[f"{name}, but IP for tshark"] += 1
        return
    counts.ours_ip += 1
    a = int(row["src_hi"]) << 64 | int(row["src_lo"]), int(row["src_port"])
    b = int(row["dst_hi"]) << 64 | int(row["dst_lo"]), int(row["dst_port"])
    counts.keys[0].add(key_of(a, b, int(row["proto"])))
    if not read_by_tshark:
        return
    if seen is None:
        counts.unexplained["tshark sees no IP"] += 1
        return
    problem = difference(row, seen)
    if problem:
        counts.unexplained[problem] += 1
    c, d = (seen.src, max(seen.src_port, 0)), (seen.dst, max(seen.dst_port, 0))
    theirs = key_of(c, d, int(row["proto"]) if seen.proto == -1 else seen.proto)
    counts.keys[1].add(theirs)
    if theirs != key_of(a, b, int(row["proto"])) and not problem:
        explained = later or seen.proto == -1
        what = "fragment or extension header: tshark shows no ports"
        (counts.why if explained else counts.unexplained)[what] += 1


def line(name: str, counts: Counts) -> str:
    ours, theirs = (len(keys) for keys in counts.keys)
    what = [f"{why} {n}" for why, n in counts.why.most_common()]
    what += [f"**unexplained: {why} {n}**" for why, n in counts.unexplained.most_common()]
    return (
        f"| {name} | {counts.ours} / {counts.theirs} | {counts.ours_ip} / {counts.theirs_ip} "
        f"| {ours} / {theirs} | {counts.flows} | {'; '.join(what)} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="show captures without differences, too")
    parser.add_argument("--tshark", default="tshark", help="the program")
    options = parser.parse_args()
    paths = sorted(p for p in options.folder.rglob("*") if p.is_file())
    paths = [p for p in paths if p.suffix not in (".csv", ".md", ".txt", ".json", ".toml")]

    def ask(path: Path) -> "subprocess.CompletedProcess[str]":
        command = tshark.command(options.tshark, str(path))
        return subprocess.run(command, capture_output=True, text=True, check=False)

    why, unexplained = Counter[str](), Counter[str]()
    total = Counter[str]()
    print("| capture | packets | with IP | five-tuples | our flows | ours / tshark's differ by |")
    print("|---|---|---|---|---|---|")
    with ThreadPoolExecutor(2) as pool:
        for path, answer in zip(paths, pool.map(ask, paths), strict=True):
            counts = compare(path, answer)
            if counts.differ() or options.all:
                print(line(str(path.relative_to(options.folder)), counts))
            why += counts.why
            unexplained += counts.unexplained
            total["captures"] += 1
            total["without a difference"] += not counts.differ()
            total["packets"] += counts.ours
            total["tshark's packets"] += counts.theirs
            total["in flows"] += counts.ours_ip
            total["with IP for tshark"] += counts.theirs_ip
            total["five-tuples"] += len(counts.keys[0])
            total["tshark's five-tuples"] += len(counts.keys[1])
            total["flows"] += counts.flows
    print("\n" + ", ".join(f"{name} {n:,}" for name, n in total.items()))
    print("explained: " + "; ".join(f"{name} {n:,}" for name, n in why.most_common()))
    print("unexplained: " + ("; ".join(f"{k} {n:,}" for k, n in unexplained.items()) or "none"))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())

"""Check look-ups in a register full of traps against a scan of all of its rows.

python benchmarks/hostile_register.py [ROWS] [QUERIES] [SEED]      (default: 1,000,000 3,000 1)

The register is drawn from a seed: default routes, /32 inside /8, /128 inside /16, mapped IPv4, equal
prefixes with other scopes and times, adjacent and overlapping validity, rows that are the same but for
their name, all states. Most prefixes lie close together; questions are first and last addresses
and their neighbours, first and last instants, sides and scopes that nearly agree. The scan looks at each row
for each question and shares no code with the library. Columns and single look-ups, as plain Python and as
machine code, are asked, of the table as compiled and as loaded from a file. Exit 1: an answer differs.
"""

import ipaddress
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from classifier._jit import spend
from classifier.registry import Registry, Table

HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status\n"
DAY_NS = 86_400 * 10**9
BEGIN = np.datetime64("2020-01-01")
BEGIN_NS = int(BEGIN.astype("datetime64[ns]").astype(np.int64))
SIDES = {"client": 1, "server": 2, "either": 3}
PROTOS = {"any": -1, "tcp": 6, "udp": 17, "50": 50}
STATES = ["active"] * 6 + ["revoked", "pending", "expired", "rejected"]
LENGTHS = {
    4: [0, 1, 8, 12, 15, 16, 17, 20, 22, 24, 25, 28, 29, 30, 31] + [32] * 12,
    6: [0, 16, 32, 40, 48, 56, 63, 64, 65, 80, 96, 112, 126, 127, 128, 128, 128],
}
MOST_OF_ONE, MOST_OF_WIDE = 2000, 3  # rows of one prefix; 4,096 are refused


def draw_rows(draw, n):
    """Return rows (version, value, length, side, proto, port, first day, last day or None, state)."""
    crowded = {
        4: [draw.getrandbits(32) for _ in range(max(n // 200, 3))],
        6: [0x20010DB8 << 96 | draw.getrandbits(40) << 56 for _ in range(max(n // 200, 3))],
    }
    rows, count = [], Counter()
    while len(rows) < n:
        version = draw.choice((4, 6))
        bits = 32 if version == 4 else 128
        length = draw.choice(LENGTHS[version])
        value = draw.choice(crowded[version]) ^ draw.getrandbits(draw.choice([2, 4, 8, 12, 16, 20]))
        if draw.random() < 0.2:
            value = draw.getrandbits(bits)
        if version == 6 and draw.random() < 0.05:  # a mapped one is IPv4
            value, length = 0xFFFF << 32 | draw.choice(crowded[4]), max(length, 96)
        value = value >> (bits - length) << (bits - length)
        prefix = version, value, length
        count[prefix] += 1
        if count[prefix] > (MOST_OF_ONE if length > 15 else MOST_OF_WIDE):
            continue
        proto = draw.choice([*PROTOS, "any"])
        port = draw.choice(["any", "any", "443", "1194", "1", "65535"])
        if length < 16:  # else few addresses have no answer
            proto, port = "tcp", draw.choice(["443", "1194"])
        port = port if proto in ("tcp", "udp") else "any"
        first = draw.randrange(1500)
        last = first + draw.randrange(1, 1500) if draw.random() < 0.7 else None
        rest = draw.choice(list(SIDES)), proto, port
        rows.append((*prefix, *rest, first, last, draw.choice(STATES)))
        if draw.random() < 0.1:  # the same again, or from the day on when it ends
            first = last if last is not None and draw.random() < 0.7 else first
            rows.append((*prefix, *rest, first, first + 100, "active"))
    return rows[:n]


def prefix_text(version, value, length):
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return f"{kind(value)}/{length}"


def write(path, rows):
    days = [str(BEGIN + day) for day in range(4000)]
    with path.open("w") as file:
        file.write(HEADER)
        for number, (version, value, length, side, proto, port, first, last, state) in enumerate(
            rows
        ):
            end = "" if last is None else days[last]
            file.write(
                f"R-{number},Holder {number % 97},bank,{prefix_text(version, value, length)},{side},"
                f"{proto},{port},{days[first]},{end},{state}\n"
            )


class Scan:
    """All rows as columns, each compared with each question."""

    def __init__(self, rows):
        mapped = [
            (4, value & 0xFFFFFFFF, length - 96, *rest)
            if version == 6 and value >> 32 == 0xFFFF
            else (version, value, length, *rest)
            for version, value, length, *rest in rows
        ]
        columns = list(zip(*mapped, strict=True))
        self.version, self.length = np.array(columns[0]), np.array(columns[2])
        free = [(1 << (32 if v == 4 else 128) - n) - 1 for v, n in zip(*columns[:3:2], strict=True)]
        self.value, self.free = self.halves(columns[1]), self.halves(free)
        self.side = np.array([SIDES[side] for side in columns[3]])
        self.proto = np.array([PROTOS[proto] for proto in columns[4]])
        self.port = np.array([-1 if port == "any" else int(port) for port in columns[5]])
        self.first = np.array(columns[6])
        self.last = np.array([10**6 if last is None else last for last in columns[7]])
        self.active = np.array([state == "active" for state in columns[8]])

    @staticmethod
    def halves(values):
        return tuple(
            np.array([value >> shift & 2**64 - 1 for value in values], np.uint64)
            for shift in (64, 0)
        )

    def answer(self, version, value, day, side, proto, port):
        """Return the row: the longest prefix, the narrower scope, the earlier one."""
        if version == 6 and value >> 32 == 0xFFFF:
            version, value = 4, value & 0xFFFFFFFF
        fits = self.active & (self.version == version) & (self.side & side != 0)
        for half, free, asked in zip(self.value, self.free, self.halves([value]), strict=True):
            fits &= (half ^ asked) & ~free == 0
        if day is not None:
            fits &= (self.first <= day) & (day < self.last)
        if proto >= 0:
            fits &= (self.proto < 0) | (self.proto == proto)
        if port >= 0:
            fits &= (self.port < 0) | (self.port == port)
        found = np.flatnonzero(fits)
        wide = (self.proto[found] < 0).astype(int) + (self.port[found] < 0)
        return int(found[np.lexsort((found, wide, -self.length[found]))[0]]) if found.size else -1


def draw_questions(draw, rows, n):
    questions = []
    for _ in range(n):
        version, value, length = draw.choice(rows)[:3]
        size = 1 << (32 if version == 4 else 128) - length
        value += draw.choice([0, -1, size - 1, size, draw.randrange(size)])
        day = draw.choice([None, draw.randrange(3200), draw.choice(rows)[6], draw.choice(rows)[7]])
        scope = draw.choice([-1, 6, 17, 50, 255]), draw.choice([-1, 443, 1194, 1, 65535, 80, 0])
        bits = 32 if version == 4 else 128
        questions.append((version, value % (1 << bits), day, draw.choice([1, 2, 3]), *scope))
    return questions


def ask_columns(table, questions):
    """Return rows by position of the question, asked in columns."""
    found = {}
    for version in (4, 6):
        for timed in (False, True):
            chosen = [
                (i, question)
                for i, question in enumerate(questions)
                if question[0] == version and (question[2] is not None) == timed
            ]
            if not chosen:
                continue
            _, values, days, sides, protos, ports = zip(*(q for _, q in chosen), strict=True)
            addresses = (
                np.array(values, np.uint32)
                if version == 4
                else np.array([(v >> 64, v & 2**64 - 1) for v in values], np.uint64)
            )
            at = np.array([BEGIN_NS + day * DAY_NS for day in days]) if timed else None
            rows = table.match(addresses, at, np.array(sides), np.array(protos), np.array(ports))
            found |= dict(zip((i for i, _ in chosen), rows.tolist(), strict=True))
    return [found[i] for i in range(len(questions))]


def ask_one_by_one(table, questions):
    names = {1: "client", 2: "server", 3: None}
    found = []
    for version, value, day, side, proto, port in questions:
        kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        at = None if day is None else BEGIN_NS + day * DAY_NS
        scope = names[side], None if proto < 0 else proto, None if port < 0 else port
        both = [table.lookup(address, at, *scope) for address in (kind(value), str(kind(value)))]
        rows = {-1 if match is None else match.row for match in both}
        found.append(rows.pop() if len(rows) == 1 else "text and object differ")
    return found


def main():
    given = [int(text.replace(",", "")) for text in sys.argv[1:]]
    n, asked, seed = [*given, *(1_000_000, 3_000, 1)[len(given) :]]
    draw = random.Random(seed)
    rows = draw_rows(draw, n)
    with tempfile.TemporaryDirectory() as folder:
        path, saved = Path(folder) / "register.csv", Path(folder) / "table"
        write(path, rows)
        begun = time.process_time()
        registry = Registry.open(path)
        read = time.process_time()
        table = registry.compile()
        print(f"{n:,} rows: read {read - begun:.2f} s, compiled {time.process_time() - read:.2f} s")
        table.save(saved)
        loaded = Table.load(saved)
        questions = draw_questions(draw, rows, asked)
        scan = Scan(rows)
        wanted = [scan.answer(*question) for question in questions]
        print(f"{asked:,} questions, {sum(row >= 0 for row in wanted):,} with an answer")
        wrong = 0
        for name, one in (("compiled", table), ("loaded", loaded)):
            ways = {"one by one": ask_one_by_one, "columns": ask_columns}
            for how, ask in ways.items():
                differ = sum(a != b for a, b in zip(ask(one, questions), wanted, strict=True))
                print(f"  {name}, {how}: {differ} differ from the scan")
                wrong += differ
            spend(1 << 20)
            one._translate()
            for how, ask in ways.items():
                differ = sum(a != b for a, b in zip(ask(one, questions), wanted, strict=True))
                print(f"  {name}, {how}, in machine code: {differ} differ from the scan")
                wrong += differ
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

"""Kill imports at many moments, and let writers work at once: nothing may be lost or half done.

python benchmarks/crash_register.py [ROWS] [KILLS] [STEPS]      (default: 1,000,000 10 120)

A process imports a register of so many rows into a database that has rows, and is killed (SIGKILL) after
a share of the time that an import takes, from its start to its end. The database must then hold what
it held, or all of it, and its chain of digests must be whole. Then three processes take so many steps
each at once, while a fourth imports, and all of them must be on record. Exit 1: something is not so.
"""

import contextlib
import hashlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import register

from classifier.registry import Registry, Window, import_rows, verify

SAID = {"by": "benchmark", "reason": "measure"}
IMPORT = """
import sys
from classifier.registry import import_rows
print("begun", flush=True)
import_rows(sys.argv[1], sys.argv[2], check=False, by="benchmark", reason="crash")
"""
STEPS = """
import sys
from classifier.registry import Window
window, name = Window(sys.argv[1]), sys.argv[2]
for k in range(int(sys.argv[3])):
    said = {"by": name, "reason": f"step {k}"}
    made = window.add(name, "bank", [f"10.{k >> 8}.{k & 255}.1"], valid_to="2090-01-01", **said)
    window.approve(made.registration_id, **said)
    if k % 3 == 0:
        window.renew(made.registration_id, "2091-01-01", **said)
    if k % 5 == 0:
        window.revoke(made.registration_id, **said)
"""


def start(code, *args):
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def content(path):
    """Return a digest of all that the tables hold, and the number of changes."""
    digest, changes = hashlib.sha256(), 0
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table, key in (("registrations", "row"), ("changes", "change")):
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY {key}"):
                digest.update(repr(row).encode())
                changes += table == "changes"
    return digest.hexdigest(), changes


def killed(source, before, kills):
    """Return how many of the killed imports left something else than what was there, or all."""
    held, changes = content(before)
    into = before.with_name("killed.db")
    shutil.copy(before, into)
    writer = start(IMPORT, source, into)
    writer.stdout.readline()
    begun = time.perf_counter()
    writer.wait()
    whole = time.perf_counter() - begun
    print(f"an import takes {whole:.1f} s")
    rows = len(Registry.open(into).rows)
    wrong = 0
    for kill in range(kills):
        for old in before.parent.glob("killed.db*"):
            old.unlink()
        shutil.copy(before, into)
        writer = start(IMPORT, source, into)
        writer.stdout.readline()
        time.sleep(whole * (kill + 0.5) / kills)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        left = sorted(path.name for path in before.parent.glob("killed.db*"))
        n = len(Registry.open(into).rows)  # rolls back what was begun
        digest, now = content(into)
        sound = verify(into).whole if kill % 3 == 0 else True
        same, all_of_it = digest == held, now == changes + 1 and n == rows
        if sound and same and kill == kills // 2:
            import_rows(source, into, check=False, by="benchmark", reason="again")
            sound = len(Registry.open(into).rows) == rows
        wrong += not (sound and (same or all_of_it))
        state = "as before" if same else "imported" if all_of_it else "HALF DONE"
        print(f"  killed at {(kill + 0.5) / kills:4.0%}: {', '.join(left)}: {state}", flush=True)
    return wrong


def at_once(source, into, steps):
    """Return how many steps of writers at once are not on record."""
    before = content(into)[1]
    begun = time.perf_counter()
    writers = [start(STEPS, into, f"writer {k}", steps) for k in range(3)]
    writers.append(start(IMPORT, source, into))
    failed = sum(writer.wait() != 0 for writer in writers)
    wanted = 3 * sum(2 + (k % 3 == 0) + (k % 5 == 0) for k in range(steps)) + 1
    found = content(into)[1] - before
    verified = verify(into)
    print(
        f"{len(writers)} writers, {wanted} changes in {time.perf_counter() - begun:.1f} s: {found} on "
        f"record, {failed} writers failed, the history is {'' if verified.whole else 'NOT '}whole"
    )
    return abs(wanted - found) + failed + (not verified.whole)


def main():
    given = [int(text.replace(",", "")) for text in sys.argv[1:]]
    n, kills, steps = [*given, *(1_000_000, 10, 120)[len(given) :]]
    with tempfile.TemporaryDirectory() as folder:
        source, small, more = (Path(folder) / f"{name}.csv" for name in ("list", "small", "more"))
        before = Path(folder) / "register.db"
        register.write(source, n)
        register.write(small, 2000)
        register.write(more, 5000)  # the same and others
        Window(before).init(**SAID)
        Window(before).add("A", "bank", ["192.0.2.1"], registration_id="X", **SAID)
        import_rows(small, before, check=False, **SAID)
        wrong = killed(source, before, kills)
        wrong += at_once(more, before, steps)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

"""Kernels hold to their own memory, beside threads that take and free memory all the time."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, threading
import numpy as np
from classifier import _jit
from classifier.datasets import demo
from classifier.pipeline import Options, Reading

def read():
    with _jit.plain(False):
        reading = Reading([demo().capture] * 4, Options(separate=True))
        return [str((b.flows.tolist(), b.packets.tolist())) for b in reading.batches()]

def busy():
    while not done.is_set():
        for size in (8192, 8256, 512, 40000):
            np.full(size // 8, 0x5A5A5A5A5A5A5A5A, np.uint64)

expected = read()
done = threading.Event()
others = [threading.Thread(target=busy) for _ in range(2)]
for thread in others:
    thread.start()
try:
    same = [read() == expected for _ in range(40)]
finally:
    done.set()
print(same.count(True))
"""


def test_kernels_beside_threads_that_share_an_arena(tmp_path: Path) -> None:
    # One arena of the C library, as threads have where there are many of them
    around = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=around, check=False
    )
    assert (run.returncode, run.stdout.strip()) == (0, "40"), run.stderr[-2000:]

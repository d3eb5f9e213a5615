"""What first touches of memory cost, in small pages and in large ones: ``first_touches.py``.

``flows/memory.py`` weighs one against the other by this. Each line is a process of its own, which asks for
memory twice: what a virtual machine's host took back comes slowly the first time. Linux alone.
"""

import mmap
import statistics
import subprocess
import sys
import time

import numpy as np

LARGE, SMALL = 2 << 20, 4 << 10
PAGES = 50
WAYS = ("small", "large")


def touch(way: str) -> list[float]:
    """Return the microseconds of processor time that each 2 MiB of new memory took."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, (PAGES + 1) * LARGE, flags=private)
    array = np.frombuffer(memory, np.uint8)
    first = -array.ctypes.data % LARGE
    took = []
    for at in range(first, first + PAGES * LARGE, LARGE):
        begun = time.thread_time_ns()
        if way == "large":
            memory.madvise(mmap.MADV_HUGEPAGE, at, LARGE)
            array[at] = 1
        else:
            array[at : at + LARGE : SMALL] = 1
        took.append((time.thread_time_ns() - begun) / 1000)
    return took


def main() -> None:
    if len(sys.argv) > 1:
        for _ in range(2):
            took = touch(sys.argv[1])
            print(f"{statistics.median(took):.0f} us | {max(took):.0f} us", end=" | ")
        return
    print("| pages | 2 MiB, median | most | again, median | most |\n|---|---|---|---|---|")
    for way in WAYS:
        out = subprocess.run(
            [sys.executable, __file__, way], capture_output=True, text=True, check=True
        )
        print(f"| {way} | {out.stdout.strip()}")


if __name__ == "__main__":
    main()

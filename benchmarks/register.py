"""Measure what the register does around look-ups: import, open, verify, steps, export, churn.

python benchmarks/register.py [ROWS]      (default: 20,000)

Prefixes, holders and dates are drawn from a seed. Look-ups are measured by prefix_table.py.
"""

import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from classifier.registry import Registry, Window, import_rows, simulate_churn, verify

HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
CATEGORIES = ["bank", "call_centre", "freelancer", "software_house"]
SAID = {"by": "benchmark", "reason": "measure"}


def write(path: Path, n: int) -> None:
    """Write a register of n rows."""
    draw = random.Random(1)
    with path.open("w") as file:
        file.write(HEADER + "\n")
        for k in range(n):
            length = draw.choice([24, 28, 32, 32, 32])
            value = draw.getrandbits(32) >> (32 - length) << (32 - length)
            prefix = ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))
            first, last = f"202{draw.randint(0, 4)}-0{draw.randint(1, 9)}-01", draw.randint(6, 9)
            file.write(
                f"R-{k // 2:07d},Holder {k % 50_000},{draw.choice(CATEGORIES)},{prefix}/{length},"
                f"{draw.choice(['server', 'client', 'either'])},any,any,{first},202{last}-01-01,active\n"
            )


def main() -> None:
    """Print a line for each thing that is done."""
    n = int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        source, into = Path(folder) / "list.csv", Path(folder) / "register.db"
        write(source, n)
        window = Window(into)
        registry = Registry.open(source)

        def again() -> None:
            nonlocal registry
            registry = Registry.open(into)

        steps = {
            "open the CSV": lambda: Registry.open(source),
            "import, unchecked": lambda: import_rows(source, into, check=False),
            "import again, unchecked": lambda: import_rows(source, into, check=False),
            "open the database": again,
            "look for overlaps": lambda: registry.check(),
            "verify the history": lambda: verify(into),
            "apply": lambda: window.add("A", "bank", ["9.9.9.9"], registration_id="X", **SAID),
            "approve": lambda: window.approve("X", **SAID),
            "as of a time": lambda: registry.as_of("2024-06-01", "2030-01-01"),
            "compile": lambda: registry.compile(),
            "export CSV": lambda: registry.save(Path(folder) / "out.csv"),
            "churn, a year, one run": lambda: simulate_churn(registry, 365, runs=1),
        }
        print(f"{n:,} rows")
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            print(f"  {name:<26} {time.perf_counter() - begun:8.2f} s")
        print(f"  peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()

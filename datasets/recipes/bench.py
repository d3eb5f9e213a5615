"""What a conformance case is, and what it may use.

A case is a generator: what it does before ``yield`` is not captured (daemons start; a tunnel comes
up that the capture joins in mid-session), what follows is.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from netns import Lab, warm_up
from tunnels import Authority

T = TypeVar("T")


class Bench:
    """One client inside, one server outside, and choices that vary from repeat to repeat."""

    def __init__(self, lab: Lab, rng: random.Random, vary: bool) -> None:
        self.lab, self.rng, self.vary = lab, rng, vary
        self.authority = Authority(lab)
        site, host = rng.randint(1, 250), rng.randint(2, 250)
        inside = (f"10.{30 if vary else 20}.{site}.{host}", f"2001:db8:{0x20 + vary}:{site:x}::5")
        net = rng.choice(["192.0.2", "198.51.100", "203.0.113"])
        outside = (f"{net}.{rng.randint(2, 250)}", f"2001:db8:{0x200 + vary:x}::{host:x}")
        self.client = lab.inside("client", *inside)
        self.server = lab.outside("server", *outside)
        warm_up(self.client, self.server)

    def pick(self, usual: T, *others: T) -> T:
        """Return the usual value in the shipped case, any of all in the varied ones."""
        return self.rng.choice((usual, *others)) if self.vary else usual

    def port(self, usual: int) -> int:
        """Return the usual port, or in varied cases often another one."""
        return self.pick(usual, usual, 443, self.rng.randint(1024, 60000))

    def number(self, usual: int, least: int, most: int) -> int:
        """Return the usual number, or in varied cases one from the range."""
        return self.rng.randint(least, most) if self.vary else usual


Run = Callable[[Bench], Iterator[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """One conformance case."""

    name: str
    shows: str
    programs: tuple[str, ...]
    run: Run
    snaplen: int = 0
    rewrite: Callable[[Path], None] | None = None
    note: str = ""


CASES: dict[str, Case] = {}


def case(
    name: str,
    shows: str,
    *programs: str,
    snaplen: int = 0,
    rewrite: Callable[[Path], None] | None = None,
    note: str = "",
) -> Callable[[Run], Run]:
    """Add a case; ``programs`` are the packages whose versions its README names."""

    def add(run: Run) -> Run:
        CASES[name] = Case(name, shows, programs, run, snaplen, rewrite, note)
        return run

    return add

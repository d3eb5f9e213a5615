"""What a scenario is, and what it may use.

A scenario is a generator in three parts: what it does before its first ``yield`` is never captured
(servers start, keys are made); between the two the tunnel comes up; the second ``yield`` hands over
the ways through it, and the laboratory drives workloads through them; what follows says goodbye.
The capture starts at the first ``yield``, or, in runs that join in mid-session, at the second. An
ordinary scenario has one ``yield``, and does its own traffic after it.
"""

import functools
import importlib
import pkgutil
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from classifier.errors import LabError
from classifier.lab.authority import Authority
from classifier.lab.conditions import Allowed
from classifier.lab.host import Host
from classifier.lab.labels import TCP, UDP
from classifier.lab.network import Network, kernel_has, warm_up
from classifier.lab.workloads import Way

__all__ = ["SCENARIOS", "TCP", "UDP", "Scenario", "Stage", "Way", "load", "scenario", "select"]

T = TypeVar("T")
INNER = "172.16.9.1"  # an address that exists on the server alone: only a tunnel leads there
Ways = Sequence[Way] | Way | None
Run = Callable[["Stage"], Iterator[Ways]]
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9.]+)+")


class Stage:
    """Clients inside, a server outside, and choices that vary from seed to seed.

    Parameters
    ----------
    net : Network
        Built with the run's conditions.
    rng : random.Random
        Of the scenario's own choices.
    vary : bool
        Without it every choice is the usual one.
    """

    def __init__(self, net: Network, rng: random.Random, vary: bool) -> None:
        self.net, self.rng, self.vary = net, rng, vary
        self.conditions = net.conditions
        self.choices: list[str] = []
        site, host = rng.randint(1, 250), rng.randint(2, 200)
        range4 = rng.choice(["192.0.2", "198.51.100", "203.0.113"])
        self.clients = [
            net.inside(
                "client" if not number else f"client{number + 1}",
                f"10.{30 if vary else 20}.{site}.{host + number}",
                f"2001:db8:{0x20 + vary:x}:{site:x}::{host + number:x}",
            )
            for number in range(self.conditions.clients)
        ]
        self.server = net.outside(
            "server", f"{range4}.{rng.randint(2, 250)}", f"2001:db8:{0x200 + vary:x}::{host:x}"
        )
        for client in self.clients:
            warm_up(client, self.server)

    @property
    def client(self) -> Host:
        """The first client."""
        return self.clients[0]

    @property
    def address(self) -> str:
        """The server's outer address, of the IP version that this run uses."""
        return self.of(self.server)

    @property
    def place(self) -> str:
        """The same, in brackets where it is IPv6, to be followed by ``:port``."""
        return f"[{self.address}]" if ":" in self.address else self.address

    def of(self, host: Host) -> str:
        """Return a host's outer address, of the IP version that this run uses."""
        return host.address6 if self.conditions.ipv6 else host.address

    @functools.cached_property
    def authority(self) -> Authority:
        """A certificate authority that lives as long as the run."""
        return Authority(self.net.folder / "ca")

    @functools.cached_property
    def inner(self) -> str:
        """An address of the server that only what runs on the server can reach."""
        self.server.run("ip", "address", "add", f"{INNER}/32", "dev", "lo")
        return INNER

    def pick(self, usual: T, *others: T) -> T:
        """Return the usual value, or in varied runs any of all."""
        chosen = self.rng.choice((usual, *others)) if self.vary else usual
        self.choices.append(str(chosen))
        return chosen

    def port(self, usual: int) -> int:
        """Return the usual port, or in varied runs often another one."""
        return self.pick(usual, usual, 443, self.rng.randint(1024, 60000))

    def number(self, usual: int, least: int, most: int) -> int:
        """Return the usual number, or in varied runs one from the range."""
        chosen = self.rng.randint(least, most) if self.vary else usual
        self.choices.append(str(chosen))
        return chosen

    def claim(
        self,
        proto: int,
        port: int,
        application: str,
        family: str = "",
        host: Host | None = None,
        is_vpn: int | None = None,
    ) -> None:
        """Say what was started at a port of the server (or of another host), on all addresses.

        Parameters
        ----------
        proto : int
            IP protocol number: ``TCP``, ``UDP``, 1 for ICMP, 47 for GRE ...
        port : int
            0 for protocols without ports, and where any port of that host will do.
        application : str
            Name of the outer protocol, such as ``tls``.
        family : str
            Name of part 8 of the contract; empty for ordinary traffic.
        host : Host, optional
            Default: the server.
        is_vpn : int, optional
            Default: 1 where there is a family; give 0 for bare encapsulation.
        """
        for address in (host or self.server).addresses:
            self.net.claim(proto, address, port, application, family, is_vpn)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario: its name, what it shows, what it needs, and how it is run."""

    name: str
    shows: str
    run: Run
    programs: tuple[str, ...] = ()
    """``program:package`` each, ``module.NAME`` standing for a module of Debian's Python; without
    ``:package`` the package has the program's name; an empty package (``hysteria:``) means that
    Debian has none."""
    kernel: tuple[str, ...] = ()
    """What the kernel must be able to do: keys of ``network.PROBES``."""
    allowed: Allowed = field(default_factory=Allowed)
    seconds: float = 120.0
    """A run that takes longer has failed."""
    ways: bool = True
    """Whether workloads are driven through it; without, it is an ordinary scenario."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The Debian packages it needs."""
        parts = (program.partition(":") for program in self.programs)
        return tuple(package if colon else name for name, colon, package in parts)

    def lacks_programs(self) -> str:
        """Return which programs are missing, with the remedy; empty where none is."""
        missing: list[str] = []
        foreign: list[str] = []
        for program, package in zip(self.programs, self.packages, strict=True):
            name = program.partition(":")[0]
            if not _there(name):
                (missing if package else foreign).append(package or name)
        if missing:
            return f"apt-get install {' '.join(dict.fromkeys(missing))}"
        if foreign:
            return f"Debian has no package; put {' '.join(foreign)} into a folder of PATH"
        return ""

    def lacks(self) -> str:
        """Return what this machine lacks for it, with the remedy; empty where nothing is."""
        programs = self.lacks_programs()
        if programs:
            return programs
        features = [feature for feature in self.kernel if not kernel_has(feature)]
        if features:
            return f"this kernel lacks {' '.join(features)}"
        return ""


def _there(program: str) -> bool:
    """Whether a program, or a module of Debian's Python, is installed."""
    kind, _, module = program.partition(".")
    if kind == "module":
        return Path("/usr/lib/python3/dist-packages", module).is_dir()
    return shutil.which(program) is not None


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str,
    shows: str,
    *programs: str,
    kernel: Sequence[str] = (),
    ways: bool = True,
    seconds: float = 120.0,
    ipv6: bool = False,
    nat: bool = True,
    vlan: bool = True,
    late: bool | None = None,
    loss: bool = True,
    small_mtu: bool = True,
    clients: int = 1,
) -> Callable[[Run], Run]:
    """Add a scenario to the registry.

    Parameters
    ----------
    name : str
        ``<software>-<variant>`` in lower case.
    shows : str
        One line for ``classifier lab list``.
    *programs : str
        What must be installed, each ``program:package``.
    kernel : sequence of str
        What the kernel must be able to do, by the names of ``network.PROBES``.
    ways : bool
        False for an ordinary scenario, which does its own traffic.
    seconds : float
        A run that takes longer has failed.
    ipv6, nat, vlan, late, loss, small_mtu : bool
        Which conditions the software copes with; ``late`` is whether a capture may start after the
        tunnel is up (default: as ``ways``).
    clients : int
        How many clients at once it can have at most.
    """
    if not NAME.fullmatch(name) or not shows:
        raise LabError(f"{name!r} is no scenario name", remedy="name it <software>-<variant>")

    def add(run: Run) -> Run:
        if name in SCENARIOS:
            raise LabError(f"two scenarios have the name {name!r}", remedy="rename one")
        joins = ways if late is None else late
        allowed = Allowed(ipv6, nat, vlan, joins, loss, small_mtu, clients)
        made = Scenario(name, shows, run, programs, tuple(kernel), allowed, seconds, ways)
        SCENARIOS[name] = made
        return run

    return add


def load() -> dict[str, Scenario]:
    """Import all scenario files and return the scenarios by name, in order of name."""
    from classifier.lab import scenarios

    for module in sorted(entry.name for entry in pkgutil.iter_modules(scenarios.__path__)):
        importlib.import_module(f"{scenarios.__name__}.{module}")
    return dict(sorted(SCENARIOS.items()))


def select(names: Sequence[str]) -> list[Scenario]:
    """Return the scenarios of these names; all where there are none.

    A name that ends in ``*`` stands for all that begin so.

    Raises
    ------
    LabError
        If a name is unknown.
    """
    known = load()
    chosen: dict[str, Scenario] = {}
    for name in names or ["*"]:
        found = [key for key in known if key == name]
        if name.endswith("*"):
            found = [key for key in known if key.startswith(name[:-1])]
        if not found:
            raise LabError(
                "there is no such scenario", path=name, remedy="classifier lab list shows them"
            )
        chosen |= {key: known[key] for key in found}
    return list(chosen.values())

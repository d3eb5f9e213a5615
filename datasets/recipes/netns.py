"""A small Internet out of network namespaces: inside hosts, two routers, outside hosts.

::

    inside host --- gate === net --- outside host        === is the link that is captured
    inside host --'            '--- outside host

How this works: each host is one process (``unshare`` with its own network, mount and process-id
namespace) and everything on it runs below that process, entered with ``nsenter``. Ending the one
process ends the host, its daemons and its interfaces, so nothing has to be looked up by name, and
nothing is left behind: the process also ends when the recipe itself is killed.

There is no bridge and no address translation. Every host has single addresses and a default route
to its router, which answers under one and the same link address on all its interfaces.
"""

import contextlib
import ctypes
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

ROUTER4 = "169.254.1.1"
ROUTER6 = "fe80::1"
LINK = ("169.254.2.1", "169.254.2.2")  # gate, net: the captured link
PR_SET_PDEATHSIG = 1  # prctl(2)
# Segmentation offloads would show packets that were never on a wire; transmit checksum offload
# would show wrong checksums.
OFFLOADS = ("tso", "gso", "gro", "tx", "rx")

# An empty resolver file: no program may ask the real Internet's name servers.
HOLDER = """\
mount -t tmpfs none /run && mount --bind /dev/null "$(readlink -f /etc/resolv.conf)" || exit 1
echo up
exec sleep infinity
"""


class RecipeError(Exception):
    """Something the recipe needs did not work; the message is one line for the user."""


class Claim(NamedTuple):
    """What the recipe itself started at a server's transport address."""

    proto: int
    address: str
    port: int  # 0: any, for protocols without ports
    is_vpn: int
    family: str
    application: str


def require(*programs: str) -> None:
    """Check that this is Linux, that we are root, and that the programs are installed."""
    os.environ["PATH"] += ":/usr/sbin:/sbin:/usr/lib/ipsec"
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise RecipeError("network namespaces need Linux and root; run this as root on Linux")
    for program in ("unshare", "nsenter", "ip", "ethtool", "tcpdump", *programs):
        if shutil.which(program) is None:
            raise RecipeError(f"{program} is not installed; datasets/README.md names the packages")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Poll until the condition holds; ``what`` names it in the error."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RecipeError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)


class Daemon:
    """A program running on a host, with its output in a file."""

    def __init__(self, host: "Host", argv: Sequence[str], log: Path, env: dict[str, str]) -> None:
        self.name = Path(argv[0]).name
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*host.enter, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | env,
                start_new_session=True,
            )

    def output(self) -> str:
        """Return what the program has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_output(self, text: str, seconds: float = 15.0) -> None:
        """Wait until the program has printed the text."""

        def printed() -> bool:
            if text in self.output():
                return True
            if self.process.poll() is not None:
                last = (self.output().strip().splitlines() or ["no output"])[-1]
                raise RecipeError(f"{self.name} ended with {self.process.returncode}: {last}")
            return False

        wait_for(printed, f"{self.name}: {text!r} in {self.log}", seconds)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send the signal to the program (``nsenter`` is its parent) and wait for its end."""
        pid = self.process.pid
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                os.kill(int(child), number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)


class Host:
    """A machine of its own: interfaces, process ids, ``/run`` and a scratch folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.addresses: list[str] = []
        self._holder = subprocess.Popen(
            [
                *["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"],
                *["sh", "-c", HOLDER],
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # util-linux 2.38 complains when it is to be killed
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  recipes have one thread
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"up\n":
            raise RecipeError("a namespace could not be made; run this as root, outside a sandbox")
        holder = self._holder.pid
        self.pid = int(Path(f"/proc/{holder}/task/{holder}/children").read_text().split()[0])
        self.enter = ["nsenter", "-t", str(self.pid), "-n", "-m", "-p"]
        self._daemons = 0
        self.run("ip", "link", "set", "lo", "up")
        for knob in ("default", "all"):
            self.set(f"net/ipv6/conf/{knob}/accept_dad", "0")  # addresses are usable at once

    @property
    def address(self) -> str:
        """The first address."""
        return self.addresses[0]

    def set(self, knob: str, value: str) -> None:
        """Write one kernel parameter of this host."""
        self.run("sh", "-c", f"echo {value} > /proc/sys/{knob}")

    def run(
        self,
        *argv: str,
        check: bool = True,
        env: dict[str, str] | None = None,
        data: str | None = None,
        seconds: float = 30.0,
    ) -> str:
        """Run a program on this host to its end and return what it printed."""
        with tempfile.TemporaryFile() as out:  # no pipe: a child left behind cannot hold us up
            try:
                code = subprocess.run(
                    [*self.enter, *argv],
                    input=None if data is None else data.encode(),
                    stdin=subprocess.DEVNULL if data is None else None,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    timeout=seconds,
                    env=os.environ | (env or {}),
                    start_new_session=True,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                raise RecipeError(f"{' '.join(argv)} took more than {seconds:.0f} s") from None
            out.seek(0)
            printed = out.read().decode(errors="replace")
        if check and code:
            last = (printed.strip().splitlines() or ["no output"])[-1]
            raise RecipeError(f"{self.name}: {' '.join(argv)} ended with {code}: {last}")
        return printed

    def start(self, *argv: str, env: dict[str, str] | None = None) -> Daemon:
        """Start a program on this host; it ends with the host at the latest."""
        self._daemons += 1
        log = self.folder / f"{self._daemons:02d}-{Path(argv[0]).name}.log"
        return Daemon(self, argv, log, env or {})

    def write(self, name: str, text: str | bytes, mode: int = 0o600) -> str:
        """Write a file into the host's folder and return its path."""
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return str(path)

    def listens(self, proto: str, port: int) -> bool:
        """Whether a socket of this host is bound to the port."""
        flag = "-t" if proto == "tcp" else "-u"
        table = self.run("ss", "-Hnl", flag)
        return any(row.split()[3].endswith(f":{port}") for row in table.splitlines())

    def wait_listen(self, proto: str, port: int) -> None:
        """Wait until a socket of this host is bound to the port."""
        wait_for(lambda: self.listens(proto, port), f"{self.name}: a listener on {proto}/{port}")

    def close(self) -> None:
        """End the host and all that runs on it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # process 1 of its namespace takes all others along
        self._holder.wait(10)
        assert self._holder.stdout is not None
        self._holder.stdout.close()


class Lab:
    """Inside hosts behind ``gate``, outside hosts behind ``net``, one captured link between."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.hosts: list[Host] = []
        self._interfaces = 0
        self._folder = tempfile.TemporaryDirectory(prefix="netns-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o755)  # daemons that give up root still read their files

    def __enter__(self) -> Self:
        self._handlers = {
            number: signal.signal(number, lambda *_: sys.exit(130))
            for number in (signal.SIGTERM, signal.SIGHUP)
        }
        try:
            self._build()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _build(self) -> None:
        self.gate, self.net = self._host("gate"), self._host("net")
        self._wire(self.gate, "uplink", self.net, "uplink")
        for router, own, other in ((self.gate, *LINK), (self.net, *LINK[::-1])):
            router.set("net/ipv4/ip_forward", "1")
            router.set("net/ipv6/conf/all/forwarding", "1")
            router.run("ip", "address", "add", own, "peer", other, "dev", "uplink")
        self.gate.run("ip", "route", "add", "default", "via", LINK[1])
        self.gate.run("ip", "address", "add", "fe80::a/64", "dev", "uplink")
        self.net.run("ip", "address", "add", "fe80::b/64", "dev", "uplink")
        self.gate.run("ip", "-6", "route", "add", "default", "via", "fe80::b", "dev", "uplink")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in self.hosts:
            host.close()
        self._folder.cleanup()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _host(self, name: str) -> Host:
        host = Host(name, self.folder)
        self.hosts.append(host)
        return host

    def _wire(self, one: Host, name: str, other: Host, peer: str) -> None:
        subprocess.run(
            [
                *["ip", "link", "add", "name", name, "netns", str(one.pid)],
                *["type", "veth", "peer", "name", peer, "netns", str(other.pid)],
            ],
            check=True,
        )
        for host, interface in ((one, name), (other, peer)):
            host.set(f"net/ipv6/conf/{interface}/router_solicitations", "0")
            self._interfaces += 1
            mac = f"02:00:00:00:{self._interfaces >> 8:02x}:{self._interfaces & 255:02x}"
            host.run("ip", "link", "set", interface, "address", mac, "up")
            switches = [word for offload in OFFLOADS for word in (offload, "off")]
            host.run("ethtool", "-K", interface, *switches, check=False)

    def inside(self, name: str, *addresses: str) -> Host:
        """Add a host behind ``gate`` with these IPv4 and IPv6 addresses."""
        for address in addresses:  # no default route there: strays would go to and fro
            via = "fe80::a" if ":" in address else LINK[0]
            self.net.run("ip", "route", "add", address, "via", via, "dev", "uplink")
        return self._attach(self.gate, name, addresses)

    def outside(self, name: str, *addresses: str) -> Host:
        """Add a host behind ``net`` with these IPv4 and IPv6 addresses."""
        return self._attach(self.net, name, addresses)

    def _attach(self, router: Host, name: str, addresses: Sequence[str]) -> Host:
        host = self._host(name)
        port = f"p{len(self.hosts)}"
        self._wire(router, port, host, "eth0")
        router.run("ip", "address", "add", ROUTER4, "dev", port)
        router.run("ip", "address", "add", f"{ROUTER6}/64", "dev", port)
        host.addresses = list(addresses)
        for address in addresses:
            width = "128" if ":" in address else "32"
            host.run("ip", "address", "add", f"{address}/{width}", "dev", "eth0")
            router.run("ip", "route", "add", f"{address}/{width}", "dev", port)
        host.run("ip", "route", "add", ROUTER4, "dev", "eth0")
        host.run("ip", "route", "add", "default", "via", ROUTER4)
        host.run("ip", "-6", "route", "add", "default", "via", ROUTER6, "dev", "eth0")
        return host

    def claim(
        self,
        proto: int,
        address: str,
        port: int,
        application: str,
        family: str = "",
        is_vpn: int | None = None,
    ) -> None:
        """Record what was started at a transport address: the source of all labels."""
        truth = int(bool(family)) if is_vpn is None else is_vpn
        self.claims.append(Claim(proto, address, port, truth, family, application))

    @contextlib.contextmanager
    def capture(self, path: Path, snaplen: int = 0, only: str = "") -> Iterator[None]:
        """Capture the link into a pcap file while the block runs."""
        tcpdump = self.gate.start(
            *["tcpdump", "-i", "uplink", "-w", str(path.resolve()), "-s", str(snaplen), "-n"],
            *["--immediate-mode", "-U", "-Z", "root", *only.split()],
        )
        tcpdump.wait_output("listening on")
        try:
            yield
        finally:
            time.sleep(0.2)
            tcpdump.stop(signal.SIGINT)


def warm_up(inside: Host, outside: Host) -> None:
    """Resolve link addresses before a capture, so that it holds no ARP of ours."""
    inside.run("ping", "-c", "1", "-W", "2", outside.address, check=False)

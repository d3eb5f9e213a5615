"""Hosts of the laboratory: one process each, with network, mounts and process ids of its own.

How this works: each host is one process (``unshare`` with its own network, mount and process-id
namespace) and everything on it runs below that process, entered with ``nsenter``. Ending the one
process ends the host, its daemons and its interfaces, so nothing has to be looked up by name, and
nothing is left behind: the process also ends when the laboratory itself is killed.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from classifier.errors import LabError

__all__ = ["Daemon", "Host", "require", "wait_for"]

LOG_CHARACTERS = 20_000
PR_SET_PDEATHSIG = 1  # prctl(2)
SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/ipsec"
BASE = {  # what every run needs: program -> Debian package
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "ss": "iproute2",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "ping": "iputils-ping",
    "openssl": "openssl",
    "nft": "nftables",
    "nginx": "nginx-light",
    "curl": "curl",
    "dnsmasq": "dnsmasq-base",
    "dig": "bind9-dnsutils",
}

# An empty resolver file: no program may ask the real Internet's name servers. Shared memory and
# /run are the host's own, so that two daemons of a kind do not meet there.
HOLDER = """\
mount -t tmpfs none /run && mount -t tmpfs none /dev/shm || exit 1
mount --bind /dev/null "$(readlink -f /etc/resolv.conf)" || exit 1
echo up
exec sleep infinity
"""


def require(programs: dict[str, str] | None = None) -> None:
    """Check that this is Linux, that we are root, and that the programs are installed.

    Parameters
    ----------
    programs : dict of str to str, optional
        Program to the Debian package that has it, beside those that every run needs.

    Raises
    ------
    LabError
        With one line that says what is missing.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise LabError(
            "the laboratory needs network namespaces", path="lab", remedy="run it as root on Linux"
        )
    extend_path()
    lacking = {
        package
        for program, package in (BASE | (programs or {})).items()
        if shutil.which(program) is None
    }
    if lacking:
        names = " ".join(sorted(lacking))
        raise LabError("programs are missing", path="lab", remedy=f"apt-get install {names}")


def extend_path() -> None:
    """Look for programs also where Debian keeps those of the administrator."""
    parts = os.environ.get("PATH", "").split(":")
    os.environ["PATH"] = ":".join([*parts, *(p for p in SBIN.split(":") if p not in parts)])


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Poll until the condition holds; ``what`` names it in the error."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


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
                raise LabError(f"{self.name} ended with {self.process.returncode}: {last}")
            return False

        wait_for(printed, f"{self.name}: {text!r}", seconds)

    def wait_end(self, seconds: float = 60.0) -> None:
        """Wait until the program ends by itself."""
        wait_for(lambda: self.process.poll() is not None, f"the end of {self.name}", seconds)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send the signal to the program (``nsenter`` is its parent) and wait for its end."""
        pid = self.process.pid
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                os.kill(int(child), number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)


class Host:
    """A machine of its own: interfaces, process ids, ``/run``, ``/dev/shm``, a scratch folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.addresses: list[str] = []
        self._holder = subprocess.Popen(
            [
                *["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"],
                *["sh", "-c", HOLDER],
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # util-linux 2.38 complains when it is to be killed
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  a run has one thread
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"up\n":
            raise LabError(
                "a namespace could not be made", remedy="run this as root, outside a sandbox"
            )
        holder = self._holder.pid
        self.pid = int(Path(f"/proc/{holder}/task/{holder}/children").read_text().split()[0])
        self.enter = ["nsenter", "-t", str(self.pid), "-n", "-m", "-p"]
        self._daemons: list[Daemon] = []
        knobs = "; ".join(
            f"echo 0 > /proc/sys/net/ipv6/conf/{knob}/accept_dad"  # addresses are usable at once
            for knob in ("default", "all")
        )
        self.run("sh", "-c", f"ip link set lo up; {knobs}")

    @property
    def address(self) -> str:
        """The first address."""
        return self.addresses[0]

    @property
    def address6(self) -> str:
        """The first IPv6 address, or an empty string."""
        return next((address for address in self.addresses if ":" in address), "")

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
                raise LabError(
                    f"{self.name}: {' '.join(argv)} took more than {seconds:.0f} s"
                ) from None
            out.seek(0)
            printed = out.read().decode(errors="replace")
        if check and code:
            last = (printed.strip().splitlines() or ["no output"])[-1]
            raise LabError(f"{self.name}: {' '.join(argv)} ended with {code}: {last}")
        return printed

    def sh(self, script: str, check: bool = True, seconds: float = 30.0) -> str:
        """Run a shell script on this host to its end and return what it printed."""
        return self.run("sh", "-ec", script, check=check, seconds=seconds)

    def start(self, *argv: str, env: dict[str, str] | None = None) -> Daemon:
        """Start a program on this host; it ends with the host at the latest."""
        log = self.folder / f"{len(self._daemons) + 1:02d}-{Path(argv[0]).name}.log"
        self._daemons.append(Daemon(self, argv, log, env or {}))
        return self._daemons[-1]

    def write(self, name: str, text: str | bytes, mode: int = 0o600) -> str:
        """Write a file into the host's folder and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return str(path)

    def cover(self, *folders: str) -> None:
        """Put an empty tmpfs of this host's own over folders; those below ``/run`` are made."""
        for folder in folders:
            if folder.startswith("/run/"):  # never make a folder that outlives the host
                self.run("mkdir", "-p", folder)
            self.run("mount", "-t", "tmpfs", "none", folder)

    def replace(self, path: str, by: str) -> None:
        """Let this host alone see another file (or folder) at a path (bind mount)."""
        self.run("mount", "--bind", by, path)

    def listens(self, proto: str, port: int, address: str = "") -> bool:
        """Whether a socket of this host is bound to the port (of that very address)."""
        table = self.run("ss", "-Hnl", "-t" if proto == "tcp" else "-u")
        bound = [row.split()[3].rpartition(":") for row in table.splitlines()]
        return any(
            number == str(port) and (not address or own.strip("[]").partition("%")[0] == address)
            for own, _, number in bound
        )

    def wait_listen(self, proto: str, port: int, address: str = "", seconds: float = 15.0) -> None:
        """Wait until a socket of this host is bound to the port (of that very address)."""
        what = f"{self.name}: a listener on {proto}/{port}"
        wait_for(lambda: self.listens(proto, port, address), what, seconds)

    def wait_device(self, name: str, seconds: float = 15.0) -> None:
        """Wait until an interface of that name exists and has an address."""

        def there() -> bool:
            return "inet" in self.run("ip", "address", "show", "dev", name, check=False)

        wait_for(there, f"{self.name}: an address on {name}", seconds)

    def logs(self) -> dict[str, str]:
        """Return the end of what each program has printed, by file name."""
        return {
            f"{self.name}/{daemon.log.name}": daemon.output()[-LOG_CHARACTERS:]
            for daemon in self._daemons
        }

    def close(self) -> None:
        """End the host and all that runs on it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # process 1 of its namespace takes all others along
        self._holder.wait(10)
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        for daemon in self._daemons:
            daemon.process.wait(10)

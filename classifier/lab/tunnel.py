"""A tunnel between two hosts that gives each an inner address, and ways to try it."""

import os
from dataclasses import dataclass

from classifier.errors import LabError
from classifier.lab.host import Daemon, Host, wait_for
from classifier.lab.services import bracket
from classifier.lab.workloads import Way

__all__ = ["Tunnel", "reach"]


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel that is up: where to send traffic, and what keeps it running."""

    client: Host
    server: Host
    inner_client: str
    inner_server: str
    daemons: tuple[Daemon, ...] = ()

    @property
    def way(self) -> Way:
        """The way through it, for workloads."""
        return Way(self.client, self.server, self.inner_server, bind=self.inner_client)

    def ping(self, count: int = 3, payload_bytes: int = 56, interval_s: float = 0.05) -> None:
        """Send echo requests through the tunnel; fail where none comes back."""
        self.client.run(
            *["ping", "-I", self.inner_client, "-c", str(count), "-i", str(interval_s)],
            *["-s", str(payload_bytes), "-W", "2", self.inner_server],
        )

    def serve(self, file_bytes: int) -> None:
        """Start a web server at the tunnel's far end with one file of random bytes."""
        folder = self.server.folder / "inner"
        folder.mkdir(exist_ok=True)
        (folder / "file").write_bytes(os.urandom(file_bytes))
        self.server.start(
            *["python3", "-m", "http.server", "8080", "--bind", self.inner_server],
            *["--directory", str(folder)],
        )
        self.server.wait_listen("tcp", 8080)

    def fetch(self) -> None:
        """Fetch that file through the tunnel; fail where it does not arrive whole."""
        url = f"http://{bracket(self.inner_server)}:8080/file"
        got = self.client.run(
            *["curl", "-sS", "--interface", self.inner_client, "-o", "/dev/null"],
            *["-w", "%{size_download}", url],
        )
        want = (self.server.folder / "inner" / "file").stat().st_size
        if got.strip() != str(want):
            raise LabError(f"{url}: {got.strip()} of {want} bytes came through the tunnel")

    def stop(self) -> None:
        """End the tunnel's programs, the client first, so that it can say goodbye."""
        for daemon in self.daemons:
            daemon.stop()


def reach(host: Host, address: str, seconds: float = 20.0) -> None:
    """Wait until the way to an inner address leads into a tunnel, and an echo comes back."""
    wait_for(
        lambda: "eth0" not in host.run("ip", "route", "get", address, check=False),
        f"{host.name}: a way to {address} through the tunnel",
        seconds,
    )

    def echoed() -> bool:
        argv = ["ping", "-c", "1", "-W", "1", address]
        return " 0% packet loss" in host.run(*argv, check=False)

    wait_for(echoed, f"{host.name}: an echo from {address}", seconds)

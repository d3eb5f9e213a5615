"""Makes traffic of given sizes and pauses between two hosts; runs inside them as a program.

``traffic.py serve SETUP`` answers, ``traffic.py drive PLAN`` asks; both are JSON. A plan is a list
of connections, each a list of steps ``[up, down, pause]``: send ``up`` bytes that begin with both
sizes, read ``down`` bytes, wait ``pause`` seconds. The bytes are random. ``drive`` prints what went
each way and which connections failed. It needs the standard library alone.
"""

import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from typing import Any

HEAD = struct.Struct("!II")  # bytes of the request with this head, bytes of the answer
NOISE = os.urandom(1 << 18)
PATIENCE_S = 25.0
SOCKS_ATYP = {4: 1, 16: 4}  # RFC 1928: address type by address length


def _send(peer: socket.socket, size: int) -> None:
    while size > 0:
        peer.sendall(NOISE[: min(size, len(NOISE))])
        size -= len(NOISE)


def _read(peer: socket.socket, size: int) -> bytes:
    """Read exactly ``size`` bytes and return the first of them."""
    first = b""
    while size > 0:
        piece = peer.recv(min(size, 65_536))
        if not piece:
            raise ConnectionError("the other end closed early")
        first = first or piece
        size -= len(piece)
    return first


def _exact(peer: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = peer.recv(size - len(got))
        if not piece:
            raise ConnectionError("the other end closed early")
        got += piece
    return got


def _answer(peer: socket.socket, context: ssl.SSLContext | None) -> None:
    try:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            peer = context.wrap_socket(peer, server_side=True)
        while True:
            up, down = HEAD.unpack(_exact(peer, HEAD.size))
            _read(peer, up - HEAD.size)
            _send(peer, down)
    except OSError:
        pass  # the client has gone
    finally:
        peer.close()


def _listen(address: str, port: int, context: ssl.SSLContext | None) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=64)
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=_answer, args=(peer, context), daemon=True).start()


def _echo(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as box:
        box.bind((address, port))
        while True:
            data, origin = box.recvfrom(65_536)
            if len(data) >= HEAD.size:
                down = HEAD.unpack_from(data)[1]
                if 0 < down < 65_000:
                    box.sendto(NOISE[:down], origin)


def serve(setup: dict[str, Any]) -> None:
    """Answer on ``address``: TCP ``plain``, TLS ``tls`` where there is a certificate, UDP ``udp``."""
    jobs: list[tuple[Any, ...]] = [(_listen, setup["address"], setup["plain"], None)]
    jobs.append((_echo, setup["address"], setup["udp"]))
    if setup.get("certificate"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(setup["certificate"], setup["key"])
        jobs.append((_listen, setup["address"], setup["tls"], context))
    threads = [threading.Thread(target=job[0], args=job[1:]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Driver:
    """Runs the connections of one plan, each in a thread of its own."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.up = self.down = self.done = 0
        self.failed: list[str] = []
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        if plan.get("ca"):
            self._context = ssl.create_default_context(cafile=plan["ca"])

    def _connect(self, port: int) -> socket.socket:
        proxy, target = self.plan.get("proxy"), self.plan["target"]
        forward = self.plan.get("forwards", {}).get(str(port))
        if forward:
            return socket.create_connection(("127.0.0.1", forward), PATIENCE_S)
        if not proxy:
            source = (self.plan["bind"], 0) if self.plan.get("bind") else None
            return socket.create_connection((target, port), PATIENCE_S, source)
        peer = socket.create_connection((proxy["host"], proxy["port"]), PATIENCE_S)
        if proxy["kind"] == "http":
            self._ask_http(peer, target, port)
        else:
            self._ask_socks(peer, target, port)
        return peer

    @staticmethod
    def _ask_http(peer: socket.socket, target: str, port: int) -> None:
        place = f"[{target}]:{port}" if ":" in target else f"{target}:{port}"
        peer.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += _exact(peer, 1)
        if b" 200" not in answer.partition(b"\r\n")[0]:
            raise ConnectionError(answer.partition(b"\r\n")[0].decode(errors="replace"))

    def _ask_socks(self, peer: socket.socket, target: str, port: int) -> None:
        login = self.plan["proxy"].get("login")  # "user:password"
        peer.sendall(b"\x05\x01\x02" if login else b"\x05\x01\x00")
        if _exact(peer, 2)[1] == 2 and login:
            user, _, password = login.partition(":")
            words = [bytes([len(word)]) + word.encode() for word in (user, password)]
            peer.sendall(b"\x01" + b"".join(words))
            _exact(peer, 2)
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        packed = socket.inet_pton(family, target)
        kind = SOCKS_ATYP[len(packed)]
        peer.sendall(bytes([5, 1, 0, kind]) + packed + struct.pack("!H", port))
        head = _exact(peer, 4)
        if head[1]:
            raise ConnectionError(f"SOCKS reply {head[1]}")
        _exact(peer, {1: 6, 4: 18}.get(head[3], 0) or _exact(peer, 1)[0] + 2)

    def _tcp(self, connection: dict[str, Any]) -> None:
        peer = self._connect(connection["port"])
        peer.settimeout(PATIENCE_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connection["proto"] == "tls":
            assert self._context is not None
            peer = self._context.wrap_socket(peer, server_hostname=self.plan["name"])
        with peer:
            for up, down, pause in connection["steps"]:
                size = max(up, HEAD.size)
                peer.sendall(HEAD.pack(size, down))
                _send(peer, size - HEAD.size)
                _read(peer, down)
                self._count(size, down)
                time.sleep(pause)

    def _udp(self, connection: dict[str, Any]) -> None:
        target, port = self.plan["target"], connection["port"]
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as box:
            box.bind((self.plan.get("bind") or ("::" if ":" in target else "0.0.0.0"), 0))
            box.settimeout(0.5)
            box.connect((target, port))
            answered = 0
            for up, down, pause in connection["steps"]:
                size = max(up, HEAD.size)
                box.send(HEAD.pack(size, down) + NOISE[: size - HEAD.size])
                self._count(size, 0)
                end = time.monotonic() + pause
                try:
                    while (left := end - time.monotonic()) > 0:
                        box.settimeout(left)
                        answered += len(box.recv(65_536))
                except TimeoutError:
                    pass
                except ConnectionRefusedError:
                    raise ConnectionError("no datagram service at the target") from None
            self._count(0, answered)

    def _count(self, up: int, down: int) -> None:
        with self._lock:
            self.up += up
            self.down += down

    def _run(self, connection: dict[str, Any]) -> None:
        time.sleep(connection["at"])
        try:
            if connection["proto"] == "udp":
                self._udp(connection)
            else:
                self._tcp(connection)
            with self._lock:
                self.done += 1
        except OSError as error:
            with self._lock:
                self.failed.append(f"{connection['proto']}/{connection['port']}: {error}")

    def run(self) -> dict[str, Any]:
        """Run all connections; return bytes each way, and what failed."""
        threads = [
            threading.Thread(target=self._run, args=(connection,))
            for connection in self.plan["connections"]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"up": self.up, "down": self.down, "done": self.done, "failed": self.failed}


def main(arguments: list[str]) -> int:
    """Serve, or drive a plan and print what came of it."""
    setup = json.loads(arguments[1])
    if arguments[0] == "serve":
        serve(setup)
    else:
        with open(setup["plan"], encoding="utf-8") as file:  # noqa: PTH123  start-up time
            sys.stdout.write(json.dumps(Driver(json.load(file)).run()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

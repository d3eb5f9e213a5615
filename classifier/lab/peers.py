"""Small peers of live programs for the laboratory; run by Debian's Python inside a host.

``peers.py KIND serve SETUP`` answers and prints ``ready``, ``peers.py KIND ask SETUP`` asks; a setup is
JSON. WebSocket, gRPC and WebRTC are those of Debian's modules; games and calls are our own shapes.
"""

import asyncio
import json
import os
import random
import socket
import ssl
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

Setup = dict[str, Any]
RTP = struct.Struct("!BBHII")  # RFC 3550, section 5.1


def _ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def _sizes(setup: Setup) -> list[int]:
    rng = random.Random(setup["seed"])
    return [1 + int(setup["most"] ** rng.random()) for _ in range(setup["count"])]


def _box(setup: Setup, bind: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in setup["address"] else socket.AF_INET
    box = socket.socket(family, socket.SOCK_DGRAM)
    if bind:
        box.bind((setup["address"], setup["port"]))
    else:
        box.connect((setup["address"], setup["port"]))
        box.settimeout(0.5)
    return box


def _answers(box: socket.socket, until: float) -> int:
    """Take what comes until then; return how many datagrams."""
    taken = 0
    while (left := until - time.monotonic()) > 0:
        box.settimeout(left)
        try:
            box.recv(65_536)
            taken += 1
        except TimeoutError:
            break
    return taken


def websocket(setup: Setup, serve: bool) -> None:
    """Exchange messages: text and bytes, each answered."""
    import websockets

    async def echo(peer: Any) -> None:
        async for message in peer:
            await peer.send(message[: max(1, len(message) // 2)])

    async def answer() -> None:
        context = None
        if setup.get("certificate"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(setup["certificate"], setup["key"])
        async with websockets.serve(echo, setup["address"], setup["port"], ssl=context):
            _ready()
            await asyncio.Future()

    async def ask() -> None:
        place = f"[{setup['address']}]" if ":" in setup["address"] else setup["address"]
        context = ssl.create_default_context(cafile=setup["ca"]) if setup["ca"] else None
        more = {"ssl": context, "server_hostname": "www.example.net"} if context else {}
        url = f"{'wss' if context else 'ws'}://{place}:{setup['port']}/chat"
        rng = random.Random(setup["seed"])
        async with websockets.connect(url, **more) as peer:
            for size in _sizes(setup):
                await peer.send("x" * size if rng.random() < 0.5 else os.urandom(size))
                await peer.recv()
                await asyncio.sleep(rng.expovariate(20))

    asyncio.run(answer() if serve else ask())


def grpc(setup: Setup, serve: bool) -> None:
    """Call a method of one answer, and one that streams."""
    from concurrent import futures

    import grpc as rpc

    def one(request: bytes, _context: Any) -> bytes:
        return os.urandom(1 + len(request) // 2)

    def many(request: bytes, _context: Any) -> Any:
        for _ in range(4):
            yield os.urandom(1 + len(request) // 4)
            time.sleep(0.05)

    place = f"[{setup['address']}]" if ":" in setup["address"] else setup["address"]
    place = f"{place}:{setup['port']}"
    if serve:
        methods = {
            "One": rpc.unary_unary_rpc_method_handler(one),
            "Many": rpc.unary_stream_rpc_method_handler(many),
        }
        server = rpc.server(futures.ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((rpc.method_handlers_generic_handler("lab.Lab", methods),))
        if setup.get("certificate"):
            pair = (Path(setup["key"]).read_bytes(), Path(setup["certificate"]).read_bytes())
            server.add_secure_port(place, rpc.ssl_server_credentials([pair]))
        else:
            server.add_insecure_port(place)
        server.start()
        _ready()
        server.wait_for_termination()
        return
    channel = rpc.insecure_channel(place)
    if setup["ca"]:
        trust = rpc.ssl_channel_credentials(Path(setup["ca"]).read_bytes())
        named = (("grpc.ssl_target_name_override", "www.example.net"),)
        channel = rpc.secure_channel(place, trust, options=named)
    for number, size in enumerate(_sizes(setup)):
        if number % 4:
            channel.unary_unary("/lab.Lab/One")(os.urandom(size), timeout=20)
        else:
            list(channel.unary_stream("/lab.Lab/Many")(os.urandom(size), timeout=20))


def webrtc(setup: Setup, serve: bool) -> None:
    """Open a data channel (the offer goes over a TCP connection of its own) and send through it."""
    import aiortc

    def peer() -> Any:
        return aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))

    def packed(connection: Any) -> bytes:
        told = connection.localDescription
        return json.dumps({"sdp": told.sdp, "type": told.type}).encode() + b"\n"

    async def on_offer(reader: Any, writer: Any) -> None:
        connection = peer()

        def opened(channel: Any) -> None:
            channel.on("message", lambda said: channel.send(said[: max(1, len(said) // 2)]))

        connection.on("datachannel", opened)
        offer = json.loads(await reader.readline())
        await connection.setRemoteDescription(aiortc.RTCSessionDescription(**offer))
        await connection.setLocalDescription(await connection.createAnswer())
        writer.write(packed(connection))
        await writer.drain()

    async def answer() -> None:
        server = await asyncio.start_server(on_offer, setup["address"], setup["port"])
        _ready()
        await server.serve_forever()

    async def ask() -> None:
        connection = peer()
        channel = connection.createDataChannel("lab")
        opened, answered = asyncio.Event(), asyncio.Semaphore(0)
        channel.on("open", opened.set)
        channel.on("message", lambda _message: answered.release())
        await connection.setLocalDescription(await connection.createOffer())
        reader, writer = await asyncio.open_connection(setup["address"], setup["port"])
        writer.write(packed(connection))
        told = json.loads(await reader.readline())
        await connection.setRemoteDescription(aiortc.RTCSessionDescription(**told))
        await asyncio.wait_for(opened.wait(), 20)
        for size in _sizes(setup):
            channel.send(os.urandom(size))
            await asyncio.wait_for(answered.acquire(), 20)
            await asyncio.sleep(0.03)
        await connection.close()
        writer.close()

    asyncio.run(answer() if serve else ask())


def game(setup: Setup, serve: bool) -> None:
    """Send what a player does at a fixed rate; the server tells where all players are."""
    box = _box(setup, serve)
    if serve:
        _ready()
        while True:
            data, origin = box.recvfrom(2_048)
            tick = struct.unpack_from("!I", data)[0]
            others = random.randint(2, 12)
            places = [random.uniform(-500, 500) for _ in range(3 * others)]
            box.sendto(struct.pack(f"!IB{3 * others}f", tick, others, *places), origin)
    rng = random.Random(setup["seed"])
    place, got = [0.0, 0.0, 0.0], 0
    for tick in range(setup["count"]):
        place = [value + rng.gauss(0, 1) for value in place]
        keys = rng.getrandbits(8)
        box.send(struct.pack("!IB3f", tick, keys, *place) + b"\0" * rng.choice((0, 0, 4, 20)))
        got += _answers(box, time.monotonic() + 1 / setup["rate"])
    if not got:
        raise SystemExit("no answer")


def noise(setup: Setup, serve: bool) -> None:
    """Exchange datagrams of random bytes."""
    box = _box(setup, serve)
    if serve:
        _ready()
        while True:
            data, origin = box.recvfrom(2_048)
            box.sendto(os.urandom(random.randint(1, len(data) + 100)), origin)
    rng = random.Random(setup["seed"])
    for size in _sizes(setup):
        box.send(os.urandom(size))
        _answers(box, time.monotonic() + rng.uniform(0.005, 0.08))


def rtp(setup: Setup, serve: bool) -> None:
    """Talk: 160 bytes of sound every 20 ms each way (G.711 in RTP)."""
    box = _box(setup, serve)
    if serve:
        _ready()
        while True:
            data, origin = box.recvfrom(2_048)
            _, kind, number, stamp, _source = RTP.unpack_from(data)
            head = RTP.pack(0x80, kind & 0x7F, number, stamp, 0x1AB)
            box.sendto(head + os.urandom(len(data) - RTP.size), origin)
    rng = random.Random(setup["seed"])
    source, first, stamp = rng.getrandbits(32), rng.getrandbits(15), rng.getrandbits(31)
    for number in range(setup["count"]):
        mark = 0x80 if number == 0 else 0
        head = RTP.pack(
            0x80, mark, first + number & 0xFFFF, stamp + 160 * number & 0xFFFFFFFF, source
        )
        box.send(head + os.urandom(160))
        _answers(box, time.monotonic() + 0.02)


def vnc(setup: Setup, serve: bool) -> None:
    """Look at a desktop piece by piece, and move the pointer (RFC 6143; the server is a real one)."""
    if serve:
        raise SystemExit("the server is a program of its own")
    rng = random.Random(setup["seed"])
    with socket.create_connection((setup["address"], setup["port"]), 20) as peer:
        read = peer.makefile("rb").read
        peer.sendall(read(12))  # the version that the server offers
        read(read(1)[0])
        peer.sendall(b"\x01")  # no authentication
        if read(4) != bytes(4):
            raise SystemExit("the server refuses")
        peer.sendall(b"\x01")
        width, height = struct.unpack("!HH", read(4))
        read(16)
        read(struct.unpack("!I", read(4))[0])
        peer.sendall(struct.pack("!BxHi", 2, 1, 0))  # raw pixels alone
        for _ in range(setup["count"]):
            x, y = rng.randrange(width - 64), rng.randrange(height - 64)
            peer.sendall(struct.pack("!BBHH", 5, 0, x, y))
            wide, high = rng.randint(8, 64), rng.randint(8, 64)
            peer.sendall(struct.pack("!BBHHHH", 3, 0, x, y, wide, high))
            kind, pieces = struct.unpack("!BxH", read(4))
            for _ in range(pieces if kind == 0 else 0):
                *_, piece_wide, piece_high, _raw = struct.unpack("!HHHHi", read(12))
                read(4 * piece_wide * piece_high)
            time.sleep(rng.expovariate(15))


def api(setup: Setup, serve: bool) -> None:
    """Call an interface over HTTPS: questions, uploads, events as they come, questions held back."""
    (_answer_calls if serve else _call)(setup)


def _answer_calls(setup: Setup) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, size, pieces = self.path.strip("/").split("/")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if kind == "poll":
                time.sleep(0.4)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(int(size) * int(pieces)))
            self.end_headers()
            for _ in range(int(pieces)):
                self.wfile.write(os.urandom(int(size)))
                self.wfile.flush()
                time.sleep(0.15 if kind == "events" else 0)

        do_POST = do_GET

        def log_message(self, *_words: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in setup["address"] else socket.AF_INET

        def handle_error(self, *_peer: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(setup["certificate"], setup["key"])
    if setup["ca"]:
        context.load_verify_locations(setup["ca"])
        context.verify_mode = ssl.CERT_REQUIRED
    server = Server((setup["address"], setup["port"]), Answers)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    _ready()
    server.serve_forever()


def _call(setup: Setup) -> None:
    from http.client import HTTPSConnection

    context = ssl.create_default_context(cafile=setup["ca"])
    context.check_hostname = False
    if setup["old"]:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if setup["alpn"]:
        context.set_alpn_protocols(setup["alpn"])
    if setup["mine"]:
        context.load_cert_chain(*setup["mine"])
    raw = socket.create_connection((setup["address"], setup["port"]), 20)
    peer = HTTPSConnection(setup["address"], setup["port"])
    peer.sock = context.wrap_socket(raw, server_hostname=setup["name"] or None)
    rng = random.Random(setup["seed"])
    words = {"Host": "www.example.net", "Authorization": "Bearer " + "a" * rng.randint(20, 300)}
    for size in _sizes(setup):
        kind = setup["kind"]
        if kind == "mixed":
            kind = rng.choice(("get", "post", "events", "poll"))
        pieces = rng.randint(2, 12) if kind == "events" else 1
        body = os.urandom(size) if kind == "post" else None
        path = f"/{kind}/{size if kind == 'get' else min(size, 900)}/{pieces}"
        peer.request("POST" if body else "GET", path, body, words)
        peer.getresponse().read()
        time.sleep(rng.expovariate(12))
    peer.close()


def ssh(setup: Setup, serve: bool) -> None:
    """Log in by paramiko: run commands, move files, or forward ports."""
    import paramiko

    if serve:
        raise SystemExit("the server is a program of its own")
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect(
        setup["address"], setup["port"], "root", key_filename=setup["key"], look_for_keys=False
    )
    transport = client.get_transport()
    if setup["kind"] == "forward":
        transport.set_keepalive(setup["alive_s"])
        asyncio.run(_forward_all(setup, transport))
    rng = random.Random(setup["seed"])
    files = client.open_sftp() if setup["kind"] == "sftp" else None
    for number, size in enumerate(_sizes(setup)):
        if files is not None:
            path = f"/tmp/sent{setup['seed']}-{number}"
            with files.open(path, "wb") as file:
                file.write(os.urandom(size))
            with files.open(path, "rb") as file:
                file.read()
            files.remove(path)
        else:
            _, out, _ = client.exec_command(f"head -c {size} /dev/urandom; ls -l /usr")
            out.read()
        time.sleep(rng.expovariate(8))
    client.close()


async def _forward_all(setup: Setup, transport: Any) -> None:
    def both(peer: socket.socket, port: int) -> None:
        place = peer.getpeername()
        channel = transport.open_channel("direct-tcpip", (setup["target"], port), place)

        def back() -> None:
            while data := channel.recv(32_768):
                peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)

        answers = threading.Thread(target=back, daemon=True)
        answers.start()
        while data := peer.recv(32_768):
            channel.sendall(data)
        channel.shutdown_write()
        answers.join()
        peer.close()

    def listen(port: int, local: int) -> None:
        with socket.create_server(("127.0.0.1", local), backlog=64) as listener:
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=both, args=(peer, port), daemon=True).start()

    loops = [
        asyncio.to_thread(listen, int(port), local) for port, local in setup["forwards"].items()
    ]
    await asyncio.gather(*loops)


def zeromq(setup: Setup, serve: bool) -> None:
    """Ask and answer with messages of random bytes by ZeroMQ, encrypted (CurveZMQ) or not."""
    import zmq

    box = zmq.Context().socket(zmq.REP if serve else zmq.REQ)
    if setup["curve"]:
        box.curve_publickey, box.curve_secretkey = (key.encode() for key in setup["own"])
        if serve:
            box.curve_server = True
        else:
            box.curve_serverkey = setup["server"].encode()
    place = f"tcp://{setup['address']}:{setup['port']}"
    if serve:
        box.bind(place)
        _ready()
        while True:
            box.send(os.urandom(3 * len(box.recv()) % 5000))
    box.connect(place)
    for size in _sizes(setup):
        box.send(os.urandom(size))
        box.recv()
        time.sleep(0.1)


KINDS = {
    "websocket": websocket,
    "grpc": grpc,
    "webrtc": webrtc,
    "game": game,
    "random": noise,
    "rtp": rtp,
    "vnc": vnc,
    "api": api,
    "ssh": ssh,
    "zeromq": zeromq,
}


def main(arguments: list[str]) -> int:
    """Serve, or ask until done."""
    KINDS[arguments[0]](json.loads(arguments[2]), arguments[1] == "serve")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Many connections in one TLS connection: multiplexers of our own framing, and HTTP/2's CONNECT by Node."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from classifier.lab import joiner
from classifier.lab.scenarios.obfuscated import INNER, inside
from classifier.lab.stage import TCP, Stage, Way, Ways, scenario

NAME = "www.example.net"


def _join(stage: Stage, framing: str, target: str, forwards: dict[int, int]) -> Iterator[Ways]:
    """Start both ends, the near one after the first yield."""
    port = stage.port(443)
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    both = {
        "framing": framing,
        "address": stage.address,
        "port": port,
        "target": target,
        "piece": stage.pick(16_384, 4_096, 8_192, 32_768),
        "window": stage.pick(262_144, 65_536),
        "settings": stage.pick(3, 1, 6),
        "alive_s": stage.pick(10, 2, 5, 30),
        "alpn": {"h2": ["h2"], "websocket": stage.pick(["http/1.1"], [])}.get(framing, []),
    }
    far = {**both, "listen": True, "certificate": certificate, "key": key}
    near = {
        **both,
        "listen": False,
        "ca": stage.authority.certificate,
        "name": stage.pick(NAME, None),
        "old": stage.pick(False, False, True),
        "ciphers": stage.pick("", "", "ECDHE+AESGCM", "ECDHE+CHACHA20:ECDHE+AESGCM"),
        "connections": stage.pick(1, 1, 2, 4),
        "forwards": forwards,
    }
    program = [sys.executable, "-P", str(joiner.__file__)]
    stage.server.start(*program, json.dumps(far))
    stage.claim(TCP, port, "tls", "stunnel")
    stage.server.wait_listen("tcp", port)
    yield None
    stage.client.start(*program, json.dumps(near))
    for local in forwards.values():
        stage.client.wait_listen("tcp", local)


def _framing(framing: str, shows: str) -> None:
    @scenario(f"joined-{framing}", shows, ipv6=True)
    def _run(stage: Stage) -> Iterator[Ways]:
        forwards = {80: 8000, 443: 8443}
        yield from _join(stage, framing, stage.inner, forwards)
        yield Way(stage.client, stage.server, stage.inner, forwards=forwards, udp=False)


_framing("yamux", "Connections in one TLS connection, framed as yamux does")
_framing("websocket", "Connections in a WebSocket in TLS")
_framing("h2", "Connections as streams of HTTP/2 in TLS")


@scenario("openvpn-over-websocket", "OpenVPN over TCP in a WebSocket in TLS", "openvpn")
def _openvpn(stage: Stage) -> Iterator[Ways]:
    framing = stage.pick("websocket", "websocket", "h2", "yamux")
    yield from _join(stage, framing, "127.0.0.1", {INNER: 8000})
    yield from inside(stage, 8000)


NODE_FAR = """\
const http2 = require('http2'), net = require('net'), fs = require('fs')
const s = JSON.parse(process.argv[2])
const server = http2.createSecureServer({cert: fs.readFileSync(s.certificate), key: fs.readFileSync(s.key)})
server.on('stream', (stream, headers) => {
  const place = headers[':authority'].split(':')
  const inner = net.connect(Number(place[1]), s.target, () => {
    stream.respond({':status': 200})
    inner.pipe(stream); stream.pipe(inner)
  })
  inner.on('error', () => stream.destroy()); stream.on('error', () => inner.destroy())
})
server.on('sessionError', () => {})
server.listen(s.port, s.address)
"""
NODE_NEAR = """\
const http2 = require('http2'), net = require('net'), fs = require('fs')
const s = JSON.parse(process.argv[2])
const options = {ca: fs.readFileSync(s.ca), checkServerIdentity: () => undefined, ...s.more}
const session = http2.connect(s.url, options)
if (s.alive_s) setInterval(() => session.ping(() => {}), 1000 * s.alive_s)
for (const [port, local] of Object.entries(s.forwards)) {
  net.createServer(peer => {
    const stream = session.request({':method': 'CONNECT', ':authority': s.target + ':' + port})
    stream.on('response', () => { peer.pipe(stream); stream.pipe(peer) })
    stream.on('error', () => peer.destroy()); peer.on('error', () => stream.destroy())
  }).listen(local, '127.0.0.1')
}
"""


@scenario("node-connect", "An HTTP/2 proxy's CONNECT in TLS by Node", "node:nodejs", ipv6=True)
def _node(stage: Stage) -> Iterator[Ways]:
    port, forwards = stage.port(443), {80: 8000, 443: 8443}
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    far = {"certificate": certificate, "key": key, "port": port, "address": stage.address}
    far["target"] = stage.inner
    near: dict[str, Any] = {
        "ca": stage.authority.certificate,
        "url": f"https://{stage.place}:{port}",
    }
    near |= {"forwards": forwards, "target": stage.inner, "alive_s": stage.pick(0, 3, 15)}
    near["more"] = stage.pick({"servername": NAME}, {"servername": NAME}, {"servername": ""})
    if stage.pick(False, False, True):
        near["more"] = {**near["more"], "maxVersion": "TLSv1.2"}
    stage.server.start("node", stage.server.write("far.js", NODE_FAR), json.dumps(far))
    stage.claim(TCP, port, "tls", "http-connect")
    stage.server.wait_listen("tcp", port)
    yield None
    stage.client.start("node", stage.client.write("near.js", NODE_NEAR), json.dumps(near))
    stage.client.wait_listen("tcp", 8443)
    yield Way(stage.client, stage.server, stage.inner, forwards=forwards, udp=False)

"""TLS, DTLS and SSH by other libraries than OpenSSL's and OpenSSH's, ordinary and as tunnels."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from classifier.lab import services
from classifier.lab.services import bracket
from classifier.lab.stage import TCP, UDP, Stage, Way, Ways, scenario

NAME = "www.example.net"
PYTHON = "/usr/bin/python3"
PEERS = str(Path(__file__).parents[1] / "peers.py")
PRIORITIES = ("NORMAL", "NORMAL", "NORMAL:-VERS-TLS1.3", "NORMAL:+CHACHA20-POLY1305:-AES-256-GCM")
GNUTLS = ("gnutls-cli:gnutls-bin", "gnutls-serv:gnutls-bin")
SSH = ("sshd:openssh-server", "module.paramiko:python3-paramiko")


def _sizes(stage: Stage) -> dict[str, int]:
    return {f"f{i}": int(200 * 2500 ** stage.rng.random()) for i in range(12)}


@scenario("wget-pages", "Many files over HTTPS by wget (GnuTLS)", "wget", "nginx:nginx-light",
          ways=False, ipv6=True)  # fmt: skip
def _wget(stage: Stage) -> Iterator[Ways]:
    port, sizes = stage.port(443), _sizes(stage)
    services.serve_web(stage.net, stage.authority, stage.server, NAME, None, port, 9_000, sizes)
    hosts = stage.client.write("hosts", f"{stage.address} {NAME}\n")
    stage.client.replace("/etc/hosts", hosts)
    yield None
    for _ in range(stage.number(4, 4, 14)):
        options = stage.pick([], [], ["--secure-protocol=TLSv1_2"], ["--no-http-keep-alive"])
        host = stage.pick(NAME, NAME, stage.place)
        names = [stage.rng.choice(list(sizes)) for _ in range(stage.number(5, 1, 15))]
        urls = [f"https://{host}:{port}/{name}" for name in names]
        wait = stage.pick([], [], ["--wait=0.2"], ["--limit-rate=300k"])
        argv = ["wget", "-q", "-T", "15", "-O", "/dev/null", "--no-check-certificate"]
        stage.client.run(*argv, *options, *wait, *urls)


@scenario("gnutls-talk", "Lines typed into a TLS connection by GnuTLS", *GNUTLS, ways=False)
def _talk(stage: Stage) -> Iterator[Ways]:
    yield from _lines(stage, TCP)


@scenario("dtls-gnutls", "Lines typed into a DTLS connection by GnuTLS", *GNUTLS, ways=False,
          loss=False)  # fmt: skip
def _datagrams(stage: Stage) -> Iterator[Ways]:
    yield from _lines(stage, UDP)


def _lines(stage: Stage, proto: int) -> Iterator[Ways]:
    port, udp = stage.port(4433), ["--udp"] if proto == UDP else []
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    files = ["--x509certfile", certificate, "--x509keyfile", key]
    stage.server.start("gnutls-serv", "--echo", *udp, "-p", str(port), *files)
    stage.claim(proto, port, "dtls" if udp else "tls")
    stage.server.wait_listen("udp" if udp else "tcp", port)
    yield None
    for _ in range(stage.number(2, 3, 9)):
        lines, width = stage.number(8, 4, 24), stage.number(40, 10, 900)
        one = f"head -c {width} /dev/zero | tr '\\0' x; echo; sleep {stage.pick(0.1, 0.02, 0.3)}"
        call = f"gnutls-cli --no-ca-verification -p {port} {' '.join(udp)} {stage.address}"
        if not udp:
            call += f" --priority={stage.pick(*PRIORITIES)}"
        call += stage.pick("", f" --sni-hostname={NAME}")
        script = f"sleep 0.4; for i in $(seq {lines}); do {one}; done; sleep 0.3"
        stage.client.sh(f"({script}) | timeout 20 {call} > /dev/null 2>&1 || true")


@scenario("gnutls-tunnel", "Ports forwarded inside TLS by GnuTLS", "socat", "stunnel4", GNUTLS[0])
def _tunnel(stage: Stage) -> Iterator[Ways]:
    port = stage.port(8443)
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    far = "foreground = yes\npid =\n"
    for number, inner in enumerate((80, 443)):
        far += f"[s{number}]\naccept = {stage.address}:{port + number}\n"
        far += f"connect = {stage.inner}:{inner}\ncert = {certificate}\nkey = {key}\n"
        stage.claim(TCP, port + number, "tls", "stunnel")
    stage.server.start("stunnel4", stage.server.write("stunnel.conf", far))
    options = f"--no-ca-verification --logfile=/dev/null --priority={stage.pick(*PRIORITIES)}"
    options += stage.pick("", f" --sni-hostname={NAME}")
    stage.server.wait_listen("tcp", port + 1)
    yield None
    for number in range(2):
        call = f"gnutls-cli {options} -p {port + number} {stage.address}"
        script = stage.client.write(f"call{number}", f"#!/bin/sh\nexec {call}\n", 0o700)
        near = f"TCP-LISTEN:{8000 + number},bind=127.0.0.1,reuseaddr,fork"
        stage.client.start("socat", near, f"EXEC:{script}")
        stage.client.wait_listen("tcp", 8000 + number)
    forwards = {80: 8000, 443: 8001}
    yield Way(stage.client, stage.server, stage.inner, forwards=forwards, udp=False)


def _ncat(stage: Stage, targets: dict[int, str]) -> Iterator[None]:
    """Lead local ports from 8000 on to targets beside the server."""
    port = stage.port(4433)
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    for number, target in enumerate(targets.values()):
        listen = ["-l", "-k", stage.address, str(port + number)]
        files = ["--ssl", "--ssl-cert", certificate, "--ssl-key", key]
        stage.server.start("ncat", *listen, *files, "--sh-exec", f"ncat {target}")
        stage.claim(TCP, port + number, "tls", "stunnel")
        stage.server.wait_listen("tcp", port + number)
    yield
    named = stage.pick("", f"--ssl-servername {NAME}")
    for number in range(len(targets)):
        call = f"ncat --ssl {named} {stage.address} {port + number}"
        stage.client.start("ncat", "-l", "-k", "127.0.0.1", str(8000 + number), "--sh-exec", call)
        stage.client.wait_listen("tcp", 8000 + number)


@scenario("ncat-tls", "Ports forwarded inside TLS by ncat", "ncat")
def _ncat_tls(stage: Stage) -> Iterator[Ways]:
    yield from _ncat(stage, {80: f"{stage.inner} 80", 443: f"{stage.inner} 443"})
    forwards = {80: 8000, 443: 8001}
    yield Way(stage.client, stage.server, stage.inner, forwards=forwards, udp=False)


@scenario("ncat-connect", "An HTTP proxy inside TLS by ncat", "ncat", "tinyproxy:tinyproxy-bin")
def _ncat_connect(stage: Stage) -> Iterator[Ways]:
    conf = "Port 3128\nListen 127.0.0.1\nUser root\nMaxClients 200\n"
    stage.server.start("tinyproxy", "-d", "-c", stage.server.write("tinyproxy.conf", conf))
    target = stage.inner
    yield from _ncat(stage, {3128: "127.0.0.1 3128"})
    yield Way(stage.client, stage.server, target, proxy="http://127.0.0.1:8000", udp=False)


@scenario("python-https", "Calls of an interface over HTTPS by Python, one connection for many",
          "python3", ways=False, ipv6=True)  # fmt: skip
def _python(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(443, 8443)
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    ca = stage.authority.certificate
    setup = {"address": stage.address, "port": port, "certificate": certificate, "key": key}
    setup["ca"] = stage.pick("", "", ca)  # where given, the client must show a certificate too
    mine = stage.authority.issue("client.example.net", "clientAuth")
    server = stage.server.start(PYTHON, PEERS, "api", "serve", json.dumps(setup))
    stage.claim(TCP, port, "tls")
    server.wait_output("ready")
    yield None
    for _ in range(stage.number(3, 2, 6)):
        ask: dict[str, object] = {"address": stage.address, "port": port, "ca": ca}
        ask |= {"seed": stage.rng.getrandbits(32), "name": stage.pick(NAME, NAME, "")}
        ask |= {"count": stage.number(8, 1, 20), "most": stage.pick(2_000, 20_000, 300_000)}
        ask |= {"kind": stage.pick("get", "post", "events", "poll", "mixed")}
        ask |= {"old": stage.pick(False, False, True), "alpn": stage.pick([], ["http/1.1"])}
        ask |= {"mine": mine if setup["ca"] else None}
        stage.client.run(PYTHON, PEERS, "api", "ask", json.dumps(ask), seconds=40)


NODE = """\
const https = require('https'), http2 = require('http2'), fs = require('fs')
const s = JSON.parse(process.argv[2])
const options = {ca: fs.readFileSync(s.ca), checkServerIdentity: () => undefined, ...s.more}
const pause = ms => new Promise(done => setTimeout(done, ms))
function h1 (agent, step) {
  return new Promise((done, fail) => {
    const taken = answer => { answer.resume(); answer.on('end', done) }
    https.get(s.url + step.path, {agent, ...options}, taken).on('error', fail)
  })
}
function h2 (session, step) {
  return new Promise((done, fail) => {
    const ask = session.request({':path': step.path})
    ask.resume(); ask.on('end', done); ask.on('error', fail)
  })
}
async function main () {
  const agent = new https.Agent({keepAlive: true, maxSockets: s.sockets})
  const session = s.h2 ? http2.connect(s.url, options) : null
  const running = []
  for (const step of s.steps) {
    running.push(s.h2 ? h2(session, step) : h1(agent, step))
    if (step.pause) { await running[running.length - 1]; await pause(step.pause) }
  }
  await Promise.all(running)
  if (session) session.close()
  agent.destroy()
}
main().catch(error => { console.error(error); process.exit(1) })
"""


@scenario("node-https", "Many requests by Node over HTTP/1.1 and HTTP/2 in TLS", "node:nodejs",
          "nginx:nginx-light", ways=False, ipv6=True)  # fmt: skip
def _node(stage: Stage) -> Iterator[Ways]:
    port, sizes = stage.port(443), _sizes(stage)
    services.serve_web(stage.net, stage.authority, stage.server, NAME, None, port, 9_000, sizes)
    program = stage.client.write("fetch.js", NODE)
    yield None
    for _ in range(stage.number(3, 3, 8)):
        rng = stage.rng
        steps = [
            {"path": f"/{rng.choice(list(sizes))}", "pause": rng.choice((0, 0, 20, 150))}
            for _ in range(stage.number(8, 2, 30))
        ]
        setup: dict[str, Any] = {
            "url": f"https://{stage.place}:{port}",
            "ca": stage.authority.certificate,
        }
        setup |= {"h2": stage.pick(False, True), "steps": steps, "sockets": stage.pick(1, 2, 6)}
        setup["more"] = {"servername": stage.pick(NAME, NAME, "")}
        if stage.pick(False, False, True):
            setup["more"] |= {"maxVersion": "TLSv1.2"}
        stage.client.run("node", program, json.dumps(setup), seconds=40)


def _login(stage: Stage, port: int) -> dict[str, object]:
    """Start sshd and return with what a program of paramiko logs in."""
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    facts: dict[str, object] = {"address": stage.server.address, "port": port}
    return facts | {"key": options[options.index("-i") + 1], "seed": stage.rng.getrandbits(32)}


@scenario("paramiko-commands", "Commands and files by SSH from Python", *SSH, ways=False)
def _commands(stage: Stage) -> Iterator[Ways]:
    setup = _login(stage, stage.pick(22, 22, 2222, 443))
    yield None
    for _ in range(stage.number(3, 3, 7)):
        setup |= {"count": stage.number(4, 1, 9), "most": stage.pick(3_000, 300_000)}
        setup |= {"seed": stage.rng.getrandbits(32), "kind": stage.pick("run", "sftp")}
        stage.client.run(PYTHON, PEERS, "ssh", "ask", json.dumps(setup), seconds=60)


@scenario("paramiko-forward", "Connections through ports that SSH from Python forwards", *SSH)
def _forward(stage: Stage) -> Iterator[Ways]:
    port, forwards = stage.pick(22, 22, 2222, 443), {80: 8000, 443: 8443}
    setup = _login(stage, port) | {"kind": "forward", "forwards": forwards, "target": stage.inner}
    setup["alive_s"] = stage.pick(0, 2, 10)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    yield None
    stage.client.start(PYTHON, PEERS, "ssh", "ask", json.dumps(setup))
    stage.client.wait_listen("tcp", 8443)
    yield Way(stage.client, stage.server, stage.inner, forwards=forwards, udp=False)


@scenario("mosh-typing", "A terminal by mosh: typed lines in encrypted datagrams",
          "mosh-server:mosh", "script:bsdutils", ways=False)  # fmt: skip
def _mosh(stage: Stage) -> Iterator[Ways]:
    port, address = stage.pick(60001, 60010, 61000), stage.server.address
    plain = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "TERM": "xterm"}
    argv = ["mosh-server", "new", "-i", address, "-p", str(port), "--", "sh"]
    stage.claim(UDP, port, "mosh")
    said = re.search(r"MOSH CONNECT \d+ (\S+)", stage.server.run(*argv, env=plain))
    assert said is not None
    lines = "".join(
        f"echo line {i}; ls /usr | head -{stage.rng.randint(1, 9)}\n"
        for i in range(stage.number(6, 4, 24))
    )
    typed = stage.client.write("typed", lines)
    yield None
    slowly = f'sleep 1; while IFS= read -r l; do echo "$l"; sleep 0.3; done < {typed}; echo exit'
    call = f"script -qfc 'mosh-client {address} {port}' /dev/null"
    stage.client.run(
        *("sh", "-c", f"({slowly}; sleep 1) | timeout 30 {call} > /dev/null 2>&1 || true"),
        env=plain | {"MOSH_KEY": said[1]},
    )


@scenario("git-ssh", "Repositories cloned and pushed by git over SSH", "git",
          "sshd:openssh-server", "ssh:openssh-client", ways=False)  # fmt: skip
def _git(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    folder = stage.server.folder / "r.git"
    stage.server.run("git", "init", "-q", "-b", "main", "--bare", str(folder))
    call = {"GIT_SSH_COMMAND": " ".join(["ssh", *options]), "HOME": str(stage.client.folder)}
    url = f"ssh://root@{bracket(stage.server.address)}:{port}{folder}"
    work = stage.client.folder / "work"
    me = "-c user.name=lab -c user.email=lab@example.net"
    yield None
    for number in range(stage.number(3, 2, 6)):
        one = f"{work}{number}"
        size = int(500 * 500 ** stage.rng.random())
        stage.client.run(
            *("sh", "-ec"),
            f"git clone -q {url} {one} 2>/dev/null; cd {one} && head -c {size} /dev/urandom > f{number}"
            f" && git add . && git {me} commit -qm {number} && git push -q origin HEAD:main && git fetch -q",
            env=call,
        )


@scenario("openssh-jump", "ssh -J: a login in a forwarded connection, and -D in that",
          "sshd:openssh-server", "ssh:openssh-client")  # fmt: skip
def _jump(stage: Stage) -> Iterator[Ways]:
    port, inner = stage.pick(22, 22, 2222, 443), stage.inner
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    conf = (stage.server.folder / "sshd_config").read_text()
    more = re.sub(r"ListenAddress \S+", f"ListenAddress {inner}:2022", conf)
    stage.server.start("/usr/sbin/sshd", "-D", "-e", "-f", stage.server.write("second", more))
    key = options[options.index("-i") + 1]
    hosts = "".join(
        f"Host {name}\n HostName {place}\n Port {number}\n User root\n IdentityFile {key}\n"
        " StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n"
        for name, place, number in (("gate", stage.server.address, port), ("far", inner, 2022))
    )
    conf = stage.client.write("config", hosts)
    yield None
    alive = ["-o", f"ServerAliveInterval={stage.pick(0, 2, 10)}"]
    stage.client.start("ssh", "-F", conf, *alive, "-N", "-J", "gate", "-D1080", "far")
    stage.client.wait_listen("tcp", 1080)
    yield Way(stage.client, stage.server, inner, proxy="socks5://127.0.0.1:1080", udp=False)

"""Programs that speak to their like: members of a cluster, senders and receivers, nodes of a network."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from classifier.lab.host import Host
from classifier.lab.stage import TCP, UDP, Stage, Ways, scenario

PYTHON = "/usr/bin/python3"
PEERS = str(Path(__file__).parents[1] / "peers.py")
KEYS = "import zmq; print(*(key.decode() for key in zmq.curve_keypair()))"
SRTP_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"  # key and salt of a run that ends in seconds
COROSYNC = """\
totem {{
  version: 2
  cluster_name: lab
  transport: knet
  crypto_cipher: {cipher}
  crypto_hash: {mac}
  keyfile: {key}
  token: 1000
  interface {{
    linknumber: 0
    mcastport: {port}
  }}
}}
nodelist {{
{nodes}}}
quorum {{
  provider: corosync_votequorum
  two_node: 1
}}
logging {{
  to_stderr: yes
  to_syslog: no
}}
"""
NODE = "  node {{\n    name: n{number}\n    nodeid: {number}\n    ring0_addr: {address}\n  }}\n"
COLLECTD = """\
Interval 1
BaseDir "/tmp"
PIDFile "/dev/null"
LoadPlugin network
LoadPlugin cpu
LoadPlugin load
LoadPlugin memory
<Plugin network>
{inside}
</Plugin>
"""
SYNCTHING = """\
<configuration version="37">
 <folder id="lab" path="{share}" type="sendreceive" rescanIntervalS="5" fsWatcherEnabled="false">
  <device id="{own}"/><device id="{peer}"/>
 </folder>
 <device id="{own}" name="me"><address>dynamic</address></device>
 <device id="{peer}" name="you"><address>{scheme}://{place}:22000</address></device>
 <gui enabled="false"></gui>
 <options>
  <listenAddress>tcp://{address}:22000</listenAddress>
  <listenAddress>quic://{address}:22000</listenAddress>
  <globalAnnounceEnabled>false</globalAnnounceEnabled>
  <localAnnounceEnabled>false</localAnnounceEnabled>
  <relaysEnabled>false</relaysEnabled>
  <natEnabled>false</natEnabled>
  <crashReportingEnabled>false</crashReportingEnabled>
  <urAccepted>-1</urAccepted>
 </options>
</configuration>
"""


def _pair(stage: Stage) -> tuple[tuple[Host, Host], tuple[Host, Host]]:
    """Return each of both hosts with the other."""
    return (stage.server, stage.client), (stage.client, stage.server)


def _both(stage: Stage, application: str, *places: tuple[int, int]) -> None:
    """Claim protocols and ports at both hosts."""
    for host, _ in _pair(stage):
        for proto, port in places:
            stage.claim(proto, port, application, host=host)


@scenario("corosync-knet", "Members of a cluster, in datagrams that are encrypted as a whole",
          "corosync", ways=False)  # fmt: skip
def _corosync(stage: Stage) -> Iterator[Ways]:
    cipher = stage.pick("aes256", "aes256", "aes128", "none")
    mac = stage.pick("sha1", "sha256", "md5", "sha512")
    key, port = os.urandom(256), stage.pick(5405, 5405, 5500)
    hosts = enumerate((stage.server, stage.client), 1)
    nodes = "".join(NODE.format(number=number, address=host.address) for number, host in hosts)
    for host, _ in _pair(stage):
        host.cover("/var/lib/corosync", "/etc/corosync")
        path = host.write("authkey", key, 0o400)
        conf = COROSYNC.format(cipher=cipher, mac=mac, key=path, port=port, nodes=nodes)
        host.write("corosync.conf", conf)
    _both(stage, "corosync", (UDP, port), (UDP, 0))
    yield None
    for host, _ in _pair(stage):
        host.start("corosync", "-f", "-c", str(host.folder / "corosync.conf"))
    stage.client.run("sleep", str(stage.number(4, 3, 15)))


@scenario("collectd-network", "Measurements that collectd sends on, encrypted, signed or plain",
          "collectd:collectd-core", ways=False)  # fmt: skip
def _collectd(stage: Stage) -> Iterator[Ways]:
    port, level = 25826, stage.pick("Encrypt", "Encrypt", "Sign", "None")
    users, place = (
        stage.server.write("users", "lab: secret\n"),
        f'"{stage.server.address}" "{port}"',
    )
    inside = {
        stage.server: f'<Listen {place}>\nAuthFile "{users}"\n</Listen>',
        stage.client: f"<Server {place}>\nSecurityLevel {level}\nUsername lab\nPassword secret\n</Server>",
    }
    stage.claim(UDP, port, "collectd")
    for host, text in inside.items():
        if host is stage.client:
            stage.server.wait_listen("udp", port)
            yield None
        conf = host.write("collectd.conf", COLLECTD.format(inside=text))
        host.start("collectd", "-f", "-C", conf)
    stage.client.run("sleep", str(stage.number(6, 4, 20)))


@scenario("zmq-curve", "Messages by ZeroMQ, encrypted by CurveZMQ or plain",
          "module.zmq:python3-zmq", ways=False)  # fmt: skip
def _zmq(stage: Stage) -> Iterator[Ways]:
    port, curve = stage.port(5555), stage.pick(True, True, False)
    far, near = (stage.server.run(PYTHON, "-c", KEYS).split() for _ in range(2))
    setup = {"address": stage.server.address, "port": port, "seed": stage.rng.getrandbits(32)}
    setup |= {"curve": curve, "server": far[0], "count": stage.number(12, 4, 40), "most": 2000}
    stage.claim(TCP, port, "zeromq")
    served = json.dumps(setup | {"own": far})
    stage.server.start(PYTHON, PEERS, "zeromq", "serve", served).wait_output("ready")
    yield None
    asked = json.dumps(setup | {"own": near})
    stage.client.run(PYTHON, PEERS, "zeromq", "ask", asked, seconds=60)


@scenario("srt-stream", "A stream by SRT, encrypted or plain", "srt-live-transmit:srt-tools",
          ways=False)  # fmt: skip
def _srt(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(9000, stage.rng.randint(1024, 60_000))
    place = f"srt://{stage.server.address}:{port}"
    secret = stage.pick("&passphrase=secret-secret&pbkeylen=16", "")
    stage.claim(UDP, port, "srt")
    stage.server.start("srt-live-transmit", f"{place}?mode=listener{secret}", "file://con")
    stage.server.wait_listen("udp", port)
    yield None
    count = stage.number(120, 40, 300)
    stage.client.sh(
        f"(for i in $(seq {count}); do head -c 1316 /dev/urandom; sleep 0.02; done) | timeout 20 "
        f"srt-live-transmit -chunk:1316 file://con '{place}?mode=caller{secret}' >/dev/null 2>&1",
        check=False,
        seconds=40,
    )


@scenario("srtp-stream", "Two streams of RTP whose payload is encrypted, and RTCP", "ffmpeg",
          ways=False)  # fmt: skip
def _srtp(stage: Stage) -> Iterator[Ways]:
    port, codec = 5004 + 2 * stage.number(0, 0, 400), stage.pick("pcm_mulaw", "g722", "aac")
    suite = f"AES_CM_128_HMAC_SHA1_{stage.pick(80, 32)}"
    _both(stage, "rtp", (UDP, port), (UDP, port + 1), (UDP, 0))
    yield None
    tone = ("-re", "-f", "lavfi", "-i", "sine=frequency=440:duration=6", "-acodec", codec)
    crypt = ("-srtp_out_suite", suite, "-srtp_out_params", SRTP_KEY)
    for host, other in _pair(stage):
        to = f"srtp://{other.address}:{port}?localport={port}"
        host.start("ffmpeg", "-loglevel", "error", *tone, "-f", "rtp", *crypt, to)
    stage.client.run("sleep", "7")


@scenario("syncthing-folders", "Folders that two Syncthing programs keep alike", "syncthing",
          ways=False)  # fmt: skip
def _syncthing(stage: Stage) -> Iterator[Ways]:
    scheme, own = stage.pick("tcp", "quic"), dict[Host, str]()
    for host, _ in _pair(stage):
        env, home = {"HOME": str(host.folder)}, f"--home={host.folder}/st"
        host.run("syncthing", "generate", home, "--no-default-folder", env=env)
        own[host] = host.run("syncthing", home, "--device-id", env=env).split()[-1]
    for host, other in _pair(stage):
        share = host.folder / "share"
        host.write("share/.stfolder/keep", "")
        host.write(f"share/{host.name}", os.urandom(stage.number(60_000, 10_000, 300_000)))
        conf = SYNCTHING.format(
            share=share,
            scheme=scheme,
            own=own[host],
            peer=own[other],
            address=host.address,
            place=other.address,
        )
        host.write("st/config.xml", conf)
    _both(stage, "tls", (TCP, 22000), (TCP, 0))
    _both(stage, "quic", (UDP, 22000), (UDP, 0))
    yield None
    for host, _ in _pair(stage):
        quiet = ("--no-browser", "--no-restart", "--no-upgrade")
        env = {"HOME": str(host.folder)}
        host.start("syncthing", "serve", f"--home={host.folder}/st", *quiet, env=env)
    stage.client.run("sleep", "15")


@scenario("monero-nodes", "Two nodes of a private Monero network", "monerod:monero", ways=False)
def _monero(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(28080, 18080)
    _both(stage, "monero", (TCP, port), (TCP, 0))
    yield None
    quiet = ("--no-igd", "--non-interactive", "--no-zmq", "--disable-dns-checkpoints")
    local = ("--check-updates=disabled", "--allow-local-ip", "--rpc-bind-port=28081")
    for host, other in _pair(stage):
        bound = (f"--p2p-bind-ip={host.address}", f"--p2p-bind-port={port}")
        peer = (f"--data-dir={host.folder}/m", f"--add-exclusive-node={other.address}:{port}")
        host.start("monerod", "--regtest", "--fixed-difficulty=1", *quiet, *local, *bound, *peer)
    stage.client.run("sleep", "12")

"""BitTorrent between aria2 programs that a tracker introduces; files over SSH; mail with STARTTLS."""

import os
from collections.abc import Iterator

from classifier.lab import services
from classifier.lab.stage import TCP, UDP, Stage, Ways, scenario

TORRENT = ("aria2c:aria2", "transmission-create:transmission-cli", "opentracker")
QUIET = (
    *("--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--no-conf"),
    *("--enable-peer-exchange=false", "--file-allocation=none", "--summary-interval=0"),
)


def _torrent(stage: Stage, *crypto: str) -> Iterator[Ways]:
    address, folder = stage.server.address, stage.server.folder / "share"
    port, tracker = stage.pick(6881, 51413, 16881), 6969
    folder.mkdir()
    (folder / "film").write_bytes(os.urandom(stage.number(400_000, 100_000, 1_500_000)))
    announce = f"http://{address}:{tracker}/announce"
    torrent = str(stage.net.folder / "film.torrent")
    stage.server.run("transmission-create", "-t", announce, "-o", torrent, str(folder / "film"))
    told = stage.server.run("transmission-show", torrent)
    known = stage.server.write("known", told.partition("Hash: ")[2].split()[0] + "\n", 0o644)
    stage.server.start(
        "opentracker", "-w", known, "-i", address, "-p", str(tracker), "-P", str(tracker)
    )
    stage.server.wait_listen("tcp", tracker)
    stage.claim(TCP, tracker, "http")
    stage.claim(UDP, tracker, "bittorrent")
    stage.claim(TCP, port, "bittorrent")
    for client in stage.clients:
        stage.claim(TCP, 6999, "bittorrent", host=client)
    seed = (
        "--seed-ratio=0.0",
        "--check-integrity=true",
        f"--listen-port={port}",
        f"--dir={folder}",
    )
    stage.server.start("aria2c", *QUIET, *crypto, *seed, torrent)
    stage.server.wait_listen("tcp", port)
    stage.server.run("sleep", "1.5")  # its own announcement must have arrived
    yield None
    for client in stage.clients:
        got = ("--seed-time=0", "--listen-port=6999", f"--dir={client.folder}")
        client.run("timeout", "50", "aria2c", *QUIET, *crypto, *got, torrent, seconds=60)


@scenario("bittorrent-plain", "BitTorrent in the clear", *TORRENT, ways=False, clients=2)
def _plain(stage: Stage) -> Iterator[Ways]:
    yield from _torrent(stage, "--bt-require-crypto=false", "--bt-min-crypto-level=plain")


@scenario(
    "bittorrent-encrypted", "BitTorrent with its obfuscation (MSE)", *TORRENT, ways=False, clients=2
)
def _encrypted(stage: Stage) -> Iterator[Ways]:
    yield from _torrent(stage, "--bt-force-encryption=true", "--bt-min-crypto-level=arc4")


SSH = ("sshd:openssh-server", "ssh:openssh-client")


@scenario("rsync-ssh", "Files by rsync in SSH, both ways", *SSH, "rsync", ways=False)
def _rsync(stage: Stage) -> Iterator[Ways]:
    options = services.serve_ssh(stage.net, stage.server, stage.client, stage.pick(22, 22, 2222))
    shell, address = "ssh " + " ".join(options), stage.server.address
    yield None
    for number in range(stage.number(1, 1, 4)):
        path = stage.client.write("file", os.urandom(stage.number(8_000, 500, 500_000)))
        there = str(stage.server.folder / f"copy{number}")
        ends = [path, f"root@{address}:{there}"]
        stage.client.run("rsync", "-e", shell, *ends)
        stage.client.run("rsync", "-e", shell, ends[1], f"{path}.back")


@scenario("openssh-sftp", "Files by SFTP", *SSH, ways=False)
def _sftp(stage: Stage) -> Iterator[Ways]:
    options = services.serve_ssh(stage.net, stage.server, stage.client, stage.pick(22, 22, 2222))
    yield None
    for _ in range(stage.number(1, 1, 4)):
        path = stage.client.write("file", os.urandom(stage.number(8_000, 500, 400_000)))
        there = str(stage.server.folder / "copy")
        orders = stage.client.write(
            "orders", f"put {path} {there}\nls /\nget {there} {path}.back\n"
        )
        stage.client.run("sftp", "-q", *options, "-b", orders, f"root@{stage.server.address}")


@scenario(
    "aiosmtpd-starttls",
    "Mails by SMTP with STARTTLS",
    "aiosmtpd:python3-aiosmtpd",
    "curl",
    ways=False,
)
def _mail(stage: Stage) -> Iterator[Ways]:
    address, port = stage.server.address, stage.pick(587, 25)
    certificate, key = stage.authority.issue("mail.example.net", "serverAuth")
    argv = ["/usr/bin/python3", "-m", "aiosmtpd", "-n", "-l", f"{address}:{port}"]
    stage.server.start(*argv, "--tlscert", certificate, "--tlskey", key)
    stage.claim(TCP, port, "smtp")
    stage.server.wait_listen("tcp", port)
    yield None
    url, name = f"smtp://mail.example.net:{port}", f"mail.example.net:{port}:{address}"
    secure = ["--ssl-reqd", "--cacert", stage.authority.certificate, "--resolve", name]
    for _ in range(stage.number(1, 1, 10)):
        text = "Subject: demo\r\n\r\n" + "a line of text\r\n" * stage.number(40, 5, 900)
        people = ["--mail-from", "a@example.net", "--mail-rcpt", "b@example.org"]
        mail = stage.client.write("mail", text)
        stage.client.run("curl", "-sS", "-m", "15", url, *secure, *people, "-T", mail)

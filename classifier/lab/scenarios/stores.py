"""Ordinary data stores and file transfer: Redis, memcached, PostgreSQL, MQTT, FTP, TFTP, rsync, SMTP."""

import os
from collections.abc import Iterator

from classifier.lab.stage import TCP, UDP, Stage, Ways, scenario

PYTHON = "/usr/bin/python3"  # Debian's, which has Debian's modules


@scenario(
    "mosquitto-mqtt",
    "MQTT: subscribe and publish",
    "mosquitto",
    "mosquitto_pub:mosquitto-clients",
    ways=False,
    ipv6=True,
)
def _mqtt(stage: Stage) -> Iterator[Ways]:
    conf = f"listener 1883 {stage.address}\nallow_anonymous true\nuser root\n"
    stage.server.start("mosquitto", "-c", stage.server.write("mosquitto.conf", conf))
    stage.claim(TCP, 1883, "mqtt")
    stage.server.wait_listen("tcp", 1883)
    yield None
    topic = ["-h", stage.address, "-t", "demo/value"]
    stage.client.start("mosquitto_sub", *topic, "-C", "3")
    stage.client.run("sleep", "0.3")
    for value in range(stage.number(3, 3, 25)):
        text = "value " + "x" * stage.number(1, 1, 900)
        stage.client.run("mosquitto_pub", *topic, "-m", text, "-q", str(value % 3))


@scenario(
    "redis-plain",
    "Redis: set and get",
    "redis-server",
    "redis-cli:redis-tools",
    ways=False,
    ipv6=True,
)
def _redis(stage: Stage) -> Iterator[Ways]:
    options = ["--save", "", "--protected-mode", "no"]
    stage.server.start("redis-server", "--bind", stage.address, *options)
    stage.claim(TCP, 6379, "redis")
    stage.server.wait_listen("tcp", 6379)
    yield None
    for _ in range(stage.number(1, 2, 15)):
        value = "x" * stage.number(300, 10, 5_000)
        stage.client.run("redis-cli", "-h", stage.address, "set", "key", value)
        stage.client.run("redis-cli", "-h", stage.address, "get", "key")


@scenario("memcached-text", "memcached's text protocol", "memcached", "socat", ways=False)
def _memcached(stage: Stage) -> Iterator[Ways]:
    address = stage.server.address
    stage.server.start("memcached", "-u", "root", "-l", address)
    stage.claim(TCP, 11211, "memcached")
    stage.server.wait_listen("tcp", 11211)
    yield None
    for _ in range(stage.number(1, 2, 15)):
        size = stage.number(5, 1, 3_000)
        data = f"set key 0 60 {size}\r\n{'v' * size}\r\nget key\r\nquit\r\n"
        stage.client.run("socat", "-t2", "-", f"TCP:{address}:11211", data=data)


@scenario(
    "postgres-plain",
    "PostgreSQL: logins and statements",
    "psql:postgresql-15",
    ways=False,
    ipv6=True,
)
def _postgres(stage: Stage) -> Iterator[Ways]:
    folder = stage.server.folder
    stage.server.run("chown", "postgres", str(folder))
    tools, user = "/usr/lib/postgresql/15/bin", ["runuser", "-u", "postgres", "--"]
    stage.server.run(*user, f"{tools}/initdb", "-D", f"{folder}/pg")
    (folder / "pg" / "pg_hba.conf").write_text("host all all all trust\n")
    options = ["-h", stage.address, "-k", str(folder), "-c", "fsync=off"]
    stage.server.start(*user, f"{tools}/postgres", "-D", f"{folder}/pg", *options)
    stage.claim(TCP, 5432, "postgres")
    stage.server.wait_listen("tcp", 5432)
    yield None
    for _ in range(stage.number(1, 1, 8)):
        statement = f"select generate_series(1, {stage.number(40, 1, 900)}); select version()"
        stage.client.run("psql", "-h", stage.address, "-U", "postgres", "-c", statement)


@scenario(
    "vsftpd-passive", "FTP: a directory and files in passive mode", "vsftpd", "curl", ways=False
)
def _ftp(stage: Stage) -> Iterator[Ways]:
    address, folder = stage.server.address, stage.server.folder / "ftp"
    folder.mkdir()
    (folder / "file").write_bytes(os.urandom(stage.number(4_000, 100, 400_000)))
    (folder / "file").chmod(0o444)
    folder.chmod(0o555)
    stage.server.run("mkdir", "-p", "/run/vsftpd/empty")
    conf = stage.server.write(
        "vsftpd.conf",
        f"listen=YES\nbackground=NO\nlisten_address={address}\nanonymous_enable=YES\n"
        f"anon_root={folder}\nseccomp_sandbox=NO\nsecure_chroot_dir=/run/vsftpd/empty\n",
    )
    stage.server.start("vsftpd", conf)
    stage.claim(TCP, 21, "ftp")
    stage.claim(TCP, 0, "ftp-data")
    stage.server.wait_listen("tcp", 21)
    yield None
    for _ in range(stage.number(1, 1, 6)):
        for path in ("", "file"):
            stage.client.run("curl", "-sS", "-o", "/dev/null", f"ftp://{address}/{path}")


@scenario(
    "tftpd-get",
    "Small files by TFTP",
    "in.tftpd:tftpd-hpa",
    "tftp:tftp-hpa",
    ways=False,
    nat=False,
    loss=False,
)
def _tftp(stage: Stage) -> Iterator[Ways]:
    address, folder = stage.server.address, stage.server.folder / "tftp"
    folder.mkdir()
    (folder / "file").write_bytes(os.urandom(stage.number(3_000, 100, 20_000)))
    (folder / "file").chmod(0o444)
    folder.chmod(0o755)
    listen = ["-a", f"{address}:69", str(folder)]
    stage.server.start("in.tftpd", "-L", "-s", "-u", "nobody", *listen)
    stage.claim(UDP, 69, "tftp")
    stage.claim(UDP, 0, "tftp")  # the answer comes from a port of its own
    stage.server.wait_listen("udp", 69)
    yield None
    for _ in range(stage.number(1, 1, 5)):
        stage.client.run("tftp", "-m", "binary", address, "-c", "get", "file", "/dev/null")


@scenario("aiosmtpd-smtp", "Mails by SMTP", "aiosmtpd:python3-aiosmtpd", "curl", ways=False)
def _smtp(stage: Stage) -> Iterator[Ways]:
    address, port = stage.server.address, stage.pick(25, 587)
    stage.server.start(PYTHON, "-m", "aiosmtpd", "-n", "-l", f"{address}:{port}")
    stage.claim(TCP, port, "smtp")
    stage.server.wait_listen("tcp", port)
    yield None
    for _ in range(stage.number(1, 1, 10)):
        text = "Subject: demo\r\n\r\n" + "a line of text\r\n" * stage.number(40, 5, 400)
        stage.client.run(
            *["curl", "-sS", f"smtp://{address}:{port}", "--mail-from", "a@example.net"],
            *["--mail-rcpt", "b@example.org", "-T", stage.client.write("mail", text)],
        )


@scenario("rsync-daemon", "Files by rsync's own protocol", "rsync", ways=False, ipv6=True)
def _rsync(stage: Stage) -> Iterator[Ways]:
    stage.server.write("file", os.urandom(stage.number(5_000, 100, 400_000)))
    conf = f"address = {stage.address}\nuse chroot = no\nuid = root\ngid = root\n"
    conf += f"[demo]\npath = {stage.server.folder}\n"
    options = f"--config={stage.server.write('r.conf', conf)}"
    stage.server.start("rsync", "--daemon", "--no-detach", options)
    stage.claim(TCP, 873, "rsync")
    stage.server.wait_listen("tcp", 873)
    yield None
    for number in range(stage.number(1, 1, 8)):
        got = str(stage.client.folder / f"got{number}")
        stage.client.run("rsync", f"rsync://{stage.place}/demo/file", got)

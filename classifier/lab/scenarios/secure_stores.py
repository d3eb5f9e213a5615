"""Databases and brokers inside TLS, and MariaDB without it."""

from collections.abc import Iterator

from classifier.lab.stage import TCP, Stage, Ways, scenario

NAME = "db.example.net"


@scenario(
    "postgres-tls",
    "PostgreSQL: logins and statements inside TLS",
    "psql:postgresql-15",
    ways=False,
    ipv6=True,
)
def _postgres(stage: Stage) -> Iterator[Ways]:
    folder = stage.server.folder
    stage.server.run("chown", "postgres", str(folder))
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    for path, name in ((certificate, "server.crt"), (key, "server.key")):
        own = str(folder / name)
        stage.server.run("install", "-o", "postgres", "-m", "600", path, own)
    tools, user = "/usr/lib/postgresql/15/bin", ["runuser", "-u", "postgres", "--"]
    stage.server.run(*user, f"{tools}/initdb", "-D", f"{folder}/pg")
    (folder / "pg" / "pg_hba.conf").write_text("hostssl all all all trust\n")
    options = ["-h", stage.address, "-k", str(folder), "-c", "fsync=off", "-c", "ssl=on"]
    options += [
        "-c",
        f"ssl_cert_file={folder}/server.crt",
        "-c",
        f"ssl_key_file={folder}/server.key",
    ]
    stage.server.start(*user, f"{tools}/postgres", "-D", f"{folder}/pg", *options)
    stage.claim(TCP, 5432, "postgres")
    stage.server.wait_listen("tcp", 5432)
    yield None
    login = f"host={stage.address} user=postgres sslmode=require"
    for _ in range(stage.number(2, 2, 12)):
        statement = f"select generate_series(1, {stage.number(40, 1, 900)}); select version()"
        stage.client.run("psql", login, "-c", statement)


def _mariadb(stage: Stage, tls: bool) -> Iterator[Ways]:
    folder = stage.server.folder
    data = f"{folder}/data"
    start = ["mariadbd", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-grant-tables"]
    start += [f"--socket={folder}/s", "--skip-name-resolve", f"--bind-address={stage.address}"]
    start += ["--lc-messages-dir=/usr/share/mysql", f"--tmpdir={folder}", "--port=3306"]
    start += ["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M", "--pid-file=/run/m"]
    if tls:
        certificate, key = stage.authority.issue(NAME, "serverAuth")
        start += [f"--ssl-cert={certificate}", f"--ssl-key={key}"]
        start += [f"--ssl-ca={stage.authority.certificate}"]
    stage.server.run("mkdir", data, f"{data}/mysql", f"{data}/lab")
    stage.server.start(*start)
    stage.claim(TCP, 3306, "mysql")
    stage.server.wait_listen("tcp", 3306, seconds=40)
    yield None
    for _ in range(stage.number(2, 2, 15)):
        statement = f"select repeat('x', {stage.number(400, 1, 20_000)}); select version()"
        argv = ["mariadb", "--no-defaults", "-h", stage.address, "-u", "lab", "-e", statement]
        stage.client.run(*argv, *(["--ssl"] if tls else ["--skip-ssl"]))


_MARIADB = ("mariadbd:mariadb-server-core", "mariadb:mariadb-client-core")


@scenario("mariadb-plain", "MariaDB: logins and statements", *_MARIADB, ways=False, ipv6=True)
def _plain(stage: Stage) -> Iterator[Ways]:
    yield from _mariadb(stage, False)


@scenario("mariadb-tls", "MariaDB: statements inside TLS", *_MARIADB, ways=False, ipv6=True)
def _tls(stage: Stage) -> Iterator[Ways]:
    yield from _mariadb(stage, True)


@scenario(
    "redis-tls", "Redis inside TLS", "redis-server", "redis-cli:redis-tools", ways=False, ipv6=True
)
def _redis(stage: Stage) -> Iterator[Ways]:
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    options = ["--save", "", "--protected-mode", "no", "--port", "0", "--tls-port", "6380"]
    options += ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"]
    options += ["--tls-ca-cert-file", stage.authority.certificate]
    stage.server.start("redis-server", "--bind", stage.address, *options)
    stage.claim(TCP, 6380, "tls")
    stage.server.wait_listen("tcp", 6380)
    yield None
    call = ["redis-cli", "-h", stage.address, "-p", "6380", "--tls", "--sni", NAME, "--insecure"]
    for _ in range(stage.number(2, 3, 20)):
        stage.client.run(*call, "set", "key", "x" * stage.number(300, 10, 5_000))
        stage.client.run(*call, "get", "key")


@scenario(
    "mosquitto-tls",
    "MQTT inside TLS",
    "mosquitto",
    "mosquitto_pub:mosquitto-clients",
    ways=False,
    ipv6=True,
)
def _mqtt(stage: Stage) -> Iterator[Ways]:
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    conf = f"listener 8883 {stage.address}\nallow_anonymous true\nuser root\n"
    conf += f"certfile {certificate}\nkeyfile {key}\n"
    stage.server.start("mosquitto", "-c", stage.server.write("mosquitto.conf", conf))
    stage.claim(TCP, 8883, "tls")
    stage.server.wait_listen("tcp", 8883)
    yield None
    topic = ["-h", stage.address, "-p", "8883", "-t", "demo/value", "--insecure"]
    topic += ["--cafile", stage.authority.certificate]
    stage.client.start("mosquitto_sub", *topic, "-C", "3")
    stage.client.run("sleep", "0.5")
    for value in range(stage.number(3, 3, 25)):
        text = "value " + "x" * stage.number(1, 1, 900)
        stage.client.run("mosquitto_pub", *topic, "-m", text, "-q", str(value % 3))

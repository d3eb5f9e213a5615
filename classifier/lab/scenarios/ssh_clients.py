"""SSH by other clients than OpenSSH's, and by programs that keep files and tunnels over it."""

import json
import os
from collections.abc import Iterator

from classifier.lab import services
from classifier.lab.stage import TCP, Stage, Way, Ways, scenario

SSHD = "sshd:openssh-server"
PUTTY = ("plink:putty-tools", "puttygen:putty-tools", SSHD)
PYTHON = "/usr/bin/python3"
ASYNC = """
import asyncio, asyncssh, json, sys
setup = json.loads(sys.argv[1])
async def main():
    known = dict(username='root', client_keys=[setup['key']], known_hosts=None)
    async with asyncssh.connect(setup['address'], setup['port'], config=None, **known) as conn:
        for local, inner in setup['forwards'].items():
            await conn.forward_local_port('127.0.0.1', int(local), setup['target'], inner)
        for order in setup['orders']:
            await conn.run(order, encoding=None)
        if setup['files']:
            async with conn.start_sftp_client() as sftp:
                for name in setup['files']:
                    await sftp.put(name, name + '.copy')
                    await sftp.get(name + '.copy', name)
        if setup['forwards']:
            await asyncio.sleep(600)
asyncio.run(main())
"""


def _login(stage: Stage) -> tuple[int, str]:
    """Start sshd; return its port and the client's key."""
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    return port, options[options.index("-i") + 1]


def _plink(stage: Stage) -> list[str]:
    """Start sshd and return how plink logs in, but for what it is to do."""
    port, key = _login(stage)
    stage.client.run("puttygen", key, "-O", "private", "-o", f"{key}.ppk")
    said = stage.server.run("ssh-keygen", "-lf", str(stage.server.folder / "hostkey.pub"))
    more = ["-ssh", "-batch", "-noagent", "-hostkey", said.split()[1]]
    return ["plink", *more, "-P", str(port), "-i", f"{key}.ppk"]


def _orders(stage: Stage) -> list[str]:
    most = stage.pick(2_000, 300_000)
    return [
        f"head -c {stage.rng.randint(1, most)} /dev/urandom; sleep 0.2; ls -l /usr"
        for _ in range(stage.number(2, 1, 5))
    ]


def _files(stage: Stage) -> list[str]:
    sizes = [int(100 * 3000 ** stage.rng.random()) for _ in range(stage.number(3, 1, 6))]
    return [stage.client.write(f"f{i}", os.urandom(size)) for i, size in enumerate(sizes)]


@scenario("putty-commands", "Commands and a typed shell by PuTTY's plink", *PUTTY, ways=False)
def _commands(stage: Stage) -> Iterator[Ways]:
    call = _plink(stage)
    yield None
    home = {"HOME": str(stage.client.folder)}
    for order in _orders(stage):
        options = stage.pick([], [], ["-C"], ["-t"])
        stage.client.run(*call, *options, f"root@{stage.server.address}", order, env=home)
    typed = "".join(f"echo {i}; sleep 0.1\n" for i in range(stage.number(6, 2, 20))) + "exit\n"
    stage.client.run(*call, f"root@{stage.server.address}", data=typed, env=home)


@scenario("putty-forward", "Connections through ports that PuTTY's plink forwards", *PUTTY)
def _forward(stage: Stage) -> Iterator[Ways]:
    call, forwards = _plink(stage), {80: 8000, 443: 8443}
    stage.claim(TCP, int(call[call.index("-P") + 1]), "ssh", "ssh-tunnel")
    target, dynamic = stage.inner, stage.pick(False, True)
    yield None
    rules = [f"-L {local}:{target}:{there}".split() for there, local in forwards.items()]
    asked = ["-D", "1080"] if dynamic else [word for rule in rules for word in rule]
    place = f"root@{stage.server.address}"
    home = {"HOME": str(stage.client.folder)}
    stage.client.start(*call, "-N", *asked, place, env=home)
    stage.client.wait_listen("tcp", 1080 if dynamic else 8443)
    if dynamic:
        proxy = "socks5://127.0.0.1:1080"
        yield Way(stage.client, stage.server, target, proxy=proxy, udp=False)
    else:
        yield Way(stage.client, stage.server, target, forwards=forwards, udp=False)


def _asyncssh(stage: Stage, **what: object) -> list[str]:
    port, key = _login(stage)
    setup = {"address": stage.server.address, "port": port, "key": key, "forwards": {}}
    setup |= {"orders": [], "files": [], "target": ""} | what
    return [PYTHON, "-c", ASYNC, json.dumps(setup)]


@scenario("asyncssh-commands", "Commands and files by SSH from asyncssh", SSHD,
          "module.asyncssh:python3-asyncssh", ways=False)  # fmt: skip
def _async_commands(stage: Stage) -> Iterator[Ways]:
    kind = stage.pick("orders", "files")
    call = _asyncssh(stage, **{kind: _orders(stage) if kind == "orders" else _files(stage)})
    yield None
    for _ in range(stage.number(2, 1, 4)):
        stage.client.run(*call, seconds=60)


@scenario("asyncssh-forward", "Connections through ports that asyncssh forwards", SSHD,
          "module.asyncssh:python3-asyncssh")  # fmt: skip
def _async_forward(stage: Stage) -> Iterator[Ways]:
    call = _asyncssh(stage, forwards={8000: 80, 8443: 443}, target=stage.inner)
    stage.claim(TCP, json.loads(call[-1])["port"], "ssh", "ssh-tunnel")
    yield None
    stage.client.start(*call)
    stage.client.wait_listen("tcp", 8443)
    forwards = {80: 8000, 443: 8443}
    yield Way(stage.client, stage.server, stage.inner, forwards=forwards, udp=False)


@scenario("curl-sftp", "Files by SFTP and SCP with curl (libssh2)", SSHD, ways=False)
def _curl(stage: Stage) -> Iterator[Ways]:
    port, key = _login(stage)
    files = _files(stage)
    yield None
    for name in files:
        scheme = stage.pick("sftp", "sftp", "scp")
        url = f"{scheme}://root@{stage.server.address}:{port}{name}.copy"
        call = ["curl", "-sS", "-k", "--key", key, "--pubkey", f"{key}.pub", "-m", "20"]
        stage.client.run(*call, "-T", name, url)
        stage.client.run(*call, "-o", "/dev/null", url)


@scenario("rclone-sftp", "Folders copied by SFTP with rclone (Go)", SSHD, "rclone", ways=False)
def _rclone(stage: Stage) -> Iterator[Ways]:
    port, key = _login(stage)
    _files(stage)
    place = f":sftp,host={stage.server.address},port={port},user=root,key_file={key}"
    there = stage.server.folder / "copy"
    yield None
    for source, target in ((stage.client.folder, f"{place}:{there}"), (f"{place}:{there}", "/tmp")):
        target = target if source == stage.client.folder else str(stage.client.folder / "back")
        options = ["--include", "f*", "--config", "/dev/null", "--log-level", "ERROR"]
        stage.client.run("rclone", "copy", str(source), target, *options, seconds=60)


@scenario("borg-ssh", "Backups over SSH by Borg and restic", "borg:borgbackup", "restic", SSHD,
          "ssh:openssh-client", ways=False)  # fmt: skip
def _backups(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    call, place = " ".join(["ssh", *options]), f"root@{stage.server.address}"
    for i in range(stage.number(3, 1, 6)):
        stage.client.write(f"data/f{i}", os.urandom(60_000))
    data, there = str(stage.client.folder / "data"), str(stage.server.folder)
    env = {"BORG_RSH": call, "HOME": str(stage.client.folder), "BORG_PASSPHRASE": "lab"}
    env |= {"RESTIC_PASSWORD": "lab"}
    restic = [
        "restic",
        "-o",
        f"sftp.command={call} {place} -s sftp",
        "-r",
        f"sftp:x:{there}/restic",
    ]
    yield None
    borg = f"ssh://{place}:{port}{there}/borg"
    stage.client.run("borg", "init", "-e", "repokey", borg, env=env)
    stage.client.run("borg", "create", f"{borg}::one", data, env=env)
    stage.client.run(*restic, "init", env=env, seconds=60)
    stage.client.run(*restic, "backup", data, env=env, seconds=60)


@scenario("unison-ssh", "Folders kept alike over SSH by Unison, and files by lftp", "unison", "lftp",
          SSHD, "ssh:openssh-client", ways=False)  # fmt: skip
def _unison(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(22, 22, 2222, 443)
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    up = stage.client.write("data/up", os.urandom(stage.number(60_000, 1_000, 300_000)))
    (stage.server.folder / "copy").mkdir()
    data, env = str(stage.client.folder / "data"), {"HOME": str(stage.client.folder)}
    yield None
    call = f'set sftp:connect-program "ssh -a -x {" ".join(options)}"'
    orders = f"{call}; open -u root, sftp://{stage.server.address}; put {up} -o /dev/null; ls /usr"
    stage.client.run("lftp", "-c", orders, env=env, check=False)
    there = f"ssh://root@{stage.server.address}:{port}/{stage.server.folder}/copy"
    quiet = ("-batch", "-auto", "-sshargs", " ".join(options))
    stage.client.run("unison", data, there, *quiet, env=env, check=False)


@scenario("autossh-forward", "Connections through ports that autossh forwards", "autossh", SSHD,
          "ssh:openssh-client")  # fmt: skip
def _autossh(stage: Stage) -> Iterator[Ways]:
    port, forwards = stage.pick(22, 22, 2222, 443), {80: 8000, 443: 8443}
    options = services.serve_ssh(stage.net, stage.server, stage.client, port)
    stage.claim(TCP, port, "ssh", "ssh-tunnel")
    rules = [f"-L{local}:{stage.inner}:{there}" for there, local in forwards.items()]
    yield None
    place = f"root@{stage.server.address}"
    stage.client.start("autossh", "-M", "0", *options, "-N", *rules, place)
    stage.client.wait_listen("tcp", 8443)
    yield Way(stage.client, stage.server, stage.inner, forwards=forwards, udp=False)

"""Registers in PostgreSQL and MariaDB: as in SQLite, from the first step to the digests."""

import contextlib
import datetime
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from classifier.errors import RegistryError
from classifier.registry import RefusedError, Registry, Window, _reading, import_rows, verify

SAID = {"by": "clerk", "reason": "form"}
HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status\n"


def program(name, *folders):
    """Return the path of a program of a server, or skip."""
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *folders]))
    return path or pytest.skip(f"{name} is not installed")


def runner(*names):
    """Return who runs a server, which refuses to be run by root."""
    if os.geteuid():
        return {}
    for name in names:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return pytest.skip("there is no user to run a server")


@contextlib.contextmanager
def server(command, folder, who, ready):
    """Run a server until the end of the block."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **who)
    try:
        deadline = time.monotonic() + 120
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no server: {(folder / 'log').read_text()[-600:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def postgresql(folder, who):
    pytest.importorskip("psycopg2", reason="no driver for PostgreSQL")
    places = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    initdb, postgres = program("initdb", *places), program("postgres", *places)
    data = folder / "data"
    make = [initdb, "-D", data, "-A", "trust", "-U", "register", "-E", "UTF8", "--no-sync"]
    subprocess.run(make, cwd=folder, check=True, capture_output=True, **who)
    command = [postgres, "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]

    def ready():
        return (folder / ".s.PGSQL.5432").exists() and "ready to accept" in (
            folder / "log"
        ).read_text()

    with server(command, folder, who, ready):
        yield f"postgresql+psycopg2://register@/postgres?host={folder}"


@contextlib.contextmanager
def mariadb(folder, who):
    pytest.importorskip("pymysql", reason="no driver for MariaDB")
    import sqlalchemy

    install, daemon = program("mariadb-install-db"), program("mariadbd")
    data, socket = folder / "data", folder / "socket"
    make = [
        install,
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
    ]
    subprocess.run(make, cwd=folder, check=True, capture_output=True, **who)
    command = [daemon, "--no-defaults", f"--datadir={data}", f"--socket={socket}"]
    command += ["--skip-networking", f"--pid-file={folder / 'pid'}"]
    with server(command, folder, who, socket.exists):
        root = f"mysql+pymysql://root@/{{}}?unix_socket={socket}"
        engine = sqlalchemy.create_engine(root.format("mysql"))
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE register")
        engine.dispose()
        yield root.format("register")


@pytest.fixture(scope="module", params=[postgresql, mariadb], ids=lambda start: start.__name__)
def database(request):
    """Yield a URL of an empty database; the tests of one server share it."""
    who = runner("postgres" if request.param is postgresql else "mysql", "nobody")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # sockets have short paths
        folder = Path(name)
        if who:
            os.chown(folder, who["user"], who["group"])
        with request.param(folder, who) as url:
            yield url


@pytest.fixture
def url(database):
    """Return the URL of a database without tables."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(database)
    with engine.begin() as connection:
        for table in ("registrations", "changes"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
    engine.dispose()
    return database


def clock():
    """Return a clock that is at another second each time."""
    second = iter(range(10_000))
    begin = datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC)
    return lambda: begin + datetime.timedelta(seconds=next(second))


def lead_through(source):
    """Take a few registrations through the window; return the last digest and the answers."""
    window = Window(source, clock=clock())
    window.init(**SAID)
    prefixes = ["203.0.113.64/28", "2001:db8::/48"]
    first = window.add("Hölder & Söhne, «Ж» 𝛺", "bank", prefixes, side="server", **SAID)
    window.approve(first.registration_id, **SAID)
    window.amend(first.registration_id, add_prefixes=["198.51.100.7"], flags="cgnat", **SAID)
    second = window.add("Two", "bank", ["192.0.2.0/24"], registration_id="r-000001", **SAID)
    window.reject(second.registration_id, **SAID)
    third = window.add("Three", "bank", ["192.0.2.0/24"], valid_to="2024-09-01", **SAID)
    window.approve(third.registration_id, **SAID)
    window.renew(third.registration_id, "2026-01-01", **SAID)
    window.revoke(third.registration_id, on="2025-01-01", **SAID)
    with pytest.raises(RefusedError):
        window.approve(first.registration_id, **SAID)
    register = Registry.open(source)
    table = register.compile()
    asked = ["203.0.113.70", "2001:db8::1", "198.51.100.7", "192.0.2.1", "8.8.8.8"]
    answers = [
        None if match is None else (match.registration_id, match.organisation, match.prefix)
        for at in ("2024-02-01", "2024-06-01", "2024-12-31", "2025-01-01")
        for match in (table.lookup(address, at=at) for address in asked)
    ]
    ids = [first.registration_id, second.registration_id, third.registration_id]
    past = [len(register.as_of(known_at=f"2024-03-01T00:00:{k:02d}Z")) for k in range(1, 12)]
    report = verify(source)
    assert report.whole
    return report.digest, table.hash, answers, ids, past, register.history().to_dict("list")


def test_a_server_keeps_what_sqlite_keeps_to_the_last_digest(url, tmp_path):
    assert lead_through(url) == lead_through(tmp_path / "register.db")


def test_what_is_recorded_cannot_be_changed(url):
    import sqlalchemy

    window = Window(url)
    window.add("One", "bank", ["192.0.2.0/24"], **SAID)
    engine = sqlalchemy.create_engine(url)
    for text in (
        "UPDATE registrations SET status = 'active'",
        "DELETE FROM registrations",
        "UPDATE changes SET actor = 'nobody'",
        "DELETE FROM changes",
    ):
        with pytest.raises(sqlalchemy.exc.DBAPIError, match="only added to"):  # noqa: SIM117 - two statements read better
            with engine.begin() as connection:
                connection.exec_driver_sql(text)
    with engine.begin() as connection:
        on = " ON changes" if "postgresql" in url else ""
        connection.exec_driver_sql(f"DROP TRIGGER changes_delete{on}")
    engine.dispose()
    assert any("changes_delete" in finding.problem for finding in verify(url).findings)


def test_a_change_that_is_recorded_while_a_history_is_read_does_not_break_it(url, monkeypatch):
    for name in ("r-1", "r-2"):
        Window(url).add("Holder", "bank", ["192.0.2.0/24"], registration_id=name, **SAID)
    read_changes = _reading._read_changes

    def late(*args):
        writer = threading.Thread(target=lambda: Window(url).approve("r-1", **SAID))
        writer.start()
        writer.join()
        monkeypatch.undo()
        return read_changes(*args)

    monkeypatch.setattr(_reading, "_read_changes", late)
    verified = verify(url)
    assert verified.whole
    assert (verified.changes, verify(url).changes) == (2, 3)


def test_writers_at_once_lose_nothing(url):
    Window(url).init(**SAID)
    failures = []

    def write(name):
        try:
            for _ in range(12):
                Window(url).add(f"Holder {name}", "bank", ["192.0.2.0/24"], **SAID)
        except RegistryError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    register = Registry.open(url)
    assert sorted(register.rows["registration_id"].to_pylist()) == [
        f"R-{k:06d}" for k in range(1, 37)
    ]
    assert verify(url).whole


def test_an_import_is_all_or_nothing_and_comes_out_again(url, tmp_path):
    rows = [
        f"R-{k:06d},Holder {k},bank,10.{k // 256 % 256}.{k % 256}.0/24,either,any,any,2024-01-01,,active\n"
        for k in range(3_000)
    ]
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(HEADER + "".join(rows))
    bad.write_text(
        HEADER
        + "".join(rows[:2_000])
        + "R-9,x,bank,10.0.0.0/33,either,any,any,2024-01-01,,active\n"
    )
    assert import_rows(good, url, dry_run=True, **SAID).added == 3_000
    with pytest.raises(RegistryError, match=r"bad\.csv:2002"):
        import_rows(bad, url, **SAID)
    with pytest.raises(RegistryError, match="has no table"):
        Registry.open(url)
    assert import_rows(good, url, **SAID).added == 3_000
    assert import_rows(good, url, **SAID).unchanged == 3_000
    register = Registry.open(url)
    assert len(register) == 3_000
    assert register.compile().hash == Registry.open(good).compile().hash
    register.save(tmp_path / "out.csv")
    assert Registry.open(tmp_path / "out.csv").compile().hash == register.compile().hash


def test_texts_that_a_server_cannot_hold_are_refused(url):
    window = Window(url)
    with pytest.raises(RegistryError):
        window.add("a\0b", "bank", ["192.0.2.0/24"], **SAID)
    if "mysql" in url:
        with pytest.raises(RegistryError):
            window.add("One", "bank", ["192.0.2.0/24"], registration_id="R" * 300, **SAID)

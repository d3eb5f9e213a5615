"""A returned list: what an import would do, what it does, what it refuses, and what looks wrong."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from classifier.errors import RegistryError
from classifier.registry import Registry, Window, import_rows, verify

HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
GOOD = [
    "R-1,Example House,software_house,9.9.9.64/28,server,any,any,2021-03-01,2027-02-28,active",
    "R-2,A Bank,bank,2a00:17::/48,either,udp,51820,2021-03-01,,active",
]
SAID = {"by": "board", "reason": "decided"}
ROOT = Path(__file__).parents[3]


@pytest.fixture
def write(tmp_path):
    def write(rows, name="list.csv", header=HEADER):
        path = tmp_path / name
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return write


def test_a_dry_run_tells_and_writes_nothing(write, tmp_path):
    into = tmp_path / "r.db"
    done = import_rows(write(GOOD), into, dry_run=True)
    assert (done.added, done.changed, done.unchanged, done.dry_run) == (2, 0, 0, True)
    assert not into.exists()
    import_rows(write(GOOD[:1]), into)
    before = into.read_bytes()
    changed = [GOOD[0].replace("2027", "2028"), GOOD[1]]
    done = import_rows(write(changed), into, dry_run=True)
    assert (done.added, done.changed, done.unchanged) == (1, 1, 0)
    assert into.read_bytes() == before
    real = import_rows(write(changed), into)
    assert list(real.report["outcome"]) == list(done.report["outcome"]) == ["changed", "added"]


def test_the_report_names_every_row_with_its_line(write, tmp_path):
    rows = [GOOD[0], GOOD[1].replace("udp", "esp"), "short", GOOD[1]]
    done = import_rows(write(rows), tmp_path / "r.db", skip_bad_rows=True)
    report = done.report
    assert list(report["line"]) == [2, 3, 4, 5]
    assert list(report["outcome"]) == ["added", "refused", "refused", "added"]
    assert report["problem"][1] == "port 51820 is given but esp has no ports; write any as port"
    assert "1 fields" in report["problem"][2]
    assert list(report["registration_id"]) == ["R-1", "", "", "R-2"]


def test_who_and_why_are_kept(write, tmp_path):
    into = tmp_path / "r.db"
    import_rows(write(GOOD), into, by="clerk", reason="list of March", recorded_at="2024-03-01")
    (row,) = Registry.open(into).history().to_dict("records")
    assert (row["action"], row["by"], row["reason"]) == ("import", "clerk", "list of March")
    assert row["rows"] == 2
    assert row["recorded_at"] == "2024-03-01T00:00:00.000000+00:00"


def test_history_is_only_added_to(write, tmp_path):
    into = tmp_path / "r.db"
    import_rows(write(GOOD[:1]), into, recorded_at="2024-03-01")
    with pytest.raises(RegistryError, match=r"lies before the last change.*with a later time"):
        import_rows(write(GOOD), into, recorded_at="2024-02-01")


def test_a_list_does_not_undo_a_decision(write, tmp_path):
    into = tmp_path / "r.db"
    import_rows(write(GOOD), into, recorded_at="2022-01-01")
    Window(into).revoke("R-1", on="2024-05-01", **SAID)
    with pytest.raises(RegistryError, match=r"list\.csv:2: R-1 was revoked since.*take the row"):
        import_rows(write(GOOD), into)
    done = import_rows(write(GOOD), into, skip_bad_rows=True)
    assert (done.added, done.changed, done.unchanged) == (0, 0, 1)
    assert [problem.line for problem in done.problems] == [2]
    assert list(done.report["outcome"]) == ["refused", "unchanged"]
    # what was exported says what is on record, and changes nothing
    Registry.open(into).save(tmp_path / "out.csv")
    assert import_rows(tmp_path / "out.csv", into).unchanged == 2


def test_the_window_goes_on_with_what_was_imported(write, tmp_path):
    into = tmp_path / "r.db"
    import_rows(write(GOOD), into, recorded_at="2022-01-01")
    window = Window(into)
    window.renew("R-1", "2030-01-01", on="2026-01-01", **SAID)
    window.amend("R-2", port="1194", on="2026-01-01", **SAID)
    rows = Registry.open(into).as_of(valid_at="2028-01-01").rows.to_pylist()
    assert [(row["registration_id"], row["port"]) for row in rows] == [
        ("R-1", "any"),
        ("R-2", "1194"),
    ]


def test_old_rows_of_an_imported_registration_are_not_renewed(write, tmp_path):
    into = tmp_path / "r.db"
    old = "R-1,Example House,software_house,8.8.8.8,server,any,any,2015-01-01,2016-01-01,active"
    import_rows(write([old, GOOD[0]]), into, recorded_at="2022-01-01")
    Window(into).renew("R-1", "2030-01-01", on="2028-01-01", **SAID)
    rows = Registry.open(into).as_of(valid_at="2029-01-01").rows.to_pylist()
    assert [row["prefix"] for row in rows] == ["9.9.9.64/28"]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".db"])
def test_details_come_back_and_a_list_without_them_does_not_erase_them(write, tmp_path, suffix):
    into, out = tmp_path / "r.db", tmp_path / f"out{suffix}"
    header = HEADER + ",flags,contact,note,purpose"
    rows = [GOOD[0] + ",dynamic cgnat,=desk,x,remote work", GOOD[1] + ",,,x,"]
    import_rows(write(rows, header=header), into)
    assert import_rows(write(GOOD, "plain.csv"), into).unchanged == 2
    Registry.open(into).save(out, details=True)
    details = Registry.open(out).details.to_pylist()
    assert details[0] == {
        "contact": "=desk",
        "purpose": "remote work",
        "flags": "dynamic cgnat",
        "documents": "",
        "state": "",
    }
    assert import_rows(out, into).unchanged == 2


def test_a_flag_that_is_none_is_a_bad_row(write):
    with pytest.raises(RegistryError, match=r"list\.csv:2: 'vip' is not a flag; write dynamic"):
        Registry.open(write([GOOD[0] + ",vip"], header=HEADER + ",flags"))


def test_overlaps_duplicates_bogons_and_wide_prefixes_are_reported(write, tmp_path):
    into = tmp_path / "r.db"
    first = "R-1,A,bank,9.0.0.0/12,server,any,any,2021-01-01,2025-01-01,active"
    import_rows(write([first]), into)
    rows = [
        "R-2,B,bank,9.1.0.0/24,either,tcp,any,2024-01-01,,active",  # within R-1 for a year
        "R-3,B,bank,9.1.1.0/24,client,any,any,2024-01-01,,active",  # another side
        "R-4,B,bank,9.1.2.0/24,server,any,any,2025-01-01,,active",  # later
        "R-5,B,bank,9.1.3.0/24,server,any,any,2024-01-01,,revoked",  # does not count
        "R-6,B,bank,8.8.8.8,server,udp,53,2024-01-01,,active",
        "R-6,B,bank,8.8.8.8/32,server,udp,53,2024-06-01,,active",
        "R-6,B,bank,8.8.8.8/32,server,udp,54,2024-06-01,,active",
        "R-7,B,bank,10.1.2.3,client,any,any,2024-01-01,,active",
        "R-8,B,bank,fd00::1,client,any,any,2024-01-01,,pending",
        "R-9,B,bank,2400::/24,client,any,any,2024-01-01,,active",
    ]
    done = import_rows(write(rows), into)
    found = sorted((finding.kind, finding.line) for finding in done.findings)
    assert found == [("bogon", 9), ("bogon", 10), ("duplicate", 7), ("overlap", 2), ("wide", 11)]
    texts = [str(finding) for finding in done.findings]
    assert any("9.1.0.0/24 of R-2 overlaps 9.0.0.0/12 of R-1; " in text for text in texts)
    assert any("lies in 10.0.0.0/8, private (RFC 1918); " in text for text in texts)
    kinds = sorted(finding.kind for finding in Registry.open(into).check())
    assert kinds == ["bogon", "bogon", "duplicate", "overlap", "wide", "wide"]
    assert verify(into).whole


def test_nested_overlaps_name_the_nearest_holder_around(write):
    rows = [
        f"R-{k},H,bank,9.0.0.0/{length},server,any,any,2021-01-01,,active"
        for k, length in enumerate((17, 20, 24))
    ]
    findings = Registry.open(write(rows)).check()
    assert [(f.registration_id, "of R-0" in f.problem) for f in findings] == [
        ("R-1", True),
        ("R-2", False),
    ]


def test_one_identifier_of_two_holders_is_reported_but_not_where_a_holder_was_renamed(
    write, tmp_path
):
    into = tmp_path / "r.db"
    import_rows(write(GOOD), into, recorded_at="2022-01-01")
    Window(into).amend("R-1", organisation="New Name", on="2024-01-01", **SAID)
    assert Registry.open(into).check() == []
    row = "R-2,Another,ngo,9.9.1.1,server,any,any,2021-03-01,,active"
    (finding,) = import_rows(write([row]), into).findings
    assert (finding.kind, finding.registration_id) == ("holder", "R-2")
    assert "R-2 is of A Bank and of Another" in str(finding)


def process(code, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


ADD = """
import sys
from classifier.registry import Window
window = Window(sys.argv[1])
for k in range(int(sys.argv[3])):
    window.add("Holder", "bank", [f"9.9.{k}.0/24"], by=sys.argv[2], reason="race")
"""


def test_two_writers_at_once_lose_nothing(tmp_path):
    path = tmp_path / "r.db"
    Window(path).init(**SAID)
    writers = [process(ADD, path, name, 12) for name in ("one", "two")]
    for writer in writers:
        assert writer.wait(timeout=120) == 0
    history = Registry.open(path).history()
    assert list(history["change"]) == list(range(1, 26))
    assert history["by"].value_counts().to_dict() == {"one": 12, "two": 12, "board": 1}
    assert history["registration_id"][1:].nunique() == 24
    assert len(Registry.open(path)) == 24
    assert verify(path).whole


def test_a_writer_whose_number_was_taken_begins_again(tmp_path, monkeypatch):
    # as on a server that does not lock: another writer's change appears between reading and writing
    from classifier.registry import _database

    path = tmp_path / "r.db"
    Window(path).init(**SAID)
    real, calls = _database.last_change, []

    def stale(connection):
        calls.append(1)
        number, recorded, digest = real(connection)
        return (number - 1 if len(calls) == 1 else number), recorded, digest

    monkeypatch.setattr(_database, "last_change", stale)
    change = Window(path).add("Holder", "bank", ["9.9.9.9"], **SAID)
    assert (change.number, len(calls)) == (2, 2)
    assert verify(path).whole


KILLED = """
import os, signal, sys
from classifier.registry import _database, import_rows
real, calls = _database._insert, []

def insert(*arguments):
    real(*arguments)
    calls.append(1)
    if len(calls) == int(sys.argv[3]):
        arguments[0].exec_driver_sql("PRAGMA cache_spill = 1")
        os.kill(os.getpid(), signal.SIGKILL)

_database._insert = insert
_database.BATCH = 2000
arguments = sys.argv
import_rows(arguments[2], arguments[1], check=False)
"""


@pytest.mark.parametrize("batches", [1, 4])
def test_a_killed_import_leaves_the_register_as_it_was(write, tmp_path, batches):
    path = tmp_path / "r.db"
    import_rows(write(GOOD), path, recorded_at="2024-01-01")
    before = Registry.open(path)
    many = [
        f"R-{k},{'Holder ' * 40},bank,9.{k >> 8}.{k & 255}.0/24,server,any,any,2021-01-01,,active"
        for k in range(10_000)
    ]
    killed = process(KILLED, path, write(many, "many.csv"), batches)
    assert killed.wait(timeout=120) == -signal.SIGKILL
    again = Registry.open(path)
    assert again.rows.equals(before.rows)
    assert verify(path).whole
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert import_rows(tmp_path / "many.csv", path, check=False).added == 10_000
    assert verify(path).whole


def test_a_killed_import_into_a_new_file_can_be_done_again(write, tmp_path):
    path = tmp_path / "r.db"
    many = [f"R-{k},H,bank,9.9.{k}.0/24,server,any,any,2021-01-01,,active" for k in range(200)]
    killed = process(KILLED, path, write(many), 1)
    assert killed.wait(timeout=120) == -signal.SIGKILL
    with pytest.raises(RegistryError, match=r"r\.db: has no table registrations"):
        Registry.open(path)
    assert import_rows(tmp_path / "list.csv", path).added == 200


def test_a_reader_waits_for_a_writer_and_sees_all_or_nothing(write, tmp_path):
    path = tmp_path / "r.db"
    import_rows(write(GOOD), path)
    many = [
        f"R-{k},H,bank,9.{k >> 8}.{k & 255}.0/24,server,any,any,2021-01-01,,active"
        for k in range(20_000)
    ]
    source = write(many, "many.csv")
    code = "import sys; from classifier.registry import import_rows as i; i(*sys.argv[1:3])"
    writer = process(code, source, path)
    seen = set()
    until = time.monotonic() + 120
    while writer.poll() is None and time.monotonic() < until:
        seen.add(len(Registry.open(path)))
    assert writer.wait(timeout=120) == 0
    seen.add(len(Registry.open(path)))
    assert seen <= {2, 20_002}
    assert 20_002 in seen

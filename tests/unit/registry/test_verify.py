"""Whether a history is whole: every way to tamper with it is found."""

import sqlite3
import threading

import pytest

from classifier.errors import RegistryError
from classifier.registry import Registry, Window, _reading, import_rows, verify

SAID = {"by": "board", "reason": "decided"}
TRIGGERS = [
    f"DROP TRIGGER {table}_{verb}"
    for table in ("registrations", "changes")
    for verb in ("update", "delete")
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "r.db"
    window = Window(path)
    window.init(**SAID)
    for k in range(3):
        name = window.add("Holder", "bank", [f"9.9.{k}.0/24", f"2a00:{k}::/32"], **SAID)
        window.approve(name.registration_id, **SAID)
    window.revoke("R-000002", **SAID)
    return path


def tamper(path, *statements):
    """Change a file as someone would who knows SQLite, and put the triggers back."""
    connection = sqlite3.connect(path)
    query = "SELECT sql FROM sqlite_master WHERE type = 'trigger'"
    triggers = [sql for (sql,) in connection.execute(query)]
    for text in (*TRIGGERS, *statements, *triggers):
        connection.execute(text)
    connection.commit()
    connection.close()


def test_a_history_that_nobody_touched_is_whole(path):
    verified = verify(path)
    assert verified.whole
    assert verified.findings == ()
    assert (verified.rows, verified.changes) == (14, 8)
    assert len(verified.digest) == 64
    assert verify(path, digest=verified.digest).whole


def test_a_change_that_is_recorded_while_a_history_is_read_does_not_break_it(path, monkeypatch):
    read_changes = _reading._read_changes
    writer = threading.Thread(target=lambda: Window(path).revoke("R-000003", **SAID))

    def late(*args):
        writer.start()
        writer.join(0.3)  # has to wait until all is read
        return read_changes(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_reading, "_read_changes", late)
        verified = verify(path)
    writer.join()
    assert verified.whole
    assert (verified.changes, verify(path).changes) == (8, 9)


def test_a_longer_history_begins_with_the_shorter_one(path, tmp_path):
    digest = verify(path).digest
    Window(path).revoke("R-000003", **SAID)
    assert verify(path, digest=digest).whole
    Registry.open(path).save(tmp_path / "copy.db")
    assert verify(tmp_path / "copy.db").digest == verify(path).digest
    (finding,) = verify(path, digest="0" * 64).findings
    assert "no change has the digest" in str(finding)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE registrations SET organisation = 'Other' WHERE row = 1", "change 2"),
        ("UPDATE registrations SET valid_to = '2030-01-01' WHERE row = 13", "change 8"),
        ("UPDATE registrations SET status = 'active' WHERE row = 1", "change 2"),
        ("UPDATE registrations SET state = '' WHERE row = 13", "change 8"),
        ("UPDATE registrations SET flags = 'dynamic' WHERE row = 5", "change 4"),
        ("UPDATE registrations SET entry = 99 WHERE row = 5", "change 4"),
        ("UPDATE registrations SET change = 3 WHERE row = 1", "rows are missing"),
        ("UPDATE registrations SET recorded_at = '2020-01-01' WHERE row = 1", "other times"),
        ("UPDATE registrations SET row = 99 WHERE row = 14", "numbers have gaps"),
        ("DELETE FROM registrations WHERE row = 14", "rows are missing"),
        ("DELETE FROM registrations WHERE row = 1", "rows are missing"),
        ("UPDATE changes SET actor = 'other' WHERE change = 5", "change 5"),
        ("UPDATE changes SET reason = 'other' WHERE change = 5", "change 5"),
        ("UPDATE changes SET effective = '2020-01-01' WHERE change = 5", "change 5"),
        ("UPDATE changes SET details = '{\"require\": {}}' WHERE change = 1", "change 1"),
        ("UPDATE changes SET action = 'approve' WHERE change = 8", "change 8"),
        ("UPDATE changes SET n_rows = 1 WHERE change = 8", "rows are missing"),
        ("UPDATE changes SET n_rows = -5 WHERE change = 1", "rows are missing"),
        ("UPDATE changes SET n_rows = 1000000000000000000 WHERE change = 1", "rows are missing"),
        ("UPDATE changes SET digest = 'x' WHERE change = 4", "change 4"),
        ("DELETE FROM changes WHERE change = 1", "changes are missing"),
        ("UPDATE changes SET change = 50 WHERE change = 8", "changes are missing"),
    ],
)
def test_what_was_changed_is_found_and_named(path, statement, said):
    tamper(path, statement)
    verified = verify(path)
    assert not verified.whole
    assert verified.digest == ""
    assert said in verified.findings[0].problem


def test_a_history_cut_short_is_found_by_the_digest_alone(path):
    digest = verify(path).digest
    tamper(
        path, "DELETE FROM registrations WHERE change = 8", "DELETE FROM changes WHERE change = 8"
    )
    assert verify(path).whole
    assert not verify(path, digest=digest).whole


def test_a_missing_trigger_is_found(path):
    connection = sqlite3.connect(path)
    connection.execute(TRIGGERS[0])
    connection.commit()
    connection.close()
    (finding,) = verify(path).findings
    assert "the trigger registrations_update" in finding.problem
    assert not verify(path).whole


def test_files_without_a_history_are_looked_through(tmp_path):
    path = tmp_path / "r.csv"
    header = (
        "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
    )
    path.write_text(f"{header}\nR-1,A,bank,9.9.9.9,server,any,any,2024-01-01,,active\nbad\n")
    verified = verify(path)
    assert verified.whole
    assert [(finding.kind, finding.line) for finding in verified.findings] == [("row", 3)]
    assert not verify(path, digest="x").whole
    with pytest.raises(RegistryError, match="no such file"):
        verify(tmp_path / "none.db")


def test_an_import_is_part_of_the_chain(path, tmp_path):
    source = tmp_path / "list.csv"
    Registry.open(path).save(source)
    into = tmp_path / "other.db"
    import_rows(source, into)
    assert verify(into).whole
    tamper(into, "UPDATE registrations SET prefix = '9.9.8.0/24' WHERE row = 3")
    assert "import by unnamed" in verify(into).findings[0].problem


def test_damaged_files_are_refused(path, tmp_path):
    content = path.read_bytes()
    for n, cut in enumerate((content[:100], content[: len(content) // 2], b"not a database" * 99)):
        broken = tmp_path / f"broken{n}.db"
        broken.write_bytes(cut)
        with pytest.raises(RegistryError) as caught:
            verify(broken)
        assert caught.value.remedy


@pytest.mark.parametrize("value", ["'x'", "NULL", "x'ff'", "1e30"])
@pytest.mark.parametrize("column", ["change", "n_rows"])
def test_numbers_that_are_none_are_refused(path, tmp_path, column, value):
    connection = sqlite3.connect(tmp_path / "n.db")
    names = ("change", "recorded_at", "effective", "action", "registration_id", "actor", "reason")
    columns = ", ".join((*names, "details", "n_rows", "digest"))
    connection.execute(f"CREATE TABLE changes ({columns})")
    values = dict.fromkeys(columns.split(", "), "'a'") | {"change": "1", "n_rows": "1"}
    values[column] = value
    connection.execute(f"INSERT INTO changes VALUES ({', '.join(values.values())})")
    fields = (
        "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
    )
    connection.execute(f"CREATE TABLE registrations ({fields}, change)")
    connection.commit()
    connection.close()
    with pytest.raises(RegistryError, match="is no number"):
        verify(tmp_path / "n.db")


@pytest.mark.parametrize("value", ["'x'", "x'ff'", "''"])
@pytest.mark.parametrize("column", ["recorded_at", "digest"])
def test_a_last_change_that_is_none_is_not_built_on_blindly(path, column, value):
    tamper(path, f"UPDATE changes SET {column} = {value} WHERE change = 8")
    if column == "digest":
        Window(path).revoke("R-000003", **SAID)
        with_error = [str(finding) for finding in _verified(path)]
        assert with_error
    else:
        with pytest.raises(RegistryError) as caught:
            Window(path).revoke("R-000003", **SAID)
        assert caught.value.remedy


def _verified(path):
    """Return the errors of a register; one that cannot be read at all is one too."""
    try:
        return [finding for finding in verify(path).findings if finding.severity == "error"]
    except RegistryError as error:
        return [error]

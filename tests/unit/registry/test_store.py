"""The register: saved, exported, merged, shown and counted."""

import csv
import sqlite3

import pytest

from classifier.errors import RegistryError
from classifier.registry import Registry, import_rows

HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
ROWS = [
    "R-1,Example House,software_house,203.0.113.64/28,server,any,any,2021-03-01,2027-02-28,active",
    'R-2,"A, ""B""",bank,2001:db8::/32,either,udp,51820,2021-03-01T09:30+05:00,,active',
    "R-3,Example House,bank,203.0.113.70,client,any,any,2022-01-01,9999-12-31,revoked",
    "R-3,Example House,bank,203.0.113.0/24,client,tcp,any,2030-01-01,,active",
]


@pytest.fixture
def register(tmp_path):
    def write(rows=ROWS, name="registered.csv"):
        path = tmp_path / name
        path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
        return path

    return write


def counts(imported):
    return imported.added, imported.changed, imported.unchanged


@pytest.mark.parametrize("suffix", [".csv", ".json", ".db"])
def test_a_register_comes_back_from_what_it_was_saved_as(register, tmp_path, suffix):
    registry = Registry.open(register())
    path = tmp_path / f"out{suffix}"
    for _ in range(2):  # the second time it replaces the first
        registry.export(path)
    again = Registry.open(path)
    assert again.rows.equals(registry.rows)
    assert again.compile().hash == registry.compile().hash
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize("suffix", [".csv", ".json", ".db"])
def test_an_empty_register_can_be_saved(register, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    Registry.open(register([])).save(path)
    assert len(Registry.open(path)) == 0


def test_saving_twice_gives_the_same_bytes(register, tmp_path):
    registry = Registry.open(register())
    for suffix in (".csv", ".json"):
        one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
        registry.save(one)
        Registry.open(one).save(two)
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("holder", ["=1+1", "+1", "-1", "@x", "'=1", "''@", "'plain", "a=b"])
def test_no_spreadsheet_runs_a_holder_and_none_is_changed(register, tmp_path, holder):
    source = register(
        [ROWS[0].replace("Example House", f"'{holder}" if holder[0] in "=+-@'" else holder)]
    )
    registry = Registry.open(source)
    path = tmp_path / "out.csv"
    registry.save(path)
    with path.open(newline="") as file:
        written = list(csv.reader(file))[1][1]
    assert written[0] not in "=+-@"
    assert Registry.open(path).rows.equals(registry.rows)


def test_saving_where_one_cannot_is_a_registry_error(register, tmp_path):
    registry = Registry.open(register())
    for name in ("none/out.csv", "none/out.db"):
        with pytest.raises(RegistryError):
            registry.save(tmp_path / name)
    with pytest.raises(RegistryError, match=r"out\.txt: is no register; save as"):
        registry.save(tmp_path / "out.txt")


def test_importing_twice_changes_nothing(register, tmp_path):
    path, into = register(), tmp_path / "r.db"
    assert counts(import_rows([path], into)) == (4, 0, 0)
    assert counts(import_rows([path, path], into)) == (0, 0, 8)
    assert counts(import_rows(str(path), into)) == (0, 0, 4)
    assert Registry.open(into).compile().hash == Registry.open(path).compile().hash


def test_equal_rows_in_one_source_are_rows_of_their_own_and_stay_so(register, tmp_path):
    path, into = register([ROWS[0], ROWS[0]]), tmp_path / "r.db"
    assert counts(import_rows([path], into)) == (2, 0, 0)
    assert counts(import_rows([path], into)) == (0, 0, 2)


def test_another_spelling_of_the_same_row_is_unchanged(register, tmp_path):
    into = tmp_path / "r.db"
    import_rows([register()], into)
    spelled = [
        ROWS[1]
        .replace("2001:db8::/32", "2001:0DB8::/32")
        .replace("udp", "17")
        .replace("T09:30+05:00", "T04:30Z")
    ]
    assert counts(import_rows([register(spelled, "b.csv")], into)) == (0, 0, 1)


def test_a_changed_row_is_a_new_version_and_the_old_one_is_still_known(register, tmp_path):
    into = tmp_path / "r.db"
    import_rows([register()], into, recorded_at="2021-04-01")
    revoked = [ROWS[0].replace("2027-02-28", "2024-05-01")]
    done = import_rows([register(revoked, "b.csv")], into, recorded_at="2024-05-01T12:00Z")
    assert counts(done) == (0, 1, 0)
    registry = Registry.open(into)
    assert len(registry) == 4
    assert registry.rows["registration_id"].to_pylist() == ["R-1", "R-2", "R-3", "R-3"]
    query = {"at": "2025-01-01", "side": "server"}
    assert registry.compile().lookup("203.0.113.70", **query) is None
    before = registry.compile(known_at="2024-05-01T11:59Z")
    assert before.lookup("203.0.113.70", **query).registration_id == "R-1"
    assert len(registry.compile(known_at="2021-03-31")) == 0
    assert len(registry.compile(known_at="2021-04-01")) == 4


def test_a_database_saved_keeps_its_versions(register, tmp_path):
    into, copy = tmp_path / "r.db", tmp_path / "copy.db"
    import_rows([register()], into, recorded_at="2021-04-01")
    import_rows([register([ROWS[0].replace("active", "revoked")])], into, recorded_at="2022-04-01")
    Registry.open(into).save(copy)
    for time in ("2021-05-01", "2023-05-01"):
        expected = Registry.open(into).compile(known_at=time)
        assert Registry.open(copy).compile(known_at=time).hash == expected.hash


def test_an_entry_recorded_later_does_not_disturb_the_order(register, tmp_path):
    into = tmp_path / "r.db"
    import_rows([register(ROWS[:2])], into, recorded_at="2021-04-01")
    import_rows([register([ROWS[0].replace("active", "revoked")])], into, recorded_at="2022-04-01")
    import_rows([register(ROWS[2:])], into, recorded_at="2023-04-01")
    registry = Registry.open(into)
    assert registry.rows["registration_id"].to_pylist() == ["R-1", "R-2", "R-3", "R-3"]
    assert registry.rows["status"].to_pylist() == ["revoked", "active", "revoked", "active"]
    assert registry.compile("2022-12-01").rows["registration_id"].to_pylist() == ["R-1", "R-2"]


def test_a_bad_source_writes_nothing(register, tmp_path):
    into = tmp_path / "r.db"
    bad = register([ROWS[0].replace("server", "both")], "bad.csv")
    with pytest.raises(RegistryError, match=r"bad\.csv:2"):
        import_rows([register(), bad], into)
    assert not into.exists()
    done = import_rows([register(), bad], into, skip_bad_rows=True)
    assert counts(done) == (4, 0, 0)
    assert [problem.path for problem in done.problems] == ["bad.csv"]


def test_an_import_that_fails_midway_leaves_the_database_as_it_was(register, tmp_path):
    into = tmp_path / "r.db"
    import_rows([register(ROWS[:1])], into)
    with sqlite3.connect(into) as connection:
        connection.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON registrations WHEN new.registration_id = 'R-3' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    connection.close()
    with pytest.raises(RegistryError, match=r"r\.db: the database says: no"):
        import_rows([register()], into)
    assert len(Registry.open(into)) == 1


def test_import_needs_a_database_and_a_time(register, tmp_path):
    with pytest.raises(RegistryError, match=r"out\.csv: is no database; import into a \.db"):
        import_rows([register()], tmp_path / "out.csv")
    with pytest.raises(RegistryError, match="recorded_at: 'now' is not a date"):
        import_rows([register()], tmp_path / "out.db", recorded_at="now")
    with pytest.raises(RegistryError, match="known_at: 'now' is not a date"):
        Registry.open(register()).compile(known_at="now")


def test_import_takes_an_sqlite_url(register, tmp_path):
    url = f"sqlite:///{tmp_path / 'r.db'}"
    assert counts(import_rows([register()], url)) == (4, 0, 0)
    assert counts(import_rows([url], tmp_path / "other.db")) == (4, 0, 0)


def test_a_file_name_is_no_part_of_the_address_of_a_database(register, tmp_path):
    into = tmp_path / "a?mode=ro#b%20c.db"
    import_rows([register()], into)
    assert len(Registry.open(into)) == 4
    assert into.exists()


def test_repr_names_file_size_and_problems(register):
    registry = Registry.open(register([*ROWS, "bad"]), skip_bad_rows=True)
    assert repr(registry) == "<Registry 'registered.csv': 4 registrations, 1 problems>"


def test_html_escapes_holders_and_shows_ten_rows(register):
    rows = [ROWS[0].replace("Example House", "<script>alert(1)</script>")] * 12
    page = Registry.open(register(rows))._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<tr>") == 11
    assert "2 more" in page


def test_stats_count_rows_and_addresses_once(register):
    stats = Registry.open(register()).stats()
    assert (stats.rows, stats.registrations, stats.organisations, stats.prefixes) == (4, 3, 2, 4)
    assert stats.by_category == {"bank": 3, "software_house": 1}
    assert stats.by_status["revoked"] == 1
    assert stats.by_side == {"client": 2, "server": 1, "either": 1}
    assert stats.by_family == {"ipv4": 3, "ipv6": 1}
    assert stats.ipv4_addresses == 256  # the /28 lies in the /24, the revoked row counts nothing
    assert (stats.ipv6_addresses, stats.ipv6_networks) == (2**96, 2**32)
    assert (stats.at_ns, stats.valid, stats.open_ended) == (None, 0, 2)


def test_stats_at_a_time_count_what_is_valid_then(register):
    registry = Registry.open(register())
    stats = registry.stats("2028-01-01")
    assert (stats.valid, stats.expired, stats.not_yet) == (1, 1, 1)
    assert stats.ipv4_addresses == 0
    assert registry.stats("2021-03-01T04:30Z").valid == 2
    assert registry.stats("2021-03-01T04:29Z").valid == 1
    with pytest.raises(RegistryError, match="at: 'soon' is not a date"):
        registry.stats("soon")


def test_stats_of_an_empty_register_are_zero(register):
    stats = Registry.open(register([])).stats("2024-01-01")
    assert (stats.rows, stats.prefixes, stats.ipv4_addresses, stats.by_category) == (0, 0, 0, {})

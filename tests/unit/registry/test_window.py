"""The one window: what each step does, refuses, and leaves on record."""

import contextlib
import datetime
import sqlite3

import pytest

from classifier.errors import RegistryError
from classifier.registry import RefusedError, Registry, Window, _database


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.set("2024-01-10")

    def set(self, text):
        self.time = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)

    def __call__(self):
        return self.time


SAID = {"by": "clerk", "reason": "form"}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def window(tmp_path, clock):
    made = Window(tmp_path / "r.db", clock=clock)
    made.init(by="board", reason="first", require={"bank": ["licence", "map"], "*": ["form"]})
    return made


def apply(window, **changes):
    said = {
        "organisation": "Example House",
        "category": "software_house",
        "prefixes": ["203.0.113.64/28"],
        "side": "server",
        "valid_to": "2026-01-01",
        "documents": "form",
    } | changes
    return window.add(**said, **SAID).registration_id


def active(window, **changes):
    name = apply(window, **changes)
    window.approve(name, **SAID)
    return name


def published(window, **query):
    keys = ("prefix", "valid_from", "valid_to", "status")
    rows = Registry.open(window._source).as_of(**query).rows.to_pylist()
    return [tuple(row[key] for key in keys) for row in rows]


def test_an_application_is_pending_and_matches_nothing(window):
    name = apply(window)
    assert name == "R-000001"
    assert published(window) == [("203.0.113.64/28", "2024-01-10", "2026-01-01", "pending")]
    table = Registry.open(window._source).compile()
    assert table.lookup("203.0.113.70", at="2024-02-01") is None


def test_an_approved_application_is_active_from_the_approval_at_most(window, clock):
    early, late = apply(window), apply(window, prefixes="2001:db8::/32", valid_from="2024-06-01")
    clock.set("2024-03-01T12:00:05.5")
    assert window.approve(early, **SAID).state == "active"
    window.approve(late, **SAID)
    assert [row[1] for row in published(window)] == ["2024-03-01T12:00:05Z", "2024-06-01"]


def test_the_past_of_a_revoked_registration_is_an_active_row_that_ends_then(window, clock):
    name = active(window)
    clock.set("2024-06-20")
    window.revoke(name, by="board", reason="fraud", on="2024-05-01")
    assert published(window) == [("203.0.113.64/28", "2024-01-10", "2024-05-01", "active")]
    registry = Registry.open(window._source)
    table = registry.compile()
    assert table.lookup("203.0.113.70", at="2024-04-30T23:59:59Z").registration_id == name
    assert table.lookup("203.0.113.70", at="2024-05-01") is None
    then = registry.compile(known_at="2024-06-19")
    assert then.lookup("203.0.113.70", at="2024-05-02").registration_id == name
    assert registry.why_closed(0) == "revoked on 2024-05-01 by board: fraud"


def test_a_revocation_that_is_yet_to_come_can_be_brought_forward_and_not_put_off(window):
    name = active(window)
    window.revoke(name, on="2025-06-01", **SAID)
    said = f"{name}: will be revoked on 2025-06-01, and only what is active or expired can be ren"
    with pytest.raises(RefusedError, match=said):
        window.renew(name, "2030-01-01", on="2024-05-01", **SAID)
    window.revoke(name, on="2024-05-01", by="board", reason="fraud")
    for later in ("2024-05-01", "2025-06-01"):
        with pytest.raises(RefusedError, match=f"{name}: is revoked on {later}, and only"):
            window.revoke(name, on=later, **SAID)
    assert published(window) == [("203.0.113.64/28", "2024-01-10", "2024-05-01", "active")]
    assert Registry.open(window._source).why_closed(0) == "revoked on 2024-05-01 by board: fraud"


def test_what_never_began_becomes_revoked_as_a_whole(window):
    name = active(window, valid_from="2025-01-01")
    window.revoke(name, on="2024-12-01", **SAID)
    assert published(window) == [("203.0.113.64/28", "2025-01-01", "2026-01-01", "revoked")]


def test_a_revocation_cuts_what_an_amendment_had_ended_later(window):
    name = active(window)
    window.amend(name, on="2024-06-01", side="client", **SAID)
    window.revoke(name, on="2024-04-01", **SAID)
    assert published(window) == [
        ("203.0.113.64/28", "2024-01-10", "2024-04-01", "active"),
        ("203.0.113.64/28", "2024-06-01", "2026-01-01", "revoked"),
    ]


def test_renewal_in_time_leaves_no_gap_and_a_late_one_does(window, clock):
    name = active(window)
    window.renew(name, "2027-01-01", **SAID)
    assert published(window) == [("203.0.113.64/28", "2024-01-10", "2027-01-01", "active")]
    clock.set("2027-03-01")
    assert window.show(name).state == "expired"
    window.renew(name, "2028-01-01", **SAID)
    assert published(window) == [
        ("203.0.113.64/28", "2024-01-10", "2027-01-01", "active"),
        ("203.0.113.64/28", "2027-03-01", "2028-01-01", "active"),
    ]
    window.renew(name, "2029-01-01", **SAID)
    assert [row[2] for row in published(window)] == ["2027-01-01", "2029-01-01"]


def test_an_amendment_ends_rows_and_begins_others(window):
    name = active(window, prefixes=["203.0.113.64/28", "2001:db8::/32"])
    window.amend(
        name,
        on="2024-07-01",
        remove_prefixes="203.0.113.64/28",
        add_prefixes="198.51.100.7",
        **SAID,
    )
    assert published(window, valid_at="2024-06-30") == [
        ("203.0.113.64/28", "2024-01-10", "2024-07-01", "active"),
        ("2001:db8::/32", "2024-01-10", "2026-01-01", "active"),
    ]
    assert published(window, valid_at="2024-07-01") == [
        ("2001:db8::/32", "2024-01-10", "2026-01-01", "active"),
        ("198.51.100.7", "2024-07-01", "2026-01-01", "active"),
    ]


def test_contact_and_flags_change_without_a_new_row(window):
    name = active(window)
    window.amend(name, contact="desk 3", flags=["dynamic", "cgnat"], **SAID)
    assert len(published(window)) == 1
    shown = window.show(name)
    assert (shown.contact, shown.flags, shown.documents) == ("desk 3", "dynamic cgnat", "form")


def test_an_application_is_amended_in_place(window):
    name = apply(window)
    window.amend(name, valid_to="2025-01-01", side="either", add_prefixes="2001:db8::/32", **SAID)
    assert published(window) == [
        ("203.0.113.64/28", "2024-01-10", "2025-01-01", "pending"),
        ("2001:db8::/32", "2024-01-10", "2025-01-01", "pending"),
    ]


def test_approval_asks_for_the_documents_of_the_category(window):
    name = apply(window, category="bank")
    with pytest.raises(RefusedError, match="lacks the documents licence, map; hand them in"):
        window.approve(name, **SAID)
    window.amend(name, documents=["map", "licence"], **SAID)
    assert window.approve(name, **SAID).state == "active"


def revoked(window):
    name = active(window)
    window.revoke(name, on="2024-05-01", **SAID)
    return name


def rejected(window):
    name = apply(window)
    window.reject(name, **SAID)
    return name


def expired(window):
    return active(window, valid_to="2024-02-01")


STEPS = {
    "approve": lambda w, n: w.approve(n, on="2024-06-01", **SAID),
    "reject": lambda w, n: w.reject(n, on="2024-06-01", **SAID),
    "renew": lambda w, n: w.renew(n, "2030-01-01", on="2024-06-01", **SAID),
    "amend": lambda w, n: w.amend(n, contact="x", on="2024-06-01", **SAID),
    "revoke": lambda w, n: w.revoke(n, on="2024-06-01", **SAID),
}
ALLOWED = {
    apply: {"approve", "reject", "amend"},
    active: {"renew", "amend", "revoke"},
    expired: {"renew"},
    revoked: set(),
    rejected: set(),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", ALLOWED, ids=lambda state: state.__name__)
def test_each_state_allows_its_steps_and_refuses_the_others_with_a_remedy(window, state, step):
    name = state(window)
    before = published(window)
    if step in ALLOWED[state]:
        STEPS[step](window, name)
        return
    with pytest.raises(RefusedError, match=rf"^{name}: is \w+ on 2024-06-01.*; ") as caught:
        STEPS[step](window, name)
    assert caught.value.remedy
    assert published(window) == before


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda w, n: w.renew(n, "2025-01-01", **SAID), "is valid until 2026-01-01 already"),
        (lambda w, n: w.renew(n, "2023-01-01", **SAID), "would end on 2023-01-01"),
        (lambda w, n: w.amend(n, side="server", **SAID), "says all of that already"),
        (lambda w, n: w.amend(n, remove_prefixes="10.0.0.1", **SAID), "does not have 10.0.0.1"),
        (lambda w, n: w.amend(n, add_prefixes="203.0.113.64/28", **SAID), "has 203.0.113.64/28"),
        (lambda w, n: w.amend(n, remove_prefixes="203.0.113.64/28", **SAID), "no prefix left"),
        (lambda w, n: w.amend(n, valid_to="2029-01-01", **SAID), "its validity is not amended"),
        (lambda w, n: w.amend(n, side="both", **SAID), "'both' is not a side"),
        (lambda w, n: w.amend(n, flags="static", **SAID), "'static' is not a flag"),
        (lambda w, n: w.amend(n, colour="red", **SAID), "colour is no field"),
        (lambda w, n: w.amend(n, contact="a\x1bb", **SAID), "control character"),
        (lambda w, n: w.amend(n, contact="x" * 5000, **SAID), "contact has 5,000 bytes"),
        (lambda w, n: w.amend(n, contact=7, **SAID), "is not a text"),
        (lambda w, n: w.approve("R-9", **SAID), "no registration has this identifier"),
        (lambda w, n: w.approve(9, **SAID), "9 is no identifier"),
        (lambda w, n: w.revoke(n, by="", reason="x"), "does not say who"),
        (lambda w, n: w.revoke(n, by="x", reason=" "), "there is no reason"),
        (lambda w, n: w.revoke(n, by="x\n", reason="x"), "does not say who"),
        (lambda w, n: w.revoke(n, by=3, reason="x"), "is not a text"),
        (lambda w, n: w.revoke(n, on="soon", **SAID), "'soon' is not a date"),
        (lambda w, n: w.revoke(n, on=[], **SAID), r"\[\] is not a time"),
        (lambda w, n: apply(w, registration_id=n), "is there already, active"),
        (lambda w, n: apply(w, prefixes=[]), "no prefix is given"),
        (lambda w, n: apply(w, prefixes=["10.0.0.1", "10.0.0.1"]), "names a prefix twice"),
        (lambda w, n: apply(w, prefixes="10.0.0.0/33"), "is not a prefix"),
        (lambda w, n: apply(w, documents=["a b"]), "is no name of a document"),
        (lambda w, n: apply(w, valid_to="2020-01-01"), "is not after valid_from"),
        (lambda w, n: w.init(**SAID), "is a register already"),
    ],
)
def test_what_makes_no_sense_is_refused_and_writes_nothing(window, step, said):
    name = active(window)
    before = Registry.open(window._source).history()
    with pytest.raises(RegistryError, match=said) as caught:
        step(window, name)
    assert caught.value.remedy
    assert Registry.open(window._source).history().equals(before)


def test_history_says_who_when_why_and_what(window, clock):
    name = active(window)
    clock.set("2024-08-01")
    window.amend(name, by="board", reason="moved", side="client", on="2024-07-01")
    history = Registry.open(window._source).history(name)
    assert list(history["action"]) == ["add", "approve", "amend"]
    last = history.iloc[-1]
    assert (last["by"], last["reason"], last["effective"]) == ("board", "moved", "2024-07-01")
    assert last["recorded_at"].startswith("2024-08-01")
    assert "valid_to 2026-01-01 -> 2024-07-01" in last["what"]
    assert "(client, any, any) active from 2024-07-01" in last["what"]
    assert Registry.open(window._source).history()["action"].iloc[0] == "init"
    with pytest.raises(RegistryError, match="no registration has this identifier"):
        Registry.open(window._source).history("R-9")


def test_a_clock_that_was_set_back_does_not_change_what_was_known(window, clock):
    name = active(window)
    known = Registry.open(window._source).compile(known_at="2024-01-10").hash
    clock.set("2023-01-01")
    change = window.revoke(name, on="2024-05-01", **SAID)
    assert change.recorded_at.startswith("2024-01-10")
    assert Registry.open(window._source).compile(known_at="2024-01-09").hash != known


def test_the_same_steps_by_the_same_clock_give_the_same_digest(tmp_path):
    digests = []
    for name in ("one.db", "two.db"):
        window = Window(tmp_path / name, clock=Clock())
        window.init(by="board", reason="first")
        window.approve(apply(window), **SAID)
        digests.append(Registry.open(tmp_path / name)._changes.column("digest").to_pylist())
    assert digests[0] == digests[1]


@pytest.mark.parametrize("table", ["registrations", "changes"])
def test_sqlite_refuses_to_change_what_was_written(window, table):
    active(window)
    with sqlite3.connect(window._source) as connection:
        for text in (f"DELETE FROM {table}", f"UPDATE {table} SET change = 9"):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                connection.execute(text)
    connection.close()


def test_a_table_of_ones_own_is_read_but_not_written(tmp_path):
    path = tmp_path / "own.db"
    names = (
        "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
    )
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE registrations ({names})")
    connection.close()
    assert len(Registry.open(path)) == 0
    with pytest.raises(RegistryError, match="cannot be written to; import it into another one"):
        apply(Window(path))
    with pytest.raises(RegistryError, match="has no history"):
        Registry.open(path).history()


def test_a_window_needs_a_database(tmp_path):
    with pytest.raises(RegistryError, match=r"r\.csv: is no database"):
        Window(tmp_path / "r.csv")
    with pytest.raises(
        RegistryError, match="unable to open database file; its folder must be there"
    ):
        Window(tmp_path / "none" / "r.db").init(**SAID)


def test_identifiers_go_on_after_those_there_are(window):
    apply(window, registration_id="R-000041")
    apply(window, registration_id="R-x", prefixes="10.0.0.1")
    assert apply(window, prefixes="10.0.0.2") == "R-000042"
    for name in ("R-7", "R-0000050", "S-9999999", "Q-999999999", "r-99", "R-"):
        apply(window, registration_id=name, prefixes="10.0.0.3")
    assert apply(window, prefixes="10.0.0.4") == "R-000051"
    apply(window, registration_id="R-1000000", prefixes="10.0.0.5")
    apply(window, registration_id="R-2000000x", prefixes="10.0.0.6")
    assert apply(window, prefixes="10.0.0.7") == "R-1000001"


def test_the_next_identifier_is_found_without_reading_all_of_them(window):
    apply(window)
    with contextlib.closing(sqlite3.connect(window._source)) as connection:
        query = "EXPLAIN QUERY PLAN " + _database.LAST_OF_EACH_LENGTH
        steps = [row[3] for row in connection.execute(query, ("R-0", "R-:"))]
    assert [step for step in steps if "registrations" in step]
    assert not [s for s in steps if s.startswith("SCAN registrations") and "INDEX" not in s]
    assert all("registrations_length" in s for s in steps if "registrations" in s)


def test_a_database_without_the_index_of_lengths_gets_it_at_the_next_step(window):
    apply(window)
    with contextlib.closing(sqlite3.connect(window._source)) as connection:
        connection.execute("DROP INDEX registrations_length")
    assert apply(window, prefixes="10.0.0.2") == "R-000002"
    with contextlib.closing(sqlite3.connect(window._source)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()
    assert ("registrations_length",) in found

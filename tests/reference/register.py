"""A register replayed slowly: its rows read one by one, and the window as sets of days."""

import datetime
import sqlite3

__all__ = ["Days", "replay"]


def _time(text):
    """Return a date or time as a datetime in UTC; empty is the end of time."""
    if not text:
        return datetime.datetime.max.replace(tzinfo=datetime.UTC)
    time = datetime.datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)


def replay(path, valid_at=None, known_at=None):
    """Return rows (registration_id, prefix, side, valid_from, valid_to, status), by entry."""
    connection = sqlite3.connect(path)
    query = (
        "SELECT entry, recorded_at, registration_id, prefix, side, valid_from, valid_to, status "
        "FROM registrations ORDER BY row"
    )
    state = {}
    for entry, recorded, *row in connection.execute(query):
        if known_at is None or _time(recorded) <= _time(known_at):
            state[entry] = tuple(row)
    connection.close()
    if valid_at is None:
        return sorted(state.values())
    at = _time(valid_at)
    return sorted(
        row for row in state.values() if row[5] == "active" and _time(row[3]) <= at < _time(row[4])
    )


class Days:
    """One registration: its state, and on which days each of its prefixes is permitted."""

    def __init__(self, prefixes, first, end):
        self.state = "pending"
        self.first = first
        self.end = end
        self.days = {prefix: set() for prefix in prefixes}
        self.held = set(prefixes)

    def state_on(self, day):
        if self.state == "active" and self.end <= day:
            return "expired"
        return self.state

    def approve(self, on):
        if self.state_on(on) != "pending" or self.end <= on:
            return False
        self.state = "active"
        self.first = max(self.first, on)
        for prefix in self.held:
            self.days[prefix] = set(range(self.first, self.end))
        return True

    def reject(self, on):
        if self.state_on(on) != "pending":
            return False
        self.state = "rejected"
        return True

    def renew(self, on, until):
        state = self.state_on(on)
        if state not in ("active", "expired") or until <= on:
            return False
        if state == "active" and until <= self.end:
            return False
        begin = self.end if state == "active" else on
        self.first = self.first if state == "active" else on
        for prefix in self.held:
            self.days[prefix] |= set(range(begin, until))
        self.end = until
        return True

    def amend(self, on, add, remove):
        state = self.state_on(on)
        if state not in ("active", "pending") or not (add or remove):
            return False
        if add & self.held or remove - self.held or not (self.held - remove) | add:
            return False
        self.held = (self.held - remove) | add
        if state == "pending":
            return True
        first = max(on, self.first)
        for prefix in remove:
            self.days[prefix] = {day for day in self.days[prefix] if day < on}
        for prefix in add:
            self.days[prefix] = self.days.get(prefix, set()) | set(range(first, self.end))
        return True

    def revoke(self, on):
        left = any(day >= on for days in self.days.values() for day in days)
        if self.state_on(on) != "active" and not (self.state == "revoked" and left):
            return False
        self.state = "revoked"
        for prefix in self.days:
            self.days[prefix] = {day for day in self.days[prefix] if day < on}
        return True

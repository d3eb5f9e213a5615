"""The one window: applications, decisions and changes, each recorded in a database with its reason."""

import datetime
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from classifier.errors import RegistryError
from classifier.registry import _database, _machine
from classifier.registry._asking import (
    Time,
    amendment_of,
    checked_rows,
    line_of_text,
    next_id,
    required_documents,
    time_field,
    words,
)
from classifier.registry._database import Entry
from classifier.registry._fields import (
    COLUMN_NAMES,
    DETAIL_NAMES,
    OPEN_END,
    parse_time,
    time_text,
)
from classifier.registry._machine import Amendment, RefusedError, Row
from classifier.registry._parse import parse
from classifier.registry._reading import read_database
from classifier.registry.store import time_ns

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Amendment", "Change", "RefusedError", "Registration", "Window"]

_TEXT_COLUMNS = (*COLUMN_NAMES, *DETAIL_NAMES)
_Clock = Callable[[], datetime.datetime]


@dataclass(frozen=True, slots=True)
class Registration:
    """One registration as it stands.

    Attributes
    ----------
    registration_id, organisation, category, contact, purpose, flags, documents : str
        Of its first row that is open; flags and documents with spaces between.
    state : str
        ``pending``, ``active``, ``expired``, ``rejected`` or ``revoked``.
    rows : pyarrow.Table
        All its rows with the columns of a register, those behind the state too.
    """

    registration_id: str
    organisation: str
    category: str
    contact: str
    purpose: str
    flags: str
    documents: str
    state: str
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Change:
    """What a step has recorded.

    Attributes
    ----------
    number : int
        Of the change, from 1.
    registration_id : str
        Empty where it concerns the whole register.
    action : str
        The step: ``init``, ``add``, ``approve`` ...
    state : str
        Of the registration, after it.
    recorded_at, effective : str
        When it was written down, and from when it counts.
    """

    number: int
    registration_id: str
    action: str
    state: str
    recorded_at: str
    effective: str


class Window:
    """The window of a register in a database: one step, one transaction, one recorded change.

    Every step takes ``by`` (who), ``reason`` (why) and ``on`` (from when it counts; default: the time
    of recording). A step that the state of a registration does not allow raises `RefusedError`
    and writes nothing.

    Parameters
    ----------
    into : str or path
        A ``.db`` file or an SQLAlchemy URL. `init` makes it.
    clock : callable, optional
        Gives the time of recording as a datetime; default: the computer's clock. Where it lies before
        the last change (a clock that was set back), the time of that change is recorded.

    Examples
    --------
    >>> import datetime, pathlib, tempfile
    >>> from classifier.registry import Registry, Window
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "register.db"
    >>> window = Window(path, clock=lambda: datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC))
    >>> change = window.init(by="board", reason="first register")
    >>> change = window.add(
    ...     "Example House",
    ...     "software_house",
    ...     ["203.0.113.64/28"],
    ...     side="server",
    ...     valid_to="2027-03-01",
    ...     by="clerk",
    ...     reason="form 17",
    ... )
    >>> window.approve(change.registration_id, by="board", reason="meeting 4").state
    'active'
    >>> Registry.open(path).compile().lookup("203.0.113.70", at="2025-01-01").organisation
    'Example House'
    >>> folder.cleanup()
    """

    def __init__(self, into: str | os.PathLike[str], *, clock: _Clock | None = None) -> None:
        self._source = os.fspath(into)
        if not _database.is_url(self._source) and Path(self._source).suffix.lower() != ".db":
            remedy = "give a .db file or an SQLAlchemy URL"
            raise RegistryError("is no database", path=Path(self._source).name, remedy=remedy)
        self.name = _database.name_of(self._source)
        self._clock = clock

    def init(
        self,
        *,
        by: str,
        reason: str,
        require: Mapping[str, Iterable[str]] | None = None,
        on: Time | None = None,
    ) -> Change:
        """Make an empty register.

        Parameters
        ----------
        by, reason : str
        require : mapping of str to iterable of str, optional
            Documents that an application must have handed in before it can be approved, by
            category; those under ``"*"`` are asked of all.
        on : str, int or datetime, optional

        Raises
        ------
        RegistryError
            If there is a register already, or it cannot be made.
        """
        wanted = {key: sorted(words("document", names)) for key, names in (require or {}).items()}
        details = json.dumps({"require": wanted} if wanted else {}, sort_keys=True)

        def work(connection: "Connection") -> Change:
            if _database.last_change(connection)[0]:
                raise RefusedError(
                    "is a register already", path=self.name, remedy="use it, or name another file"
                )
            return self._record(connection, "init", "", [], by, reason, on, details)

        return _database.write(self._source, work)

    def add(
        self,
        organisation: str,
        category: str,
        prefixes: str | Iterable[str],
        *,
        by: str,
        reason: str,
        registration_id: str | None = None,
        side: str = "either",
        proto: str | int = "any",
        port: str | int = "any",
        valid_from: Time | None = None,
        valid_to: Time | None = None,
        contact: str = "",
        purpose: str = "",
        flags: str | Iterable[str] = (),
        documents: str | Iterable[str] = (),
        on: Time | None = None,
    ) -> Change:
        """Apply for a registration; it is pending until `approve` or `reject`.

        Parameters
        ----------
        organisation, category : str
            The holder. A category is any word: ``software_house``, ``call_centre``, ``freelancer``,
            ``foreign_mission``, ``bank`` ...
        prefixes : str or iterable of str
            Addresses or CIDR prefixes, IPv4 and IPv6.
        by, reason : str
        registration_id : str, optional
            Default: the next free ``R-000001``.
        side, proto, port : str
            As in a register.
        valid_from, valid_to : str, int or datetime, optional
            Default: from the date of the application, without an end.
        contact, purpose : str
            A reference to whom to ask, and what the VPN is for.
        flags : str or iterable of str
            Of ``dynamic``, ``cgnat``, ``shared_egress``.
        documents : str or iterable of str
            Names of documents that came with it.
        on : str, int or datetime, optional

        Raises
        ------
        RefusedError
            If the identifier is taken.
        RegistryError
            If a field cannot be read.
        """
        prefixes = [prefixes] if isinstance(prefixes, str) else list(prefixes)
        if not prefixes:
            raise RegistryError(
                "no prefix is given", path=registration_id or "add", remedy="name one or more"
            )

        def work(connection: "Connection") -> Change:
            name = registration_id or next_id(connection)
            there = self._rows(connection, name)
            on_ns = self._on(on)
            if there:
                state = _machine.state_of(there, on_ns)
                remedy = "amend or renew it, or apply under another identifier"
                raise RefusedError(f"is there already, {state}", path=name, remedy=remedy)
            rows = [
                Row(
                    _machine._NEW,
                    name,
                    organisation,
                    category,
                    prefix,
                    side,
                    str(proto),
                    str(port),
                    time_field("valid_from", valid_from, on_ns),
                    time_field("valid_to", valid_to, OPEN_END),
                    "pending",
                    contact,
                    purpose,
                    " ".join(words("flag", flags)),
                    " ".join(words("document", documents)),
                )
                for prefix in prefixes
            ]
            seen = {row.prefix for row in rows}
            if len(seen) < len(rows):
                raise RefusedError("names a prefix twice", path=name, remedy="name each once")
            return self._record(connection, "add", name, rows, by, reason, on)

        return _database.write(self._source, work)

    def approve(
        self, registration_id: str, *, by: str, reason: str, on: Time | None = None
    ) -> Change:
        """Approve an application: it is active from ``on``, or from when it asks to be if later.

        Parameters
        ----------
        registration_id : str
        by, reason : str
        on : str, int or datetime, optional

        Raises
        ------
        RefusedError
            If it is not pending, its validity is over, or documents are missing that its category
            must hand in.
        """

        def step(rows: list[Row], on_ns: int, connection: "Connection") -> list[Row]:
            required = required_documents(connection, rows)
            return _machine.approved(rows, on_ns, required)

        return self._step("approve", registration_id, step, by, reason, on)

    def reject(
        self, registration_id: str, *, by: str, reason: str, on: Time | None = None
    ) -> Change:
        """Reject an application.

        Parameters
        ----------
        registration_id : str
        by, reason : str
        on : str, int or datetime, optional

        Raises
        ------
        RefusedError
            If it is not pending.
        """

        def step(rows: list[Row], on_ns: int, _: "Connection") -> list[Row]:
            return _machine.rejected(rows, on_ns)

        return self._step("reject", registration_id, step, by, reason, on)

    def renew(
        self,
        registration_id: str,
        until: Time,
        *,
        by: str,
        reason: str,
        on: Time | None = None,
    ) -> Change:
        """Let a registration go on; one that has expired begins again, with the gap it had.

        Parameters
        ----------
        registration_id : str
        until : str, int or datetime
            First moment that is no longer valid.
        by, reason : str
        on : str, int or datetime, optional

        Raises
        ------
        RefusedError
            If it is neither active nor expired, or is valid as long already.
        """
        until_ns = time_ns(until, "until")

        def step(rows: list[Row], on_ns: int, _: "Connection") -> list[Row]:
            return _machine.renewed(rows, on_ns, until_ns)

        return self._step("renew", registration_id, step, by, reason, on)

    def amend(
        self,
        registration_id: str,
        *,
        by: str,
        reason: str,
        on: Time | None = None,
        **changes: Any,
    ) -> Change:
        """Change what a registration or an application says, from ``on``.

        Parameters
        ----------
        registration_id : str
        by, reason : str
        on : str, int or datetime, optional
        **changes
            Fields of `Amendment`: ``organisation``, ``category``, ``side``, ``proto``, ``port``,
            ``contact``, ``purpose``, ``flags``, ``documents`` (further ones), ``add_prefixes``,
            ``remove_prefixes``; of an application also ``valid_from`` and ``valid_to``.

        Raises
        ------
        RefusedError
            If it is neither active nor pending, or nothing would change.
        RegistryError
            If a field cannot be read.
        """
        amendment = amendment_of(changes)

        def step(rows: list[Row], on_ns: int, _: "Connection") -> list[Row]:
            return _machine.amended(rows, on_ns, amendment)

        return self._step("amend", registration_id, step, by, reason, on)

    def revoke(
        self, registration_id: str, *, by: str, reason: str, on: Time | None = None
    ) -> Change:
        """Revoke a registration from ``on``; until then it stays valid.

        Parameters
        ----------
        registration_id : str
        by, reason : str
        on : str, int or datetime, optional

        Raises
        ------
        RefusedError
            If it is not active then.
        """

        def step(rows: list[Row], on_ns: int, _: "Connection") -> list[Row]:
            return _machine.revoked(rows, on_ns)

        return self._step("revoke", registration_id, step, by, reason, on)

    def show(self, registration_id: str, *, on: Time | None = None) -> Registration:
        """Return a registration as it stands.

        Parameters
        ----------
        registration_id : str
        on : str, int or datetime, optional
            Date for which its state is asked; default: now.

        Raises
        ------
        RegistryError
            If there is none of this name.
        """
        with _database.connected(self._source) as connection:
            rows = self._must_be_there(connection, registration_id)
        row = next((row for row in rows if row.open), rows[-1])
        texts = list(zip(*(one.texts() for one in rows), strict=True))
        table = pa.table([list(column) for column in texts], names=list(_TEXT_COLUMNS))
        facts = (row.organisation, row.category, row.contact, row.purpose, row.flags, row.documents)
        state = _machine.state_of(rows, self._on(on))
        return Registration(registration_id, *facts, state, table)

    def _step(
        self,
        action: str,
        registration_id: str,
        step: "Callable[[list[Row], int, Connection], list[Row]]",
        by: str,
        reason: str,
        on: Time | None,
    ) -> Change:
        def work(connection: "Connection") -> Change:
            rows = self._must_be_there(connection, registration_id)
            made = step(rows, self._on(on), connection)
            return self._record(
                connection, action, registration_id, made, by, reason, on, rows=rows
            )

        return _database.write(self._source, work)

    def _must_be_there(self, connection: "Connection", registration_id: str) -> list[Row]:
        rows = self._rows(connection, registration_id)
        if not rows:
            raise RefusedError(
                "no registration has this identifier",
                path=str(registration_id),
                remedy=f"look for it with `registry export {self.name}`, or `registry add` it",
            )
        return rows

    def _rows(self, connection: "Connection", registration_id: object) -> list[Row]:
        """Return the newest version of each row of a registration, in order of the first ones."""
        if not isinstance(registration_id, str) or not registration_id:
            raise RegistryError(
                f"{registration_id!r} is no identifier", path=self.name, remedy="give a text"
            )
        stored = read_database(self._source, connection, registration_id=registration_id)
        found = parse(stored.raw, skip_bad_rows=False)
        texts = pa.Table.from_arrays(
            [*found.text.columns, *found.details.columns], names=list(_TEXT_COLUMNS)
        ).to_pylist()
        newest = dict(zip(found.rows["entry"].tolist(), texts, strict=True))
        return [Row(entry=entry, **text) for entry, text in newest.items()]

    def _now(self) -> str | None:
        """Return the clock's time as it is recorded; None for the computer's."""
        if self._clock is None:
            return None
        time = self._clock()
        if time.tzinfo is None:
            time = time.replace(tzinfo=datetime.UTC)
        return time.astimezone(datetime.UTC).isoformat(timespec="microseconds")

    def _on(self, on: Time | None) -> int:
        if on is not None:
            return time_ns(on, "on")
        second = 10**9
        return parse_time(self._now() or _database.now()) // second * second

    def _record(
        self,
        connection: "Connection",
        action: str,
        registration_id: str,
        made: Sequence[Row],
        by: str,
        reason: str,
        on: Time | None,
        details: str = "{}",
        rows: Sequence[Row] = (),
    ) -> Change:
        on_ns = self._on(on)
        effective = time_text(on_ns)
        entry = Entry(
            action,
            registration_id,
            effective,
            line_of_text("by", by),
            line_of_text("reason", reason),
            details,
        )
        checked = checked_rows(registration_id or self.name, made)
        texts = pa.Table.from_arrays(
            [*checked.text.columns, *checked.details.columns], names=list(_TEXT_COLUMNS)
        )
        entries = np.array([row.entry for row in made], np.int64)
        clock = self._now()
        if clock is not None:
            clock = max(clock, _database.last_change(connection)[1])
        number, recorded = _database.append(connection, entry, texts, entries, clock, self.name)
        after = {row.entry: row for row in rows} | {
            row.entry if row.entry >= 0 else -1 - k: row for k, row in enumerate(made)
        }
        state = _machine.state_of(after.values(), on_ns) if after else ""
        return Change(number, registration_id, action, state, recorded, effective)

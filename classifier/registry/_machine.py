"""The one window as a state machine: the rows of one registration, a step -> the rows it makes.

How this works: a registration is the newest version of each of its rows. Its state follows from
them and from a date; steps are pure functions that return new versions, or raise `RefusedError` with
what to do instead. ::

    add -> pending -- approve -> active -- (time) -> expired
              |                    |  ^                 |
            reject               revoke +---- renew ----+
              v                    v
           rejected             revoked

``amend`` stays in the state. Rows are published as they are, so the past of a row that is revoked,
or that an amendment replaces, is an active row that ends then. Such a row is *closed*: it keeps
its version and says why in ``state``; a later revocation that reaches further back still cuts it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from classifier.errors import RegistryError
from classifier.registry._fields import (
    COLUMN_NAMES,
    DETAIL_NAMES,
    OPEN_END,
    BadField,
    Prefix,
    parse_prefix,
    parse_time,
    time_text,
)

__all__ = [
    "STATES",
    "Amendment",
    "RefusedError",
    "Row",
    "amended",
    "approved",
    "rejected",
    "renewed",
    "revoked",
    "state_of",
]

#: Where a registration can be.
STATES = ("pending", "active", "expired", "rejected", "revoked")

_NEW = -1
_INSTEAD = {
    "pending": "approve or reject it first",
    "active": "renew, amend or revoke it",
    "expired": "renew it",
    "rejected": "apply again with `registry add`",
    "revoked": "apply again with `registry add`",
}


class RefusedError(RegistryError):
    """The window refuses a step."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a registration, as text. ``entry`` is -1 while it has no number."""

    entry: int
    registration_id: str
    organisation: str
    category: str
    prefix: str
    side: str
    proto: str
    port: str
    valid_from: str
    valid_to: str
    status: str
    contact: str = ""
    purpose: str = ""
    flags: str = ""
    documents: str = ""
    state: str = ""

    @property
    def from_ns(self) -> int:
        """First valid, UTC nanoseconds since 1970."""
        return parse_time(self.valid_from)

    @property
    def to_ns(self) -> int:
        """First invalid."""
        return parse_time(self.valid_to) if self.valid_to.strip() else OPEN_END

    @property
    def open(self) -> bool:
        """No step has closed it."""
        return not self.state

    def texts(self) -> tuple[str, ...]:
        """Return the fields in the order of a database."""
        return tuple(getattr(self, name) for name in (*COLUMN_NAMES, *DETAIL_NAMES))


def state_of(rows: Iterable[Row], on_ns: int) -> str:
    """Return the state of a registration at a date; ``active`` also where it is yet to begin."""
    rows = list(rows)
    statuses = {row.status for row in rows if row.open}
    if "pending" in statuses:
        return "pending"
    if "active" in statuses:
        going_on = any(r.open and r.status == "active" and r.to_ns > on_ns for r in rows)
        return "active" if going_on else "expired"
    if any(row.state == "revoked" for row in rows) or "revoked" in statuses:
        return "revoked"
    return "rejected" if "rejected" in statuses else "expired"


def _refuse(rows: Sequence[Row], problem: str, remedy: str) -> RefusedError:
    return RefusedError(problem, path=rows[0].registration_id, remedy=remedy)


def _must_be(rows: Sequence[Row], step: str, on_ns: int, *states: str) -> str:
    state = state_of(rows, on_ns)
    if state not in states:
        wanted = " or ".join(states)
        is_so = f"is {state} on {time_text(on_ns)}"
        if state == "revoked" and any(_holds(row, on_ns) for row in rows):
            end = max(row.to_ns for row in rows if row.status == "active")
            is_so = f"will be revoked on {time_text(end)}"
        problem = f"{is_so}, and only what is {wanted} can be {step}"
        raise _refuse(rows, problem, _INSTEAD[state])
    return state


def approved(rows: Sequence[Row], on_ns: int, required: Iterable[str] = ()) -> list[Row]:
    """Return the rows of an application that is approved; they are valid from that date at most.

    ``required`` are the documents that its category must have handed in.
    """
    _must_be(rows, "approved", on_ns, "pending")
    pending = [row for row in rows if row.open and row.status == "pending"]
    handed_in = {word for row in pending for word in row.documents.split()}
    missing = sorted(set(required) - handed_in)
    if missing:
        raise _refuse(
            rows,
            f"lacks the documents {', '.join(missing)}",
            f"hand them in with `registry amend --document {missing[0]}`, or reject it",
        )
    made = []
    for row in pending:
        if row.to_ns <= on_ns:
            problem = f"asks for validity until {row.valid_to}, which is over on {time_text(on_ns)}"
            raise _refuse(rows, problem, "amend valid_to first, or reject it")
        begins = row.valid_from if row.from_ns >= on_ns else time_text(on_ns)
        made.append(replace(row, status="active", valid_from=begins))
    return made


def rejected(rows: Sequence[Row], on_ns: int) -> list[Row]:
    """Return the rows of an application that is rejected."""
    _must_be(rows, "rejected", on_ns, "pending")
    return [replace(r, status="rejected") for r in rows if r.open and r.status == "pending"]


def renewed(rows: Sequence[Row], on_ns: int, until_ns: int) -> list[Row]:
    """Return the rows of a registration that goes on until a later date.

    What is in force goes on without a gap. What has lapsed begins again on the date: its last rows
    are closed and others take their place.
    """
    state = _must_be(rows, "renewed", on_ns, "active", "expired")
    _not_before_the_last_step(rows, "renewed", on_ns)
    held = [row for row in rows if row.open and row.status == "active"]
    end = max(row.to_ns for row in held)
    if until_ns <= on_ns:
        problem = f"would end on {time_text(until_ns)}, which is not after {time_text(on_ns)}"
        raise _refuse(rows, problem, "renew it until a later date")
    until = time_text(until_ns)
    if state == "active":
        short = [row for row in held if on_ns < row.to_ns < until_ns]
        if not short:
            valid = f"until {time_text(end)}" if end != OPEN_END else "without an end"
            raise _refuse(rows, f"is valid {valid} already", "renew it until a later date")
        return [replace(row, valid_to=until) for row in short]
    last = [row for row in held if row.to_ns == end]
    begins = time_text(on_ns)
    closed = [replace(row, state="lapsed") for row in held]
    return closed + [replace(r, entry=_NEW, valid_from=begins, valid_to=until) for r in last]


def revoked(rows: Sequence[Row], on_ns: int) -> list[Row]:
    """Return the rows of a registration that is revoked; what was before the date stays active.

    What will be revoked later can be revoked earlier.
    """
    if state_of(rows, on_ns) != "revoked" or not any(_holds(row, on_ns) for row in rows):
        _must_be(rows, "revoked", on_ns, "active")
    made = []
    for row in rows:
        if row.status != "active":
            continue
        if row.to_ns <= on_ns:
            if row.open:
                made.append(replace(row, state="lapsed"))
        elif row.from_ns >= on_ns:
            made.append(replace(row, status="revoked", state="revoked"))
        else:
            made.append(replace(row, valid_to=time_text(on_ns), state="revoked"))
    return made


@dataclass(frozen=True, slots=True)
class Amendment:
    """What an amendment changes: None stays as it is; documents are added to those there are."""

    organisation: str | None = None
    category: str | None = None
    side: str | None = None
    proto: str | None = None
    port: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None
    contact: str | None = None
    purpose: str | None = None
    flags: str | None = None
    documents: tuple[str, ...] = ()
    add_prefixes: tuple[str, ...] = field(default=())
    remove_prefixes: tuple[str, ...] = field(default=())


_PUBLISHED = ("organisation", "category", "side", "proto", "port", "valid_from", "valid_to")
_BESIDE = ("contact", "purpose", "flags")


def amended(rows: Sequence[Row], on_ns: int, amendment: Amendment) -> list[Row]:
    """Return the rows of a registration or application that is amended.

    In an application fields are replaced. In a registration what is published changes on the date:
    the row as it was ends then, and another begins.
    """
    state = _must_be(rows, "amended", on_ns, "active", "pending")
    pending = state == "pending"
    dates = amendment.valid_from is not None or amendment.valid_to is not None
    if dates and not pending:
        remedy = "renew it to end later, revoke it to end earlier"
        raise _refuse(rows, "is approved: its validity is not amended", remedy)
    if not pending:
        _not_before_the_last_step(rows, "amended", on_ns)
    held = [r for r in rows if r.open and (r.status == "pending" if pending else _holds(r, on_ns))]
    removed = _matching(rows, held, amendment.remove_prefixes)
    made = []
    for row in held:
        changed = _with(row, amendment)
        again = parse_prefix(row.prefix) not in removed
        if again and changed == row:
            continue
        same = all(getattr(changed, name) == getattr(row, name) for name in _PUBLISHED)
        if again and (pending or same or row.from_ns >= on_ns):
            made.append(changed)
        elif pending:
            made.append(replace(row, status="rejected", state="amended"))
        elif row.from_ns >= on_ns:
            made.append(replace(row, status="revoked", state="amended"))
        else:
            made.append(replace(row, valid_to=time_text(on_ns), state="amended"))
            if again:
                made.append(replace(changed, entry=_NEW, valid_from=time_text(on_ns)))
    made += _added(rows, held, amendment, None if pending else on_ns)
    if not made:
        raise _refuse(rows, "says all of that already", "leave it, or name what should change")
    left = {parse_prefix(row.prefix) for row in held} - removed
    if not left and not amendment.add_prefixes:
        remedy = "reject the application" if pending else "revoke the registration"
        raise _refuse(rows, "would have no prefix left", f"{remedy} instead")
    return made


def _holds(row: Row, on_ns: int) -> bool:
    return row.status == "active" and row.to_ns > on_ns


def _with(row: Row, amendment: Amendment) -> Row:
    names = (*_PUBLISHED, *_BESIDE)
    said = {name: getattr(amendment, name) for name in names}
    documents = row.documents.split()
    documents += [word for word in amendment.documents if word not in documents]
    return replace(
        row,
        documents=" ".join(documents),
        **{name: value for name, value in said.items() if value is not None},
    )


def _matching(rows: Sequence[Row], held: Sequence[Row], prefixes: Iterable[str]) -> set[Prefix]:
    """Return the prefixes that texts name; each must be held."""
    present = {parse_prefix(row.prefix): row.prefix for row in held}
    found: set[Prefix] = set()
    for text in prefixes:
        prefix = _parsed(rows, text)
        if prefix not in present:
            remedy = f"it has {', '.join(sorted(set(present.values())))}"
            raise _refuse(rows, f"does not have {text}", remedy)
        found.add(prefix)
    return found


def _parsed(rows: Sequence[Row], text: str) -> Prefix:
    try:
        return parse_prefix(text)
    except BadField as error:
        raise _refuse(rows, error.problem, error.remedy) from None


def _added(
    rows: Sequence[Row], held: Sequence[Row], amendment: Amendment, on_ns: int | None
) -> list[Row]:
    """Return rows for new prefixes, in all else like the first row there is."""
    like = _with(held[0], amendment)
    present = {parse_prefix(row.prefix) for row in held}
    made = []
    for text in amendment.add_prefixes:
        prefix = _parsed(rows, text)
        if prefix in present:
            raise _refuse(rows, f"has {text} already", "name each prefix once")
        present.add(prefix)
        row = replace(like, entry=_NEW, prefix=text)
        if on_ns is not None and like.from_ns < on_ns:
            row = replace(row, valid_from=time_text(on_ns))
        made.append(row)
    return made


def _not_before_the_last_step(rows: Sequence[Row], step: str, on_ns: int) -> None:
    """Refuse a step on a date before one that has closed rows."""
    closed = [row.to_ns for row in rows if row.state == "amended" and row.status == "active"]
    begun = [row.from_ns for row in rows if row.open and row.status == "active"]
    last = max(closed, default=on_ns)
    if any(row.state == "lapsed" for row in rows):
        last = max(last, max(begun, default=on_ns))
    if on_ns < last:
        problem = f"was changed on {time_text(last)} and cannot be {step} on {time_text(on_ns)}"
        raise _refuse(rows, problem, "give that date or a later one")

"""Strings the rooms together: captures in, flow rows out.

How this works: each capture's packets go through the flow table a buffer at a time. Flows come out
in batches as they end; a batch is named, searched for evidence, identified, looked up in the
register and judged, and becomes a RecordBatch of the columns in ``tables.COLUMNS``. Nothing but
the live flows outlives a batch. Where there is much to read, a thread does it ahead of the rest.
"""

import contextlib
import glob
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifier._jit import expect
from classifier.ahead import Ahead
from classifier.errors import CaptureError, ClassifierError, ModelError, must_be
from classifier.wire import Capture, Reassembly, Source, open_capture, order_captures
from classifier.wire.reasons import REASONS

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from classifier.detectors import Detector
    from classifier.flows import FlowTable
    from classifier.flows.parts import PartRead
    from classifier.model import PairBook
    from classifier.model.learned import Scorer
    from classifier.policy import Policy
    from classifier.registry import Registry, Table
    from classifier.tables import FlowBatch

__all__ = ["Accounting", "Options", "Progress", "Reading", "expand_captures", "iter_flows"]

Progress = Callable[[int, int], None]  # bytes read so far, bytes in all (0 = unknown)

_PACKET_BYTES = 1500  # packets of a capture are at least its size by this, but for offloaded ones
_MUCH = 1 << 24  # bytes; reading them takes 10 ms
_BATCHES_AHEAD = 1
_BATCHES_SOON = 4  # judged before reading must share its processor with hashing
_STRETCH = 1 << 25  # bytes read before others have a word: 15 ms, longer from a slow disk
_MOST_THREADS = 256
_MOST_WAIT_S = 0.2  # for reading to be under way: what others import meanwhile would hold it up
#: The model that ``default`` means.
DEFAULT_MODEL = "lab"


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that changes what a run says about a capture."""

    registry: "Table | None" = None
    policy: "Policy | None" = None
    detectors: "tuple[Detector, ...] | None" = None
    model: "Scorer | None" = None
    local: tuple[str, ...] | None = None
    at_ns: int | None = None
    idle_timeout_s: float | None = 600
    active_timeout_s: float | None = None
    decapsulate: bool = False
    separate: bool = False
    threshold: float = 0.5
    max_flows: int = 1_000_000
    threads: int = 1

    def described(self) -> dict[str, object]:
        """Return the options as plain values for ``meta``."""
        return {
            "detectors": [d.name for d in self.detectors] if self.detectors is not None else "all",
            "model": getattr(self.model, "name", type(self.model).__name__)
            if self.model
            else "none",
            "local": list(self.local) if self.local is not None else "default",
            "at_ns": self.at_ns,
            "idle_timeout_s": self.idle_timeout_s,
            "active_timeout_s": self.active_timeout_s,
            "decapsulate": self.decapsulate,
            "separate": self.separate,
            "threshold": self.threshold,
        }


class Accounting(dict[str, int]):
    """Where every packet went.

    ``packets_read`` is the sum of all other keys that begin with ``packets_``: ``packets_in_flows``
    and one key for each reason why a packet is in no flow. The other keys stand beside: they count
    things that also are in flows.
    """

    @property
    def balanced(self) -> bool:
        """Whether every packet is accounted for."""
        parts = sum(n for k, n in self.items() if k.startswith("packets_") and k != "packets_read")
        return parts == self["packets_read"]

    def _repr_html_(self) -> str:
        from classifier.report.html_repr import pre_html
        from classifier.report.text import accounting_text

        return pre_html(accounting_text(self)) if self else "<p>not known</p>"


def checked_settings(**settings: Any) -> Options:
    """Check the settings of ``classify`` that tell how to read; nothing is opened.

    Raises
    ------
    ClassifierError
        If a setting cannot be used.
    """
    import numpy as np

    for name in ("threshold", "idle_timeout_s", "active_timeout_s"):
        must_be(name, settings.get(name), (int, float, np.number), "a number", "classify")
    for name in ("decapsulate", "separate"):
        value = settings.get(name, False)
        must_be(name, value, (bool, np.bool_), "True or False", "classify", none=False)
    threads = settings.get("threads", 1)
    must_be("threads", threads, (int, np.integer), "a whole number", "classify", none=False)
    if not 1 <= threads <= _MOST_THREADS:
        remedy = f"give a number from 1 to {_MOST_THREADS}"
        raise ClassifierError(f"threads={threads} is no number of threads", remedy=remedy)
    threshold = settings.get("threshold", 0.5)
    if threshold is None or not 0 < threshold <= 1:
        raise ClassifierError(
            f"threshold={threshold} is no probability", remedy="give a number above 0 and up to 1"
        )
    return Options(**settings)


def make_options(
    *,
    registry: "Registry | Table | str | Path | None" = None,
    policy: "Policy | str | Path | None" = None,
    model: object = "default",
    detectors: "Sequence[str | Detector] | None" = None,
    local: Sequence[str] | None = None,
    at: str | int | None = None,
    **settings: Any,
) -> Options:
    """Open what the arguments of ``classify`` name.

    Raises
    ------
    ClassifierError
        If a register, policy, detector, prefix or setting cannot be used.
    """
    made = checked_settings(**settings)
    import datetime

    import numpy as np

    from classifier.policy import Policy
    from classifier.registry import Registry, Table, inside
    from classifier.registry.store import time_ns
    from classifier.tables import FLOW

    _must_be("registry", registry, (str, Path, Registry, Table), "a register or its path")
    _must_be("policy", policy, (str, Path, Policy), "a policy, its name or its path")
    _must_be("detectors", detectors, (Iterable,), "names of detectors, or detectors")
    _must_be("local", local, (Iterable,), "prefixes")
    must_be("at", at, (str, int, np.integer, datetime.datetime), "a time", "classify")
    at_ns = time_ns(at, "at") if at is not None else None
    if at is not None and registry is None:
        problem = f"there is no register to look up as of {str(at)[:40]!r}"
        raise ClassifierError(problem, path="at", remedy="give a register too")
    scorer = _scorer(model)
    if isinstance(registry, str | Path):
        registry = Registry.open(registry)
    if isinstance(registry, Registry):
        registry = registry.compile()
    if policy is None:
        policy = "observe-only" if registry is None else "registered-only"
    if not isinstance(policy, Policy):
        policy = Policy.open(policy)
    chosen = None
    if detectors is not None:
        from classifier.detectors import Detector, select

        detectors = [detectors] if isinstance(detectors, str) else list(detectors)
        for item in detectors:
            _must_be("a detector", item, (str, Detector), "a name or a Detector")
        chosen = select(detectors)
    if local is not None:
        inside(np.zeros(0, FLOW), local)  # refuses what is no prefix
    return replace(
        made,
        registry=registry,
        policy=policy,
        detectors=chosen,
        model=scorer,
        local=tuple(local) if local is not None else None,
        at_ns=at_ns,
    )


def _must_be(what: str, value: object, kinds: tuple[type, ...], wanted: str) -> None:
    """Refuse an argument of another type before anything is read; None is always taken."""
    must_be(what, value, kinds, wanted, "classify")


def _is_file(path: str | Path) -> bool:
    """Return whether there is such a file; a name that cannot be one is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _scorer(model: object) -> "Scorer | None":
    """Open what ``model=`` names: a shipped model, a folder, or a fitted estimator."""
    if model is None or model == "none":
        return None
    from classifier.model.files import load_model, model_names
    from classifier.model.learned import wrapped

    if model == "default":
        return load_model(DEFAULT_MODEL) if DEFAULT_MODEL in model_names() else None
    if isinstance(model, str | Path):
        return load_model(model)
    if not hasattr(model, "predict_proba"):
        raise ModelError(
            f"{model!r} is no model that can be used",
            remedy="give the name of a model, a folder, a fitted estimator or None",
        )
    return wrapped(model)


def expand_captures(captures: "Source | Sequence[Source]") -> list[Source]:
    """Turn a path, a list, a glob pattern, bytes or a file object into a list of captures.

    Where they are large, kernels are compiled from the first call on, those of the register too.

    Raises
    ------
    CaptureError
        If nothing was given, a pattern alone that matches nothing, or what is no capture.
    """
    if isinstance(captures, str | Path | bytes | bytearray | memoryview) or hasattr(
        captures, "read"
    ):
        captures = [captures]  # type: ignore[list-item]
    elif not isinstance(captures, Iterable):
        raise CaptureError(
            f"{type(captures).__name__} is no capture",
            remedy="give a path, bytes, a binary file object, or a list of them",
        )
    found: list[Source] = []
    item: Any
    given: list[Any] = list(captures)
    for item in given:
        pattern = str(item) if isinstance(item, str | Path) else ""
        if glob.has_magic(pattern) and not _is_file(pattern):
            matches = sorted(  # Path.glob takes no absolute pattern
                path
                for path in glob.glob(pattern, recursive=True)  # noqa: PTH207
                if Path(path).is_file()
            )
            if not matches and len(given) == 1:
                raise CaptureError(
                    "no file matches this pattern", path=pattern, remedy="check the pattern"
                )
            found.extend(matches or [item])  # among others, refused when it is opened
        else:
            found.append(item)
    if not found:
        raise CaptureError("no capture was given", remedy="name at least one file")
    expect(_size_of(found) // _PACKET_BYTES)
    return found


@dataclass(slots=True)
class Reading:
    """One pass over captures: an iterator of judged rows, and its books.

    Attributes
    ----------
    captures : list of str
        Base names, by ``PACKET.capture``.
    opened : list of Source
        What they were given as, by ``PACKET.capture``.
    problems : list of ClassifierError
        Captures that could not be read, and damage in those that could in part.
    failed : int
        How many of ``problems`` are captures that could not be read at all.
    pairs : PairBook or None
        Where one is given, it sees the packets before their flows come out of ``batches``.
    idle : threading.Event
        Set when all is read, flows are waited for the first time, or some batches of them are judged:
        from then on another thread does not take reading its processor.
    """

    sources: list[Source]
    options: Options
    progress: Progress | None = None
    captures: list[str] = field(default_factory=list)
    opened: list[Source] = field(default_factory=list)
    problems: list[ClassifierError] = field(default_factory=list)
    failed: int = 0
    accounting: Accounting = field(default_factory=Accounting)
    pairs: "PairBook | None" = None
    idle: threading.Event = field(default_factory=threading.Event)
    _done_bytes: int = 0
    _total_bytes: int = 0
    _position: int = 0
    _taken_ahead: bool = False
    _capture: Capture | None = None  # the one at hand
    _ahead: "Ahead[FlowBatch] | None" = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _under_way: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Put the captures in order and open the books."""
        self.sources = order_captures(self.sources)
        self._total_bytes = _size_of(self.sources)
        self.accounting["packets_read"] = self.accounting["packets_in_flows"] = 0
        self.accounting.update({f"packets_{name}": 0 for name in REASONS[1:]})
        self.accounting.update(
            dict.fromkeys(
                (
                    "flows",
                    "duplicates",
                    "fragments",
                    "fragments_reassembled",
                    "fragments_without_first",
                    "holes",
                    "hole_bytes",
                    "evictions",
                    "timestamps_clamped",
                    "captures_read",
                    "captures_damaged",
                    "captures_failed",
                ),
                0,
            )
        )

    @contextlib.contextmanager
    def ahead(self) -> Iterator[None]:
        """Read in a thread while the context lasts, if there is much; ``rows`` takes from there.

        Until then ``options`` may be exchanged for others that read alike.
        """
        if self._total_bytes < _MUCH or not all(map(_is_at_hand, self.sources)) or self.pairs:
            yield
            return
        self._taken_ahead = True
        show = self.progress and self._show
        self._ahead = Ahead(self._noted_batches(), _BATCHES_AHEAD, show, self.idle.set)
        try:
            self._under_way.wait(_MOST_WAIT_S)
            yield
        finally:
            self._stop.set()
            self._ahead.close()
            self._ahead = None

    def _noted_batches(self) -> Generator["FlowBatch", None, None]:
        try:
            yield from self.batches()
        finally:
            self._under_way.set()

    def batches(self) -> Generator["FlowBatch", None, None]:
        """Yield ended flows; ``flow_id`` is dense over all captures, but batches are in no order."""
        if self._in_parts:
            yield from self._batches_of_parts()
            return
        table, reassembly = self._new_table(), self._new_reassembly()
        offset = 0
        for source in self.sources:
            for packets, buffer in self._packets(source, reassembly):
                for batch in self._ended(table, packets, buffer, offset):
                    yield _shifted(batch, offset)
                for batch in self._read_on(table, reassembly):
                    yield _shifted(batch, offset)
            if self.options.separate:
                for batch in self._close(table, reassembly, offset):
                    yield _shifted(batch, offset)
                if self.pairs is not None:
                    self.pairs.forget()
                offset += table.flows
                table, reassembly = self._new_table(), self._new_reassembly()
        self.idle.set()
        for batch in self._close(table, reassembly, offset):
            yield _shifted(batch, offset)

    @property
    def _in_parts(self) -> bool:
        """Whether captures are read by several threads: each may have to be read again."""
        many = self.options.threads > 1 and len(self.sources) > 1
        alike = not self.options.separate and self.pairs is None
        return many and alike and all(map(_is_at_hand, self.sources))

    def _batches_of_parts(self) -> Generator["FlowBatch", None, None]:
        """Read captures in threads, each as a part, and merge these: the same flows."""
        from concurrent.futures import ThreadPoolExecutor  # takes 16 ms to import

        from classifier.flows.parts import Merger

        self._under_way.set()
        options = self._table_options()
        merger = Merger(self._stop, decapsulate=self.options.decapsulate, **options)
        pool = ThreadPoolExecutor(self.options.threads)
        waiting: deque[Future[PartRead]] = deque()
        reassembled = 0
        try:
            for i, source in enumerate(self.sources):
                # One that was read waits for each that is: they differ in size
                for other in self.sources[i + len(waiting) : i + 2 * self.options.threads]:
                    waiting.append(pool.submit(merger.read, other))
                read = waiting.popleft().result()
                read, batches = merger.merge(source, len(self.captures), read)
                reassembled += read.reassembled
                if read.error is not None:
                    self._fail(read.error)
                else:
                    self.accounting["captures_read"] += 1
                if read.capture is not None:
                    self.captures.append(read.capture.name)
                    self.opened.append(source)
                    self._add_capture(read.capture)
                self._position = self._done_bytes
                if not self._taken_ahead:
                    self._show()
                yield from batches
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
        self.idle.set()
        yield from self._close(merger.table, merger.closing(), 0)
        self.accounting["fragments_reassembled"] += reassembled

    def _ended(
        self,
        table: "FlowTable",
        packets: "NDArray[np.void]",
        buffer: "NDArray[np.uint8]",
        offset: int,
    ) -> Iterator["FlowBatch"]:
        """Add packets and yield flows that ended; their pairs are looked at before."""
        unseen = self.pairs
        for batch in table.add(packets, buffer):
            if unseen is not None:
                unseen.see(packets, offset)
                unseen = None
            yield batch
        if unseen is not None:
            unseen.see(packets, offset)

    def _read_on(self, table: "FlowTable", reassembly: Reassembly) -> Iterator["FlowBatch"]:
        """Take as much of the capture at hand as nobody but the table must look at."""
        self._under_way.set()
        capture = self._capture
        if capture is None or self.pairs is not None:
            return
        before = -1
        while not reassembly.waiting and before < capture.position:
            before = capture.position
            yield from table.read_on(capture, _STRETCH)
            self._tell(capture)

    def packets(self) -> "Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]":
        """Yield the packet table with ``flow_id`` set, and the buffer of its payload fields."""
        table, reassembly = self._new_table(), self._new_reassembly()
        offset = 0
        for source in self.sources:
            for packets, buffer in self._packets(source, reassembly):
                yield _added(table, packets, offset, buffer)
            if self.options.separate:
                for packets, buffer in reassembly.finish():
                    yield _added(table, packets, offset, buffer)
                offset += table.flows
                table, reassembly = self._new_table(), self._new_reassembly()
        for packets, buffer in reassembly.finish():
            yield _added(table, packets, offset, buffer)

    def rows(self) -> Iterator["pa.RecordBatch"]:
        """Yield the flow columns of ended flows, judged."""
        with contextlib.ExitStack() as stack:
            if self._ahead is None:
                stack.enter_context(self.ahead())
            if self._ahead is not None:
                _get_ready(self.options)
            stack.callback(self.idle.set)
            for n, batch in enumerate(self._ahead or self.batches()):
                if n == _BATCHES_SOON:
                    self.idle.set()
                yield judged_rows(batch, self.captures, self.options)

    def _show(self) -> None:
        if self.progress:
            self.progress(self._position, self._total_bytes)

    def _new_table(self) -> "FlowTable":
        from classifier.flows import FlowTable

        return FlowTable(**self._table_options())

    def _table_options(self) -> dict[str, Any]:
        names = ("idle_timeout_s", "active_timeout_s", "max_flows")
        return {name: getattr(self.options, name) for name in names}

    def _new_reassembly(self) -> Reassembly:
        return Reassembly(decapsulate=self.options.decapsulate)

    def _packets(
        self, source: Source, reassembly: Reassembly
    ) -> "Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]":
        try:
            capture = open_capture(
                source, index=len(self.captures), decapsulate=self.options.decapsulate
            )
        except CaptureError as error:
            self._fail(error)
            return
        self._capture = capture
        self.captures.append(capture.name)
        self.opened.append(source)
        try:
            for packets, buffer in capture.batches():
                self._tell(capture)
                waiting = False
                for settled in reassembly.settle(packets, buffer):
                    waiting = reassembly.waiting
                    yield settled
                if waiting and not reassembly.waiting:  # from here on a stretch can be read
                    yield packets[:0], buffer
        except CaptureError as error:
            self._fail(error)
        else:
            self.accounting["captures_read"] += 1
        self._capture = None
        self._add_capture(capture)

    def _tell(self, capture: Capture) -> None:
        self._position = self._done_bytes + capture.position
        if not self._taken_ahead:
            self._show()

    def _fail(self, error: CaptureError) -> None:
        if len(self.sources) == 1:
            raise error
        self.problems.append(error)
        self.failed += 1
        self.accounting["captures_failed"] += 1

    def _add_capture(self, capture: Capture) -> None:
        self._done_bytes += capture.position
        self.problems.extend(capture.damage)
        self.accounting["packets_read"] += capture.packets_read
        self.accounting["timestamps_clamped"] += capture.clamped
        self.accounting["fragments_reassembled"] += capture.reassembled
        self.accounting["captures_damaged"] += len(capture.damage) > 0

    def _close(
        self, table: "FlowTable", reassembly: Reassembly, offset: int
    ) -> Iterator["FlowBatch"]:
        """End a table's flows and book them."""
        for packets, buffer in reassembly.finish():
            yield from self._ended(table, packets, buffer, offset)
        yield from table.finish()
        books = self.accounting
        books["packets_in_flows"] += int(table.counts[0])
        for reason, name in enumerate(REASONS[1:], start=1):
            books[f"packets_{name}"] += int(table.counts[reason])
        books["flows"] += table.flows
        books["duplicates"] += table.duplicates
        books["fragments"] += table.fragments
        books["fragments_reassembled"] += reassembly.reassembled
        books["fragments_without_first"] += table.fragments_alone
        books["holes"] += table.gaps
        books["hole_bytes"] += table.missing_bytes
        books["evictions"] += table.evicted


def judged_rows(batch: "FlowBatch", captures: Sequence[str], options: Options) -> "pa.RecordBatch":
    """Name, identify, look up and judge the flows of a batch."""
    from classifier.detectors import DETECTORS, run_detectors
    from classifier.detectors.applications import SERVICES, name_applications
    from classifier.identify import identify
    from classifier.report.columns import observed_columns

    evidence = run_detectors(
        batch, options.detectors if options.detectors is not None else DETECTORS
    )
    names = name_applications(batch)
    probability = None
    if options.model is not None:
        probability = options.model.probability(
            batch, names.application, names.ja4, names.server_name
        )
    identification = identify(batch, evidence, probability=probability, threshold=options.threshold)
    observed = observed_columns(batch, captures, names, SERVICES, identification)
    registered = registration_of(batch.flows, options)
    if options.policy is not None and "inside" in options.policy.columns:
        from classifier.policy import inside_column
        from classifier.registry import inside

        registered["inside"] = inside_column(*inside(batch.flows, options.local))
    return with_verdicts(observed, registered, options.policy, options.local)


def _get_ready(options: Options) -> None:
    """Import and load what judging needs, while the first flows are read: judge none."""
    import numpy as np

    from classifier.tables import FLOW, SERIES, FlowBatch

    nothing = FlowBatch(np.zeros(0, FLOW), np.zeros(0, SERIES), np.zeros(0, np.uint8))
    judged_rows(nothing, [""], replace(options, model=None, detectors=None))


def registration_of(flows: "NDArray[np.void]", options: Options) -> "dict[str, pa.Array]":
    """Look the endpoints of flows up; the columns ``registered`` to ``near_miss``."""
    from classifier.registry import NEAR_MISSES, client_is_orig, match_flows
    from classifier.report.columns import no_registration_columns, registration_columns

    if options.registry is None:
        return no_registration_columns(flows.size)
    found = match_flows(
        options.registry, flows, client_is_orig(flows, options.local), at_ns=options.at_ns
    )
    return registration_columns(
        found.row, found.side, found.near_miss, NEAR_MISSES, options.registry.rows
    )


def with_verdicts(
    observed: "pa.RecordBatch",
    registered: "dict[str, pa.Array]",
    policy: "Policy | None",
    local: Sequence[str] | None = None,
) -> "pa.RecordBatch":
    """Complete observed columns by those of registration and policy."""
    import pyarrow as pa

    from classifier.report.columns import SCHEMA, string_column
    from classifier.tables import Verdict

    if policy is None:
        raise ClassifierError("no policy was given", remedy="give a policy")
    columns = dict(zip(observed.schema.names, observed.columns, strict=True)) | registered
    known = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    verdicts, columns["rule"] = policy.judge(known, local)
    columns["verdict"] = string_column([v.label for v in Verdict]).take(pa.array(verdicts))
    return pa.RecordBatch.from_arrays([columns[f.name] for f in SCHEMA], schema=SCHEMA)


def iter_flows(
    captures: "Source | Sequence[Source]",
    *,
    registry: "Registry | Table | str | Path | None" = None,
    policy: "Policy | str | Path | None" = None,
    model: object = "default",
    detectors: "Sequence[str | Detector] | None" = None,
    local: Sequence[str] | None = None,
    at: str | int | None = None,
    idle_timeout_s: float | None = 600,
    active_timeout_s: float | None = None,
    decapsulate: bool = False,
    separate: bool = False,
    threshold: float = 0.5,
    threads: int = 1,
    progress: Progress | None = None,
) -> Iterator["pa.RecordBatch"]:
    """Yield flows as they end, in constant memory.

    Parameters
    ----------
    captures, registry, policy, model, detectors, local, at
        As for ``classify``.
    idle_timeout_s, active_timeout_s, decapsulate, separate, threshold, threads
        As for ``classify``.
    progress : callable, optional
        Called with (bytes read so far, bytes in all).

    Yields
    ------
    pyarrow.RecordBatch
        The flow columns, some thousand rows at a time, in the order in which flows end.

    Raises
    ------
    ClassifierError
        If an option, or the only capture, cannot be used. Of several captures, those that cannot
        be read are warned about at the end.
    """
    sources = expand_captures(captures)
    options = make_options(
        registry=registry,
        policy=policy,
        model=model,
        detectors=detectors,
        local=local,
        at=at,
        idle_timeout_s=idle_timeout_s,
        active_timeout_s=active_timeout_s,
        decapsulate=decapsulate,
        separate=separate,
        threshold=threshold,
        threads=threads,
    )
    return _warned(Reading(sources, options, progress))


def _warned(reading: Reading) -> Iterator["pa.RecordBatch"]:
    """Yield the rows, and warn of captures that could not be read, or only in part."""
    yield from reading.rows()
    for problem in reading.problems:
        warnings.warn(str(problem), stacklevel=2)


def _shifted(batch: "FlowBatch", offset: int) -> "FlowBatch":
    """Count flow ids on from those of earlier, separate captures."""
    if offset:
        flows = batch.flows
        flows["flow_id"] += offset
        flows["parent_flow_id"][flows["parent_flow_id"] >= 0] += offset
    return batch


def _added(
    table: "FlowTable", packets: "NDArray[np.void]", offset: int, buffer: "NDArray[np.uint8]"
) -> "tuple[NDArray[np.void], NDArray[np.uint8]]":
    """Add packets whose flows are not wanted; return them with the ids of their flows."""
    for _ in table.add(packets, buffer):
        pass
    packets["flow_id"][packets["flow_id"] >= 0] += offset
    return packets, buffer


def _is_at_hand(source: Source) -> bool:
    """Return whether reading never waits for somebody, as it does from a pipe."""
    if isinstance(source, str | Path):
        return _is_file(source)
    return isinstance(source, bytes | bytearray | memoryview)


def _size_of(sources: Sequence[Source]) -> int:
    total = 0
    for source in sources:
        if isinstance(source, bytes | bytearray):
            total += len(source)
        elif isinstance(source, str | Path) and _is_file(source):
            total += Path(source).stat().st_size
    return total

"""``classify``, ``replay`` and ``open_run``: what makes runs."""

import functools
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifier.ahead import Later
from classifier.errors import must_be
from classifier.pipeline import (
    Accounting,
    Options,
    Progress,
    Reading,
    checked_settings,
    expand_captures,
    make_options,
)
from classifier.run._files import not_both
from classifier.run._meta import descriptions, meta_of
from classifier.run._progress import ProgressBar, compiling_shown
from classifier.run._run import Run
from classifier.wire import Source

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from classifier.detectors import Detector
    from classifier.policy import Policy
    from classifier.registry import Registry, Table
    from classifier.report.anonymize import Anonymizer
    from classifier.report.sorting import Sorter
    from classifier.report.writers import Writing

__all__ = ["Replay", "classify", "open_run", "replay"]


def classify(
    captures: "Source | Sequence[Source]",
    *,
    registry: "Registry | Table | str | Path | None" = None,
    policy: "Policy | str | Path | None" = None,
    model: object = "default",
    detectors: "Sequence[str | Detector] | None" = None,
    labels: "str | Path | pd.DataFrame | None" = None,
    local: Sequence[str] | None = None,
    at: str | int | None = None,
    idle_timeout_s: float | None = 600,
    active_timeout_s: float | None = None,
    decapsulate: bool = False,
    separate: bool = False,
    threshold: float = 0.5,
    threads: int = 1,
    progress: bool | Progress | None = None,
) -> Run:
    """Read captures, identify VPN flows, look them up in a register and apply a policy.

    Parameters
    ----------
    captures : path, list of paths, glob pattern, bytes or binary file object
        pcap or pcapng, as it is or compressed. Several are one run in the order of their first
        time stamps, with flows kept across their borders.
    registry : Registry, path or SQLAlchemy URL, optional
        ``.csv``, ``.json`` or ``.db``.
    policy : Policy, built-in name or path, optional
        ``"observe-only"``, or ``"registered-only"`` where a registry is given.
    model : optional
        ``"default"``, the name or folder of a model, a fitted estimator over `Run.xy`'s features, or
        None for detectors alone.
    detectors : sequence of str or Detector, optional
        Names to pick, or detectors of one's own; all shipped ones where left out.
    labels : path or DataFrame, optional
        Joined as the columns ``label_is_vpn`` and ``label_family``.
    local : sequence of str, optional
        Prefixes of the inside network; private, link-local and unique-local where left out.
    at : str or int, optional
        Look registrations up as they stood at this time, not at each flow's first packet.
    idle_timeout_s, active_timeout_s : float or None
        When a flow ends; None switches a timeout off.
    decapsulate : bool
        Make rows of the inner flows of encapsulations.
    separate : bool
        Keep the flows of several captures apart.
    threshold : float
        ``vpn_probability`` from which ``is_vpn`` holds.
    threads : int
        How many of several captures are read at a time; the rows are the same, but all flows of as many
        captures are in memory.
    progress : bool or callable, optional
        A bar on the terminal or in the notebook where left out; False for none; or a function of
        (bytes read so far, bytes in all).

    Returns
    -------
    Run

    Raises
    ------
    ClassifierError
        If an option, or the only capture, cannot be used. Of several captures, those that cannot
        be read are warned about, and are in ``Run.problems``.

    Examples
    --------
    >>> import classifier
    >>> demo = classifier.datasets.demo()
    >>> run = classifier.classify(demo.capture, registry=demo.register, policy=demo.policy)
    >>> sorted(set(run.flows["family"]) - {""})
    ['ipsec', 'openvpn', 'wireguard']
    """
    must_be("progress", progress, (bool, Callable), "True, False or a function", "classify")  # type: ignore[arg-type]
    sources = expand_captures(captures)
    settings: dict[str, Any] = {
        "idle_timeout_s": idle_timeout_s,
        "active_timeout_s": active_timeout_s,
        "decapsulate": decapsulate,
        "separate": separate,
        "threshold": threshold,
        "threads": threads,
    }
    known = None

    def judging() -> Options:
        nonlocal known
        made = make_options(
            registry=registry,
            policy=policy,
            model=model,
            detectors=detectors,
            local=local,
            at=at,
            **settings,
        )
        if labels is not None:
            from classifier.report.labels import read_labels

            known = read_labels(labels)
        return made

    with replay(sources, checked_settings(**settings), progress, judging=judging) as rows:
        run = rows.run()
    for problem in run.problems:
        warnings.warn(str(problem), stacklevel=2)
    if known is not None:
        from classifier.report.labels import label_columns

        run.table = label_columns(run.table, known)
    return run


@dataclass(frozen=True, slots=True)
class Replay:
    """The rows of captures in the order of ``flow_id``, however many: sorted on disk if need be."""

    reading: Reading
    sorter: "Sorter"
    hashes: "Later[list[dict[str, str]]] | None" = None
    writing: "Mapping[str, Writing]" = field(default_factory=dict)

    def batches(self) -> "Iterator[pa.RecordBatch]":
        """Yield the rows; as often as wanted."""
        yield from self.sorter.batches()

    def run(self) -> Run:
        """Return all rows as a Run in memory."""
        import pyarrow as pa

        from classifier.report.columns import SCHEMA

        reading = self.reading
        return Run(
            pa.Table.from_batches(self.batches(), schema=SCHEMA),
            reading.accounting,
            sources=reading.sources,
            options=reading.options,
            problems=reading.problems,
        )

    def write(
        self,
        path: str | Path,
        format: str | None = None,
        *,
        keep_addresses: bool = False,
        anonymize: "Anonymizer | None" = None,
        keep_payload: bool = False,
    ) -> None:
        """Write the rows as ``Run.write``; in constant memory, but for HTML and pcapng."""
        from classifier.report.writers import output_format, write_flows

        if output_format(path, format) in ("html", "pcapng"):
            self.run().write(
                path,
                keep_addresses=keep_addresses,
                anonymize=anonymize,
                keep_payload=keep_payload,
            )
            return
        if anonymize is not None:
            not_both(keep_addresses)
        begun = self.writing.get(str(path)) if anonymize is None else None
        if begun is not None:
            for batch in itertools.islice(self.batches(), begun.batches, None):
                begun.add(batch)
        meta: dict[str, Any] = {}
        if str(path).endswith(".parquet"):  # hashing reads the captures again
            described = self.hashes.result() if self.hashes else None
            meta = meta_of(self.reading.sources, self.reading.options, described)
        if begun is not None:
            begun.finish(meta)
            return
        rows = self.batches()
        if anonymize is not None:
            from classifier.registry import ROUTED_LOCAL

            rows = (anonymize.rows(batch) for batch in rows)
            meta = meta and anonymize.meta(meta, ROUTED_LOCAL)
        write_flows(rows, path, format, meta=meta, accounting=self.reading.accounting)


@contextmanager
def replay(
    sources: list[Source],
    options: Options,
    progress: bool | Progress | None = None,
    *,
    judging: Callable[[], Options] | None = None,
    hashed: bool = False,
    ahead: Sequence[str] = (),
) -> Iterator[Replay]:
    """Read captures; nothing is warned about.

    With ``judging`` large ones are read by ``options`` while it opens the rest that options name.
    With ``hashed`` captures are hashed for ``write`` to Parquet meanwhile; not before judging waits
    for flows, as reading, which the rest waits for, should have a processor of its own. ``ahead`` are
    files that ``write`` will be asked for, with addresses as they are: a thread begins them.

    Yields
    ------
    Replay
        Its rows are there until the context ends.
    """
    with ExitStack() as stack:
        with compiling_shown(progress), ProgressBar(progress) as bar:
            reading = Reading(sources, options, bar)
            with reading.ahead():
                hashes = Later(functools.partial(_hashed_when_idle, reading)) if hashed else None
                if judging is not None:
                    reading.options = judging()
                from classifier.report.sorting import Sorter

                sorter = stack.enter_context(Sorter())
                writing: dict[str, Writing] = {}
                for batch in reading.rows():
                    sorter.add(batch)
                    for window in sorter.windows() if ahead else ():
                        for path in dict.fromkeys(ahead):
                            if path not in writing:
                                writing[path] = _begun(path, reading.accounting)
                                stack.callback(writing[path].leave)
                            writing[path].add(window)
        yield Replay(reading, sorter, hashes, writing)


def open_run(path: str | Path) -> Run:
    """Open flows that ``Run.write`` wrote, to look at or judge them again.

    Parameters
    ----------
    path : str or pathlib.Path
        ``.parquet``, which keeps everything; ``.ndjson`` or ``.csv``, without meta and accounting.

    Raises
    ------
    ClassifierError
        If the file cannot be read.
    """
    from classifier.report.writers import read_flows

    table, meta, accounting = read_flows(path)
    return Run(table, Accounting(accounting), meta=meta)


def _begun(path: str, accounting: Accounting) -> "Writing":
    from classifier.report.writers import Writing

    return Writing(path, accounting)


def _hashed_when_idle(reading: Reading) -> list[dict[str, str]]:
    reading.idle.wait()
    return descriptions(reading.sources)

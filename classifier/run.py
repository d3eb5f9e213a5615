"""``classify`` and what it returns: a run over captures, to look at, judge again and write."""

import hashlib
import ipaddress
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from classifier import __version__
from classifier.errors import CaptureError, ClassifierError, ResourceError, must_be
from classifier.pipeline import (
    Accounting,
    Options,
    Progress,
    Reading,
    expand_captures,
    make_options,
    registration_of,
)
from classifier.report.endpoints import endpoints
from classifier.tables import SCHEMA_VERSION
from classifier.wire import Source

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from classifier.detectors import Detector
    from classifier.model.learned import Scorer
    from classifier.policy import Policy
    from classifier.registry import Registry, Table
    from classifier.report.anonymize import Anonymizer
    from classifier.report.changes import Changes
    from classifier.report.impact import Impact
    from classifier.report.plots import Plots
    from classifier.report.sorting import Sorter
    from classifier.report.text import Explanation
    from classifier.simulate import ServiceTime, Simulation, Throttle

__all__ = ["Replay", "Run", "classify", "open_run", "replay"]

T = TypeVar("T")
R = TypeVar("R")

MOST_DISSECTED = 1000
PACKETS_OF_SEQUENCES = 30


class Run:
    """The flows of one or more captures, identified, looked up and judged.

    Made by ``classify`` and ``open_run``.

    Attributes
    ----------
    table : pyarrow.Table
        One row per flow, the columns of ``classifier.tables.COLUMNS``.
    accounting : Accounting
        Where every packet went.
    problems : tuple of ClassifierError
        Captures that could not be read, or only in part.
    """

    def __init__(
        self,
        table: "pa.Table",
        accounting: Accounting,
        *,
        sources: Sequence[Source] = (),
        options: Options | None = None,
        meta: dict[str, Any] | None = None,
        problems: Sequence[ClassifierError] = (),
    ) -> None:
        self.table = table
        self.accounting = accounting
        self.problems = tuple(problems)
        self._sources = tuple(sources)
        self._options = options
        self._meta = meta

    @cached_property
    def flows(self) -> "pd.DataFrame":
        """One row per flow, as pandas.DataFrame."""
        frame: pd.DataFrame = self.table.to_pandas()
        for column in ("vlan", "evidence"):
            frame[column] = [list(cell) for cell in frame[column]]
        return frame

    @cached_property
    def evidence(self) -> "pd.DataFrame":
        """One row per piece of evidence: flow_id, detector, strength, detail, packet."""
        import pyarrow as pa
        import pyarrow.compute as pc

        lists = self.table.column("evidence").combine_chunks()
        parents = pc.list_parent_indices(lists)
        fields = lists.flatten()
        ids = self.table.column("flow_id").combine_chunks().take(parents)
        names = ["detector", "strength", "detail", "packet"]
        columns = [ids, *(fields.field(name) for name in names)]
        frame: pd.DataFrame = pa.Table.from_arrays(columns, names=["flow_id", *names]).to_pandas()
        return frame

    @cached_property
    def features(self) -> "pd.DataFrame":
        """Features of the flows by ``flow_id``: ``classifier.model.FEATURES``; NaN where undefined.

        The captures are read again.

        Raises
        ------
        CaptureError
            If the captures cannot be read a second time.
        """
        import pandas as pd

        from classifier.featuring import feature_matrix
        from classifier.model import FEATURE_NAMES

        self._must_have_packets()
        matrix = feature_matrix(self._reading(), self.table)
        index = pd.Index(self.table.column("flow_id").to_numpy(), name="flow_id")
        return pd.DataFrame(matrix, index=index, columns=list(FEATURE_NAMES), copy=False)

    def xy(self) -> "tuple[pd.DataFrame, NDArray[np.int8], NDArray[np.object_]]":
        """Return what scikit-learn takes, of the flows that have a label.

        Returns
        -------
        X : pandas.DataFrame
            Rows of ``features``.
        y : ndarray of int8, shape (n,)
            1 where the label says VPN.
        groups : ndarray of object (str), shape (n,)
            Name of the capture: a split that puts one capture on both sides flatters the model.

        Raises
        ------
        ClassifierError
            If the run has no labels.
        CaptureError
            If the captures cannot be read a second time.
        """
        import numpy as np

        if "label_is_vpn" not in self.table.schema.names:
            raise ClassifierError(
                "this run has no labels", remedy="give labels= to classify to learn from it"
            )
        labels = self.table.column("label_is_vpn")
        known = labels.is_valid().to_numpy()
        y = labels.fill_null(False).to_numpy().astype(np.int8)
        groups = np.array(self.table.column("capture").to_pylist(), object)
        return self.features[known], y[known], groups[known]

    def sequences(self, n: int = 30) -> "NDArray[np.float32]":
        """Return the first packets with payload of each flow; the captures are read again.

        Parameters
        ----------
        n : int
            Packets for each flow, 1 to 30.

        Returns
        -------
        ndarray of float32, shape (n_flows, n, 3)
            Payload bytes, direction (1 from the originator, -1 from the responder) and seconds since
            the packet before; NaN beyond the flow's last packet.

        Raises
        ------
        CaptureError
            If the captures cannot be read a second time.
        """
        from classifier.featuring import sequence_array

        must_be("n", n, int, "a number of packets from 1 to 30", "sequences")
        if not 1 <= n <= PACKETS_OF_SEQUENCES:
            raise ClassifierError(
                f"n={n} is no number of packets",
                remedy=f"give one from 1 to {PACKETS_OF_SEQUENCES}",
            )
        self._must_have_packets()
        return sequence_array(self._reading(), self.table.num_rows, n)

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Schema version, options, library version, and hashes of what went in."""
        if self._meta is not None:
            return self._meta
        return _meta_of(self._sources, self._options or Options())

    def summary(self) -> "pd.DataFrame":
        """Return flows, packets and bytes by verdict, family and whether registered."""
        table = self.table
        frame: pd.DataFrame = table.select(["verdict", "family", "registered"]).to_pandas()
        for name in ("packets", "bytes"):
            frame[name] = (
                table.column(f"orig_{name}").to_numpy() + table.column(f"resp_{name}").to_numpy()
            )
        frame["flows"] = 1
        keys = ["verdict", "family", "registered"]
        summed: pd.DataFrame = frame.groupby(keys, as_index=False)[
            ["flows", "packets", "bytes"]
        ].sum()
        return summed

    def explain(self, flow_id: int) -> "Explanation":
        """Return why a flow got its verdict, with the packets behind it.

        Parameters
        ----------
        flow_id : int

        Returns
        -------
        Explanation
            Prints as text; evidence names packets as Wireshark counts them.

        Raises
        ------
        ClassifierError
            If there is no such flow.
        """
        from classifier.report.text import Explanation

        row = self._row(flow_id)
        frames = [item["packet"] for item in row["evidence"]]
        packets: list[dict[str, Any]] = []
        if frames and self._readable():
            packets = self._packet_rows(row, set(frames), with_payload=True)
        policy = self._options.policy if self._options else None
        return Explanation(row, packets, policy, self._registrations_around(row))

    def _registrations_around(self, row: Mapping[str, Any]) -> list[str]:
        """Return what the register says about a flow's endpoints beside what matched."""
        table = self._options.registry if self._options else None
        if table is None or self._options is None:
            return []
        from classifier.registry import client_is_orig, covering
        from classifier.report.register_text import covering_lines

        index = self.table.column("flow_id").index(row["flow_id"]).as_py()
        flows = endpoints(self.table.slice(index, 1).combine_chunks().to_batches()[0])
        client = "orig" if client_is_orig(flows, self._options.local)[0] else "resp"
        server = "resp" if client == "orig" else "orig"
        at = self._options.at_ns if self._options.at_ns is not None else row["first_ns"]
        lines = []
        for side, end in (("server", server), ("client", client)):
            around = covering(
                table,
                row[f"{end}_ip"],
                at=at,
                side=side,
                proto=row["proto"],
                port=row[f"{server}_port"],
                most=4,
            )
            lines += [f"{side} {row[f'{end}_ip']}: {line}" for line in covering_lines(around)]
        return lines

    def packets(self, flow_id: int) -> "pd.DataFrame":
        """Return a flow's packets; the captures are read again.

        Columns: frame, capture, ts_ns, direction (``orig`` or ``resp``), ip_bytes, payload_bytes,
        tcp_flags, seq.

        Raises
        ------
        ClassifierError
            If there is no such flow, or the captures cannot be read a second time.
        """
        import pandas as pd

        row = self._row(flow_id)
        self._must_be_readable()
        columns = ["frame", "capture", "ts_ns", "direction", "ip_bytes", "payload_bytes"]
        columns += ["tcp_flags", "seq"]
        return pd.DataFrame(self._packet_rows(row, None), columns=columns)

    def dissect(self, flow_id: int) -> list[Any]:
        """Return a flow's first 1,000 packets as pyshark packets (needs the tshark program).

        Raises
        ------
        ResourceError
            If tshark is not installed.
        ClassifierError
            If there is no such flow, or its capture is not a file.
        """
        from classifier.report.dissect import dissect_frames

        row = self._row(flow_id)
        self._must_be_readable()
        wanted: dict[str | Path, list[int]] = {}
        for packet in self._packet_rows(row, None)[:MOST_DISSECTED]:
            source = packet["source"]
            if not isinstance(source, str | Path):
                raise ResourceError(
                    "only captures that are files can be dissected",
                    path=packet["capture"],
                    remedy="write it to a file first",
                )
            wanted.setdefault(source, []).append(packet["frame"])
        found: list[Any] = []
        for source, frames in wanted.items():
            found += dissect_frames(Path(source), frames)
        return found

    def judge(
        self,
        policy: "Policy | str | Path | None" = None,
        registry: "Registry | Table | str | Path | None" = None,
        at: str | int | None = None,
    ) -> "Run":
        """Apply another policy, register or time to the same flows, without parsing again.

        Parameters
        ----------
        policy : Policy, name or path, optional
            The present one where left out.
        registry : Registry or path, optional
            The present registrations where left out.
        at : str or int, optional
            Look registrations up as they stood at this time, not at each flow's first packet.

        Returns
        -------
        Run

        Raises
        ------
        ClassifierError
            If an argument cannot be used, or ``at`` is given and there is no register.
        """
        from classifier.impact import rejudged
        from classifier.report.columns import REGISTRATION

        present = self._options or Options(local=self._local())
        if self._is_anonymized() and (registry is not None or at is not None):
            raise ClassifierError(
                "the addresses of this run are mapped, and no register knows them",
                remedy="judge the original run, then map that",
            )
        known = self._known_policy()
        chosen = make_options(
            registry=registry, policy=policy if policy is not None else known, at=at
        )
        options = replaced(present, policy=chosen.policy)
        if registry is not None:
            options = replaced(options, registry=chosen.registry)
        if at is not None:
            options = replaced(options, at_ns=chosen.at_ns)
            if options.registry is None:
                remedy = "give registry too"
                raise ClassifierError("there is no register to look up at a time", remedy=remedy)

        def registered(batch: "pa.RecordBatch") -> dict[str, Any]:
            if registry is None and at is None:
                return {name: batch.column(name) for name in REGISTRATION}
            return registration_of(endpoints(batch), options)

        run = Run(
            rejudged(self.table, options, registered),
            Accounting(self.accounting),
            sources=self._sources,
            options=options,
            problems=self.problems,
        )
        if self._meta is not None:
            changed = {"policy": _policy_meta(options.policy)}
            if options.registry is not None:
                changed["register"] = options.registry.hash  # type: ignore[assignment]
            run._meta = {**self._meta, **changed}
        return run

    def impact(
        self,
        labels: "str | Path | pd.DataFrame | None" = None,
        *,
        base_rates: Sequence[float] | None = None,
        stale_days: Sequence[float] = (7, 30, 90),
        cgnat: Sequence[float] = (0.1, 0.5),
    ) -> "Impact":
        """Return what the policy does to whom: counts, mistakes with intervals, and what if.

        Parameters
        ----------
        labels : path or DataFrame, optional
            Joined first; columns ``legitimate`` and ``holder`` tell mistakes apart.
        base_rates : sequence of float, optional
            Shares of VPNs to restate precision to; 10 % to 0.01 % where left out.
        stale_days : sequence of float
            Days by which the box's copy of the register is old; needs a register.
        cgnat : sequence of float
            Shares of inside addresses behind carrier-grade NAT, whose registrations do not match.

        Returns
        -------
        Impact
            Tables as attributes; prints as text; ``json()``; shown as HTML in notebooks.
        """
        from classifier.evaluation import label_columns
        from classifier.impact import impact_of

        options = self._options or Options(local=self._local(), policy=self._known_policy())
        table = self.table if labels is None else label_columns(self.table, labels)
        found = impact_of(table, options, base_rates=base_rates, stale_days=stale_days, cgnat=cgnat)
        name = found.policy or str((self.meta.get("policy") or {}).get("name", ""))
        return replaced(found, policy=name)

    @cached_property
    def plot(self) -> "Plots":
        """Plots: ``verdicts()``, ``decisions()``, ``base_rates()``, ``reliability()``, ``delays()``.

        Each returns a matplotlib Figure; needs the extra ``plot``.
        """
        from classifier.report.plots import Plots

        def judged() -> tuple[Any, Any]:
            from classifier.policy.impact import facts

            frame = facts(self.table)
            return frame["vpn_probability"].to_numpy(), frame["truth"].to_numpy()

        return Plots(self.impact, judged)

    def compare(self, other: "Run", names: tuple[str, str] | None = None) -> "Changes":
        """Return which flows another run judges otherwise.

        Parameters
        ----------
        other : Run
            Over the same captures, with another policy, register, model or time.
        names : (str, str), optional
            What the runs are called; their policies where left out.

        Returns
        -------
        Changes
            ``flows`` and ``summary`` as DataFrames; prints as text; ``json()``.
        """
        from classifier.report.changes import compare_tables

        must_be("other", other, Run, "a run", "compare", none=False)
        must_be("names", names, (tuple, list), "two names", "compare")
        if names is not None and [type(name) for name in names] != [str, str]:
            raise ClassifierError("names are not two texts", path="compare", remedy="give two")
        if names is None:
            one, two = (str((r.meta.get("policy") or {}).get("name", "")) for r in (self, other))
            names = (one, two)
        local = self._options.local if self._options else self._local()
        return compare_tables(self.table, other.table, names, local)

    def _local(self) -> tuple[str, ...] | None:
        """Return the inside prefixes that an opened run was made with."""
        given = (self._meta or {}).get("options", {}).get("local")
        return tuple(given) if isinstance(given, list) else None

    def _known_policy(self) -> "Policy | None":
        """Return the policy of the run; of an opened one, if it is built in and unchanged."""
        if self._options is not None:
            return self._options.policy
        from classifier.policy import builtin_policies

        digest = ((self._meta or {}).get("policy") or {}).get("sha256")
        return next((p for p in builtin_policies() if p.hash == digest), None)

    def simulate(
        self,
        *,
        cores: int = 1,
        service_time: "str | ServiceTime" = "constant:1.5us",
        flow_time: str = "0ns",
        link_bps: float | None = None,
        buffer: int | None = 1000,
        dispatch: str = "flow",
        throttle: "Throttle | None" = None,
        speed_up: float = 1.0,
        seed: int = 1,
    ) -> "Simulation":
        """Send the captures' packets through a model of the inspecting box (they are read again).

        Parameters
        ----------
        cores : int
        service_time : str or ServiceTime
            Of a packet: ``constant:TIME``, ``exponential:TIME`` (the mean), ``file:PATH`` (a text file of
            nanoseconds, drawn from) or ``measured`` (from this library on this machine).
        flow_time : str
            More for a flow's first packet, as ``20us``.
        link_bps : float, optional
            Bits per second of IP packets behind the box; None does not limit them.
        buffer : int, optional
            Packets that may wait for a core, and for the link; None sets no limit.
        dispatch : str
            ``flow`` keeps a flow's packets on one core, ``shared`` takes the next free one.
        throttle : Throttle, optional
            The token bucket that flows of verdict ``would_throttle`` pass.
        speed_up : float
            How much faster than the capture's clock packets arrive.
        seed : int
            Of drawn service times.

        Returns
        -------
        Simulation

        Raises
        ------
        CaptureError
            If the captures cannot be read again.
        ClassifierError
            If a setting cannot be used.

        Notes
        -----
        28 bytes of memory for each packet, and as much again while it runs.
        """
        from classifier import simulate as room

        self._must_be_readable()
        if isinstance(service_time, str):
            service_time = room.parse_service(service_time, flow_time)
        box = room.Box(cores, service_time, link_bps, buffer, dispatch, throttle)
        options, sources = self._options or Options(), list(self._sources)
        packets = room.packet_columns(sources, options)
        box = room.measured(box, sources, options)
        clients = room.client_numbers(self.table, options.local)
        return room.simulate(
            packets, self.table, box, clients=clients, speed_up=speed_up, seed=seed
        )

    def anonymized(self, key: "str | Path | bytes | Anonymizer") -> "Run":
        """Return the run with other addresses and names, as a key decides.

        Addresses are mapped prefix-preservingly (Crypto-PAn): two that share their first k bits
        share exactly as many afterwards. Server names, holders and numbers of registrations become
        keyed digests, words of evidence are left out, and Community IDs are of the mapped
        addresses. Verdicts stay, and no register can be looked up in any more.

        Parameters
        ----------
        key : path or bytes
            A file of 32 bytes, or of 64 hexadecimal digits; or the 32 bytes.

        Returns
        -------
        Run
            Without packets: these still hold the addresses.

        Raises
        ------
        ClassifierError
            If the key cannot be used, or the run is anonymised already.
        """
        from classifier.registry.sides import DEFAULT_LOCAL
        from classifier.report.anonymize import Anonymizer

        mapper = Anonymizer.open(key)
        if self._is_anonymized():
            raise ClassifierError(
                "the addresses of this run are mapped already", remedy="map the original run"
            )
        return Run(
            mapper.table(self.table),
            self.accounting,
            meta=mapper.meta(self.meta, DEFAULT_LOCAL),
            problems=self.problems,
        )

    def _is_anonymized(self) -> bool:
        return bool((self._meta or {}).get("anonymized"))

    def write(
        self,
        path: str | Path,
        *,
        keep_addresses: bool = False,
        anonymize: "str | Path | bytes | Anonymizer | None" = None,
        keep_payload: bool = False,
    ) -> None:
        """Write as ``.ndjson``, ``.parquet``, ``.csv``, ``.html`` or ``.pcapng``, by suffix.

        Parameters
        ----------
        path : path
            ``-`` is standard output. HTML is a report for people: summary, impact, plots, flows.
            pcapng are the packets of the captures, which are read again, with comments on the first
            frame of each flow and on those that evidence names.
        keep_addresses : bool
            Leave addresses, server names and holders in the report; the other formats do anyway.
        anonymize : path or bytes, optional
            Write `anonymized` rows, with the key of this file. A report shows the mapped addresses,
            where it would else number them; packets cannot be mapped.
        keep_payload : bool
            Write packets whole; else a pcapng holds their headers alone.

        Raises
        ------
        ClassifierError
            If the suffix is not known or the place cannot be written.
        """
        from classifier.report.page import write_page
        from classifier.report.writers import output_format, write_flows

        if output_format(path) == "pcapng":
            self._write_packets(path, keep_payload, anonymize)
            return
        if anonymize is not None:
            _not_both(keep_addresses)
            mapped = self.anonymized(anonymize)
            if output_format(path) != "html":
                mapped.write(path)
                return
            write_page(
                path,
                mapped.table,
                self.impact(),
                accounting=self.accounting,
                meta=mapped.meta,
                keep_addresses=True,
                local=mapped._local(),
            )
            return
        if output_format(path) != "html":
            write_flows(self.table, path, meta=self.meta, accounting=self.accounting)
            return
        write_page(
            path,
            self.table,
            self.impact(),
            accounting=self.accounting,
            meta=self.meta,
            keep_addresses=keep_addresses,
            local=self._options.local if self._options else self._local(),
        )

    def _write_packets(self, path: str | Path, keep_payload: bool, anonymize: object) -> None:
        from classifier.report.annotated import comments_of, write_annotated

        if anonymize is not None:
            raise ClassifierError(
                "packets hold addresses that a key does not reach",
                path=str(path),
                remedy="write flows with the key, or packets without",
            )
        self._must_be_readable()
        for source in self._sources:
            if isinstance(source, str | Path) and same_file(source, path):
                raise ResourceError(
                    "is one of the captures that are read", path=str(path), remedy="name another"
                )
        reading = self._reading()
        comments = comments_of(self.table, reading.packets())
        decapsulate = self._options is not None and self._options.decapsulate
        write_annotated(
            path, reading.opened, comments, keep_payload=keep_payload, decapsulate=decapsulate
        )

    def __repr__(self) -> str:
        """Return one line: flows and VPN flows."""
        vpn = sum(self.table.column("is_vpn").to_pylist())
        return f"<Run: {self.table.num_rows} flows, {vpn} VPN>"

    def _repr_html_(self) -> str:
        from classifier.report.html_repr import table_html

        return str(table_html(self.summary(), caption=repr(self)))

    def _row(self, flow_id: object) -> dict[str, Any]:
        import numpy as np
        import pyarrow.compute as pc

        index = -1
        if isinstance(flow_id, int | np.integer) and 0 <= flow_id < 1 << 63:
            index = pc.index(self.table.column("flow_id"), int(flow_id)).as_py()
        if index < 0:
            raise ClassifierError(
                f"there is no flow {flow_id!r}",
                remedy=f"flow ids go from 0 to {self.table.num_rows - 1}"
                if self.table.num_rows
                else "the captures hold no flows",
            )
        row: dict[str, Any] = self.table.slice(index, 1).to_pylist()[0]
        return row

    def _readable(self) -> bool:
        return bool(self._sources) and all(
            isinstance(s, bytes | bytearray) or (isinstance(s, str | Path) and Path(s).is_file())
            for s in self._sources
        )

    def _must_be_readable(self) -> None:
        if not self._readable():
            raise CaptureError(
                "the captures of this run cannot be read a second time",
                remedy="classify files, not streams, to look at packets",
            )

    def _must_have_packets(self) -> None:
        if not self._sources:
            raise CaptureError(
                "features are made from packets, and this run holds flows alone",
                remedy="classify the captures again",
            )
        self._must_be_readable()

    def _reading(self) -> Reading:
        return Reading(list(self._sources), self._options or Options())

    def _packet_rows(
        self, row: dict[str, Any], frames: set[int] | None, *, with_payload: bool = False
    ) -> list[dict[str, Any]]:
        """Read the captures again and pick a flow's packets, or those frames of it."""
        reading = self._reading()
        left = row["orig_packets"] + row["resp_packets"]
        found: list[dict[str, Any]] = []
        orig_ip, orig_port = int(ipaddress.ip_address(row["orig_ip"])), row["orig_port"]
        for packets, buffer in reading.packets():
            for p in packets[packets["flow_id"] == row["flow_id"]]:
                left -= 1
                frame = int(p["frame"])
                if frames is not None and frame not in frames:
                    continue
                source_ip = int(p["src_hi"]) << 64 | int(p["src_lo"])
                from_orig = source_ip == orig_ip and int(p["src_port"]) == orig_port
                item: dict[str, Any] = {
                    "frame": frame,
                    "capture": reading.captures[int(p["capture"])],
                    "source": reading.opened[int(p["capture"])],
                    "ts_ns": int(p["ts_ns"]),
                    "direction": "orig" if from_orig else "resp",
                }
                for name in ("ip_bytes", "payload_bytes", "tcp_flags", "seq"):
                    item[name] = int(p[name])
                if with_payload:
                    item["payload"] = buffer[p["payload_start"] : p["payload_stop"]].tobytes()
                found.append(item)
            if left <= 0:
                break
        return found


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
    )
    with replay(sources, options, progress) as rows:
        run = rows.run()
    for problem in run.problems:
        warnings.warn(str(problem), stacklevel=2)
    if labels is not None:
        from classifier.evaluation import label_columns

        run.table = label_columns(run.table, labels)
    return run


@dataclass(frozen=True, slots=True)
class Replay:
    """The rows of captures in the order of ``flow_id``, however many: sorted on disk if need be."""

    reading: Reading
    sorter: "Sorter"
    hashes: "Future[list[dict[str, str]]] | None" = None

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
            _not_both(keep_addresses)
        meta: dict[str, Any] = {}
        if str(path).endswith(".parquet"):  # hashing reads the captures again
            described = self.hashes.result() if self.hashes else None
            meta = _meta_of(self.reading.sources, self.reading.options, described)
        rows = self.batches()
        if anonymize is not None:
            from classifier.registry.sides import DEFAULT_LOCAL

            rows = (anonymize.rows(batch) for batch in rows)
            meta = meta and anonymize.meta(meta, DEFAULT_LOCAL)
        write_flows(rows, path, format, meta=meta, accounting=self.reading.accounting)


@contextmanager
def replay(
    sources: list[Source],
    options: Options,
    progress: bool | Progress | None = None,
    *,
    hashed: bool = False,
) -> Iterator[Replay]:
    """Read captures with options already made; nothing is warned about.

    With ``hashed`` captures are hashed meanwhile, on another core, for ``write`` to Parquet.

    Yields
    ------
    Replay
        Its rows are there until the context ends.
    """
    from classifier.report.sorting import Sorter

    with Sorter() as sorter:
        with compiling_shown(progress), ProgressBar(progress) as bar:
            reading = Reading(sources, options, bar)
            hashes = _in_thread(_descriptions, reading.sources) if hashed else None
            for batch in reading.rows():
                sorter.add(batch)
        yield Replay(reading, sorter, hashes)


@contextmanager
def compiling_shown(progress: bool | Progress | None) -> Iterator[None]:
    """Name the kernels that are compiled, where somebody watches; the line goes again."""
    from classifier._jit import notify

    if progress is False or not _is_watched():
        yield
        return
    erase = "\r\033[2K" if sys.stderr.isatty() else ""

    def show(name: str) -> None:
        sys.stderr.write(f"{erase}compiling {name}, once on this machine" + ("" if erase else "\n"))
        sys.stderr.flush()

    notify(show)
    try:
        yield
    finally:
        notify(None)
        sys.stderr.write(erase)


class ProgressBar:
    """A progress callback that draws with tqdm, in a terminal or a notebook, after a second."""

    def __init__(self, wanted: bool | Progress | None) -> None:
        self._wanted = wanted
        self._bar: Any = None

    def __enter__(self) -> Progress | None:
        """Return the function to call with bytes done and bytes in all."""
        if callable(self._wanted):
            return self._wanted
        if self._wanted is False or (self._wanted is None and not _is_watched()):
            return None
        return self._step

    def __exit__(self, *_: object) -> None:
        """Finish the bar."""
        if self._bar is not None:
            self._bar.close()

    def _step(self, done: int, total: int) -> None:
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=total or None,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                desc="reading",
                delay=1,
                leave=False,
                file=sys.stderr,
            )
        self._bar.update(done - self._bar.n)


def _is_watched() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules


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


def same_file(one: str | Path, other: str | Path) -> bool:
    """Return whether two paths are the same file, which is there."""
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def _not_both(keep_addresses: bool) -> None:
    if keep_addresses:
        raise ClassifierError(
            "addresses can be kept or mapped, not both",
            remedy="leave out keep_addresses, or the key",
        )


def _in_thread(function: "Callable[[T], R]", argument: "T") -> "Future[R]":
    """Call a function in a thread that does not keep the process from ending."""
    from concurrent.futures import Future

    future: Future[R] = Future()

    def call() -> None:
        try:
            future.set_result(function(argument))
        except OSError as error:  # the file is gone by now, or cannot be read
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


def _descriptions(sources: Sequence[Source]) -> list[dict[str, str]]:
    return [_described(source) for source in sources]


def _meta_of(
    sources: Sequence[Source],
    options: Options,
    captures: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "library_version": __version__,
        "options": options.described(),
        "captures": captures if captures is not None else _descriptions(sources),
        "register": options.registry.hash if options.registry is not None else None,
        "policy": _policy_meta(options.policy),
        "model": _model_meta(options.model),
        "probabilities": "provisional",
    }


def _policy_meta(policy: "Policy | None") -> dict[str, str] | None:
    return None if policy is None else {"name": policy.name, "sha256": policy.hash}


def _model_meta(model: "Scorer | None") -> dict[str, Any] | None:
    """Return what scored the flows: a stored model's name and digest, or an estimator's type."""
    if model is None:
        return None
    name = getattr(model, "name", type(model).__name__)
    return {"name": name, "sha256": getattr(model, "card", {}).get("sha256")}


def _described(source: Source) -> dict[str, str]:
    """Name and hash a capture; a stream is gone by now."""
    if isinstance(source, bytes | bytearray | memoryview):
        return {"name": "<bytes>", "sha256": hashlib.sha256(source).hexdigest()}
    if isinstance(source, str | Path) and Path(source).is_file():
        with Path(source).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"name": Path(source).name, "sha256": digest}
    return {"name": "<stream>", "sha256": ""}

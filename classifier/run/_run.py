"""A run over captures, to look at, judge again and write."""

from collections.abc import Sequence
from dataclasses import replace as replaced
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifier.errors import ClassifierError, ResourceError, must_be
from classifier.pipeline import Accounting, Options, make_options, registration_of
from classifier.report.endpoints import endpoints
from classifier.run._files import not_both, same_file
from classifier.run._meta import policy_meta
from classifier.run._packets import FlowPackets

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from classifier.policy import Policy
    from classifier.registry import Registry, Table
    from classifier.report.anonymize import Anonymizer
    from classifier.report.changes import Changes
    from classifier.report.impact import Impact
    from classifier.report.labels import Labels
    from classifier.report.plots import Plots
    from classifier.simulate import ServiceTime, Simulation, Throttle

__all__ = ["Run"]


class Run(FlowPackets):
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
            registry=registry if registry is not None else present.registry,
            policy=policy if policy is not None else known,
            at=at,
        )
        options = replaced(present, policy=chosen.policy)
        if registry is not None:
            options = replaced(options, registry=chosen.registry)
        if at is not None:
            options = replaced(options, at_ns=chosen.at_ns)

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
            changed = {"policy": policy_meta(options.policy)}
            if options.registry is not None:
                changed["register"] = options.registry.hash  # type: ignore[assignment]
            run._meta = {**self._meta, **changed}
        return run

    def impact(
        self,
        labels: "Labels | str | Path | pd.DataFrame | None" = None,
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
        from classifier.registry import ROUTED_LOCAL
        from classifier.report.anonymize import Anonymizer

        mapper = Anonymizer.open(key)
        if self._is_anonymized():
            raise ClassifierError(
                "the addresses of this run are mapped already", remedy="map the original run"
            )
        return Run(
            mapper.table(self.table),
            self.accounting,
            meta=mapper.meta(self.meta, ROUTED_LOCAL),
            problems=self.problems,
        )

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
            not_both(keep_addresses)
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

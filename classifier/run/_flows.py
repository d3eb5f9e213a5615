"""What a run holds in memory: its flows, what is known of them, and what went in."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from classifier.errors import ClassifierError
from classifier.pipeline import Accounting, Options
from classifier.run._meta import meta_of
from classifier.wire import Source

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from classifier.policy import Policy

__all__ = ["FlowRows"]


class FlowRows:
    """Flows with accounting and meta; the base of ``Run``."""

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

    def __getstate__(self) -> dict[str, Any]:
        """Go to other processes without plots, which are made from the rest."""
        return {name: value for name, value in vars(self).items() if name != "plot"}

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
    def meta(self) -> dict[str, Any]:
        """Schema version, options, library version, and hashes of what went in."""
        if self._meta is not None:
            return self._meta
        return meta_of(self._sources, self._options or Options())

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

    def _is_anonymized(self) -> bool:
        return bool((self._meta or {}).get("anonymized"))

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

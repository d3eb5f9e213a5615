"""Several written runs as one."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from classifier.errors import ClassifierError
from classifier.pipeline import Accounting
from classifier.run._run import Run

__all__ = ["join_runs"]


def join_runs(runs: Sequence[Run]) -> Run:
    """Return the flows of several runs as one run, one after the other.

    Parameters
    ----------
    runs : sequence of Run
        One at least, of different captures.

    Raises
    ------
    ClassifierError
        If they were judged by different policies, or the same address need not mean the same end.
    """
    import pyarrow as pa

    first = runs[0]
    for said, facts in (
        ("judged by different policies", [run.meta.get("policy") for run in runs]),
        ("made with different inside networks or keys", [_ends(run) for run in runs]),
    ):
        if any(fact != facts[0] for fact in facts):
            raise ClassifierError(f"the runs were {said}", remedy="replay all of them alike")
    tables, offset = [], 0
    for run in runs:
        tables.append(_shifted(run.table, offset))
        offset += run.table.num_rows
    try:
        table = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowTypeError as error:
        problem = "the runs have label columns of different types"
        raise ClassifierError(problem, remedy="replay all of them alike") from error
    counts = Counter[str]()
    for run in runs:
        counts.update(run.accounting)
    captures = [capture for run in runs for capture in run.meta.get("captures", [])]
    problems = [problem for run in runs for problem in run.problems]
    meta = {**first.meta, "captures": captures}
    return Run(table, Accounting(counts), options=first._options, meta=meta, problems=problems)


def _ends(run: Run) -> tuple[object, bool]:
    return run.meta.get("options", {}).get("local"), bool(run.meta.get("anonymized"))


def _shifted(table: Any, offset: int) -> Any:
    """Return rows numbered on from those before."""
    import pyarrow as pa
    import pyarrow.compute as pc

    at = {name: table.schema.get_field_index(name) for name in ("flow_id", "parent_flow_id")}
    ids, parents = (table.column(index) for index in at.values())
    moved = pc.if_else(pc.less(parents, 0), parents, pc.add(parents, offset))
    table = table.set_column(at["flow_id"], pa.field("flow_id", ids.type), pc.add(ids, offset))
    field = pa.field("parent_flow_id", parents.type)
    return table.set_column(at["parent_flow_id"], field, moved)

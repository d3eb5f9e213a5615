"""Record batches -> NDJSON, a column at a time.

How this works: every column becomes a column of JSON texts, Arrow joins each row's texts with the
keys between them, and the joined column's data buffer *is* the file. Nulls are an empty text, or
an empty list where the column holds lists.
"""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classifier.report._escape import json_column

__all__ = ["ndjson"]

_NULL = '""'


def ndjson(batch: pa.RecordBatch) -> pa.Buffer | bytes:
    """Return one line of JSON for each row, keys in the order of the columns.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Its text must stay below 2 GiB: some hundred thousand rows.
    """
    if not batch.num_rows or not batch.num_columns:
        return b"{}\n" * batch.num_rows
    parts: list[object] = []
    before = "{"
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        texts, quoted = _texts(column)
        quote = '"' if quoted else ""
        parts += [f"{before}{json.dumps(name)}:{quote}", texts]
        before = quote + ","
    parts.append(before.removesuffix(",") + "}\n")
    lines = pc.binary_join_element_wise(*parts, "")
    _, offsets, data = lines.buffers()
    ends = np.frombuffer(offsets, np.int32, lines.offset + len(lines) + 1)
    start, stop = int(ends[lines.offset]), int(ends[lines.offset + len(lines)])
    return data.slice(start, stop - start)


def _texts(column: pa.Array) -> tuple[pa.StringArray, bool]:
    """Return a column as JSON texts, and whether they still lack their quotes."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list_texts(column), False
    if pa.types.is_struct(kind):
        return _struct_texts(column), False
    if pa.types.is_floating(kind):
        return pa.array([_decimal(x) for x in column.to_pylist()], pa.string()), False
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return pc.fill_null(pc.cast(column, pa.string()), _NULL), False
    texts = pc.fill_null(pc.cast(column, pa.string()), "")
    return json_column(texts), True


def _decimal(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return _NULL
    return f"{value + 0.0:.6f}"  # the sum turns -0.0 into 0.0


def _whole(column: pa.Array) -> pa.StringArray:
    texts, quoted = _texts(column)
    return pc.binary_join_element_wise('"', texts, '"', "") if quoted else texts


def _list_texts(column: pa.Array) -> pa.StringArray:
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    lists = pa.ListArray.from_arrays(pa.array(offsets), _whole(column.flatten()))
    return pc.binary_join_element_wise("[", pc.binary_join(lists, ","), "]", "")


def _struct_texts(column: pa.StructArray) -> pa.StringArray:
    fields = column.flatten()
    if not fields:
        return pa.array(["{}"] * len(column), pa.string())
    parts: list[object] = []
    before = "{"
    for index, field in enumerate(fields):
        texts, quoted = _texts(field)
        quote = '"' if quoted else ""
        parts += [f"{before}{json.dumps(column.type.field(index).name)}:{quote}", texts]
        before = quote + ","
    return pc.binary_join_element_wise(*parts, before.removesuffix(",") + "}", "")

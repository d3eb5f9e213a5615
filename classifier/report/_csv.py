"""Record batches -> columns fit for CSV, and back as far as CSV allows."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classifier.report._escape import csv_column, from_csv_column

__all__ = ["flat", "flat_schema", "unflat"]


def flat_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of ``flat``: lists and texts are text, numbers stay."""
    return pa.schema([pa.field(f.name, _flat_type(f.type)) for f in schema])


def _flat_type(kind: pa.DataType) -> pa.DataType:
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return kind if plain else pa.string()


def flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch of numbers and texts; no text is a formula, none holds a control character.

    A list of numbers is joined by spaces. Evidence is ``detector strength @packet: detail``,
    joined by `` | ``.
    """
    columns = [_flat(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=flat_schema(batch.schema))


def _flat(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_floating(kind):
        return pc.round(column, 6)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column
    if pa.types.is_list(kind):
        return csv_column(_joined(column))
    return csv_column(pc.fill_null(pc.cast(column, pa.string()), ""))


def _joined(column: pa.ListArray) -> pa.StringArray:
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    items = column.flatten()
    separator = " "
    if pa.types.is_struct(items.type):
        texts = [pc.fill_null(pc.cast(field, pa.string()), "") for field in items.flatten()]
        names = [field.name for field in items.type]
        if names == ["detector", "strength", "detail", "packet"]:
            detector, strength, detail, packet = texts
            texts = [detector, " ", strength, " @", packet, ": ", detail, ""]
        else:
            texts.append(" ")
        items, separator = pc.binary_join_element_wise(*texts), " | "
    items = pc.fill_null(pc.cast(items, pa.string()), "")
    lists = pa.ListArray.from_arrays(pa.array(offsets), items)
    return pc.binary_join(lists, separator)


def unflat(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return what was read from CSV with the types of ``schema``; evidence comes back empty."""
    for index, name in enumerate(table.schema.names):
        column = table.column(index).combine_chunks()
        if pa.types.is_string(column.type):
            column = from_csv_column(pc.fill_null(column, ""))
        wanted = schema.field(name).type if name in schema.names else column.type
        if pa.types.is_list(wanted):
            column = _split(column, wanted)
        table = table.set_column(index, name, column)
    return table


def _split(column: pa.StringArray, wanted: pa.ListType) -> pa.Array:
    if not pa.types.is_integer(wanted.value_type):
        return pa.array([[]] * len(column), wanted)
    words = pc.utf8_split_whitespace(column)
    filled = pc.if_else(pc.equal(column, ""), pa.scalar([], words.type), words)
    return pc.cast(filled, wanted)

"""Writes ``columns.md`` from the columns themselves: ``python docs/make_columns.py``."""

from pathlib import Path

from classifier.tables import COLUMNS, FAMILIES, SCHEMA_VERSION, Kind

PAGE = Path(__file__).parent / "columns.md"

HEAD = f"""# Columns

The flow columns: keys of NDJSON, columns of CSV, Parquet, `run.table` and `run.flows`, in this order. Schema version
{SCHEMA_VERSION}; columns are only ever added. Made from `classifier.tables.COLUMNS` by `docs/make_columns.py`.

| column | type | meaning |
|---|---|---|
"""

FAMILIES_HEAD = """
With `labels`, the columns `label_is_vpn`, `label_family` and `label_<name>` stand behind them.

## Families

The words of `family` by their `kind`, whether or not a detector for them is there yet. In policies, expectations and
labels they are compared ignoring case, `-` and `_`.

| kind | families |
|---|---|
"""


def page() -> str:
    """Return the whole page."""
    rows = [f"| `{column.name}` | {column.type} | {column.meaning} |" for column in COLUMNS]
    kinds = [kind for kind in Kind if kind]
    families = [
        f"| `{kind}` | {' '.join(name for name, k in FAMILIES.items() if k is kind)} |"
        for kind in kinds
    ]
    return HEAD + "\n".join(rows) + "\n" + FAMILIES_HEAD + "\n".join(families) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

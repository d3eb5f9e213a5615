"""Verdicts and what led to them as Arrow columns, text, NDJSON, CSV, Parquet and HTML."""

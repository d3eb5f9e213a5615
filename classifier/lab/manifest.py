"""Writes manifests as TOML: of one run, and of a set of runs."""

import datetime
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["digest", "moment", "toml"]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_value, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no place in a manifest")


def _key(name: str) -> str:
    plain = all(letter.isalnum() or letter in "-_" for letter in name) and name.isascii()
    return name if plain and name else json.dumps(name)


def toml(facts: Mapping[str, object], prefix: str = "") -> str:
    """Return the facts as TOML: plain values first, then tables, then arrays of tables.

    Parameters
    ----------
    facts : mapping of str to object
        Text, numbers, booleans, lists of these, mappings, and lists of mappings.
    prefix : str
        Of the table's own name, such as ``"run."``.
    """
    plain, tables = [], []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            tables.append(f"\n[{prefix}{_key(name)}]\n{toml(value, f'{prefix}{_key(name)}.')}")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            for row in value:
                inner = toml(row, f"{prefix}{_key(name)}.")
                tables.append(f"\n[[{prefix}{_key(name)}]]\n{inner}")
        else:
            plain.append(f"{_key(name)} = {_value(value)}\n")
    return "".join(plain) + "".join(tables)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def moment(seconds: float) -> str:
    """Return a time since 1970 as ISO 8601, UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def machine() -> dict[str, str]:
    """Return what ran everything: kernel release, machine and Python version."""
    names = platform.uname()
    return {
        "kernel": f"{names.system} {names.release.partition('-')[0]}",
        "machine": names.machine,
        "python": platform.python_version(),
    }

"""Manifests are TOML that says what was put in."""

import tomllib
from pathlib import Path

import pytest

from classifier.lab.manifest import digest, machine, moment, toml

FACTS = {
    "name": 'with "quotes", \\ and\nlines',
    "seed": 7,
    "loss": 0.015,
    "nat": True,
    "works": ["pages", "typing"],
    "empty": [],
    "software": {"libc6:amd64": "2.36", "openvpn": "2.6.14"},
    "conditions": {"delay_ms": 10.5},
    "file": [{"name": "a", "size": 1}, {"name": "b", "size": 2}],
}


def test_what_was_written_is_read_again() -> None:
    assert tomllib.loads(toml(FACTS)) == FACTS


def test_a_value_without_a_place_in_toml_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no place"):
        toml({"raw": {1, 2}})


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert digest(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")


def test_moment_is_utc() -> None:
    assert moment(0) == "1970-01-01T00:00:00+00:00"


def test_machine_names_no_host() -> None:
    assert set(machine()) == {"kernel", "machine", "python"}

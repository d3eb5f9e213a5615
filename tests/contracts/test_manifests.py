"""Data sets are complete: each manifest has all its fields, and the files fit it and each other."""

import csv
import datetime
import importlib
import ipaddress
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from classifier import datasets, resources

MANIFESTS = sorted(resources.locate("datasets").glob("*/manifest.toml"))
FIELDS = {"name", "title", "licence", "citation", "source", "capture_point", "labels_by"}
FIELDS |= {"period_start", "period_end", "removed", "gaps", "software", "file"}
REGISTER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
# Ranges that belong to nobody: private, shared, benchmarking, documentation.
NOBODYS = [
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "100.64.0.0/10", "192.168.0.0/16", "198.18.0.0/15", "192.0.2.0/24"),
        *("198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "fe80::/10", "ff02::/16"),
    )
]


def is_nobodys(text: str) -> bool:
    network = ipaddress.ip_network(text)
    return any(
        network.version == range_.version and network.subnet_of(range_)  # type: ignore[arg-type]
        for range_ in NOBODYS
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_manifest_has_every_field_and_true_digests(path: Path) -> None:
    manifest = tomllib.loads(path.read_text(encoding="utf-8"))
    assert manifest.keys() >= FIELDS
    assert manifest["name"] == path.parent.name
    assert datasets.load(manifest["name"])
    named = {file["name"] for file in manifest["file"]} | {"manifest.toml"}
    assert {entry.name for entry in path.parent.iterdir()} == named


def test_data_folders_are_not_packages() -> None:
    assert not list(resources.locate("datasets").rglob("__init__.py"))


def test_demo_is_small_enough_to_ship() -> None:
    demo = datasets.demo()
    assert demo.capture.stat().st_size < 1_000_000
    assert sum(path.stat().st_size for path in demo.capture.parent.iterdir()) < 4_000_000


def test_demo_register_has_20000_entries_of_nobody() -> None:
    path = datasets.demo().register
    assert path.read_text(encoding="utf-8").partition("\n")[0] == REGISTER
    entries = rows(path)
    assert len(entries) == len({entry["registration_id"] for entry in entries}) == 20_000
    for entry in entries:
        assert is_nobodys(entry["prefix"])
        assert not entry["valid_to"] or entry["valid_from"] < entry["valid_to"]
    assert {entry["status"] for entry in entries} == {
        *("active", "pending", "rejected", "revoked", "expired")
    }
    assert {entry["side"] for entry in entries} == {"client", "server", "either"}


def test_demo_labels_name_only_addresses_of_nobody() -> None:
    labels = rows(datasets.demo().labels)
    assert {row["path"] for row in labels} == {datasets.demo().capture.name}
    assert all(is_nobodys(row[side]) for row in labels for side in ("src", "dst"))
    assert {row["family"] for row in labels} == {"", "openvpn", "wireguard", "ipsec"}
    assert all((row["is_vpn"] == "1") == bool(row["family"]) for row in labels)


def test_demo_vpn_servers_are_registered_expired_and_unknown() -> None:
    manifest = tomllib.loads(
        (datasets.demo().capture.parent / "manifest.toml").read_text(encoding="utf-8")
    )
    day = datetime.datetime.fromisoformat(manifest["period_start"]).date().isoformat()
    entries = rows(datasets.demo().register)
    exact = {entry["prefix"]: entry for entry in entries}
    servers = {row["dst"] for row in rows(datasets.demo().labels) if row["is_vpn"] == "1"}
    known = {server: exact[server] for server in servers if server in exact}
    active = [entry for entry in known.values() if entry["status"] == "active"]
    assert any(entry["valid_from"] <= day < entry["valid_to"] for entry in active)
    assert any(entry["valid_to"] <= day for entry in active)
    assert any(entry["valid_from"] > day for entry in active)
    assert servers - known.keys()


def test_demo_policy_has_rules_for_all_four_verdicts() -> None:
    policy = datasets.demo().policy.read_text(encoding="utf-8")
    verdicts = set(re.findall(r'^verdict = "(\w+)"$', policy, re.MULTILINE))
    assert verdicts == {"allow", "flag", "would_throttle", "would_block"}


def test_demo_register_and_policy_are_what_the_recipe_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipes = Path(__file__).parents[2] / "datasets" / "recipes"
    monkeypatch.syspath_prepend(str(recipes))
    demo = importlib.import_module("demo")
    register = importlib.import_module("register")
    folder = datasets.demo().capture.parent
    manifest = tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))
    day = datetime.datetime.fromisoformat(manifest["period_start"]).date()
    made = register.make(demo.REGISTER_ROWS, manifest["seed"], day, demo.own_rows(day))
    assert register.text(made) == datasets.demo().register.read_text(encoding="utf-8")
    assert datasets.demo().policy.read_text(encoding="utf-8") == demo.POLICY


def test_each_conformance_capture_has_a_case_a_readme_and_labels() -> None:
    root = Path(__file__).parents[2]
    listed = subprocess.run(
        [sys.executable, str(root / "datasets" / "recipes" / "conformance.py"), "--list"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    for case in listed:
        folder = root / "tests" / "conformance" / "default" / case
        assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {case}\n")
        assert rows(folder / "labels.csv")
        assert 0 < (folder / "capture.pcap").stat().st_size < 40_000

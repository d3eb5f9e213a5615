"""The same captures through the library and through tshark: names, JA3, JA4 and HASSH of flows."""

import importlib.util
import ipaddress
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import captures
import pytest

from classifier.detectors.applications import fingerprints
from classifier.errors import CaptureError
from classifier.pipeline import Reading, expand_captures, make_options

_SPEC = importlib.util.spec_from_file_location(
    "tshark_hellos", Path(__file__).with_name("tshark_hellos.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
tshark = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tshark)

pytestmark = [pytest.mark.tshark, pytest.mark.slow]

FIELDS = ("server_name", "ja3", "ja4", "hassh", "hassh_server")


def address(high: int, low: int, version: int) -> str:
    if version == 4:
        return str(ipaddress.IPv4Address(low))
    return str(ipaddress.IPv6Address(high << 64 | low))


def ours(path: Path) -> dict[Any, list[dict[str, str]]]:
    """Return what flows say, by endpoints and protocol."""
    found: dict[Any, list[dict[str, str]]] = {}
    try:
        batches = list(Reading(expand_captures([path]), make_options()).batches())
    except CaptureError:
        return {}
    for batch in batches:
        said = fingerprints(batch)
        for row, f in enumerate(batch.flows):
            ends = (
                (
                    address(int(f[f"{s}_hi"]), int(f[f"{s}_lo"]), f["ip_version"]),
                    int(f[f"{s}_port"]),
                )
                for s in ("orig", "resp")
            )
            texts = {name: getattr(said, name)[row] for name in FIELDS}
            found.setdefault((frozenset(ends), int(f["proto"])), []).append(texts)
    return found


def compare(mine: dict[Any, list[dict[str, str]]], theirs: list[Any]) -> Counter[str]:
    """Count, per field, flows on which both agree, differ, or only one says something."""
    count: Counter[str] = Counter()
    said: dict[Any, dict[str, set[str]]] = {}
    for seen in theirs:
        texts = said.setdefault((seen.endpoints, seen.proto), {name: set() for name in FIELDS})
        for name in FIELDS:
            if getattr(seen, name):
                texts[name].add(getattr(seen, name))
    for key, texts in said.items():
        for name in FIELDS:
            own = {flow[name] for flow in mine.get(key, []) if flow[name]}
            if own and texts[name]:
                count[f"{name} {'same' if own <= texts[name] else 'different'}"] += 1
            elif texts[name]:
                count[f"{name} missing"] += 1
    return count


@pytest.mark.parametrize("kind", ["ordinary", "vpn", "malformed"])
def test_tshark_reads_the_same_hellos_in_shared_captures(kind: str) -> None:
    program = captures.program("tshark")
    paths = captures.shared(kind)
    count: Counter[str] = Counter()
    different = []
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda path: tshark.read(program, str(path)), paths)
        for path, theirs in zip(paths, answers, strict=True):
            if not theirs:
                continue
            counted = compare(ours(path), theirs)
            different += [f"{path.name}: {what}" for what in counted if "different" in what]
            count += counted
    assert not different, "\n".join(different)
    if kind == "ordinary":
        assert count["server_name same"] > 10 * count["server_name missing"], count
        assert count["ja4 same"] > 5 * count["ja4 missing"], count

"""Scenarios are chosen by name, those that cannot run are skipped visibly, and sets are read."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from classifier import cli
from classifier.errors import LabError
from classifier.lab import host, stage
from classifier.lab.conditions import Conditions
from classifier.lab.labels import UDP, Claim, FiveTuple, Seen
from classifier.lab.make import Job, jobs_of_set, listing, make
from classifier.lab.stage import Scenario, Stage, Ways, scenario, select
from classifier.lab.worker import Play, check
from classifier.lab.workloads import Report


def nothing(made: Stage) -> Iterator[Ways]:
    yield None


def one_of(*programs: str) -> Scenario:
    return Scenario("nothing-at-all", "Does nothing at all", nothing, programs)


def test_list_has_one_line_for_each_scenario_the_name_first() -> None:
    lines = list(listing())
    known = stage.load()
    assert [line.split()[0] for line in lines] == list(known)
    assert {"wireguard-udp", "openvpn-udp-plain", "https-tls13"} <= set(known)


def test_scenarios_are_chosen_by_name_and_by_beginning() -> None:
    chosen = [one.name for one in select(["wireguard-udp", "openvpn-udp*"])]
    assert chosen[0] == "wireguard-udp"
    assert len(chosen) > 4
    assert all(name.startswith("openvpn-udp") for name in chosen[1:])
    assert len(select([])) == len(stage.load())


def test_unknown_scenario_is_an_error_with_a_remedy() -> None:
    with pytest.raises(LabError, match="no-such: there is no such scenario; classifier lab list"):
        select(["no-such"])


@pytest.mark.parametrize("name", ["Upper-case", "nodash", "", "with space-x"])
def test_names_outside_the_rule_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="is no scenario name"):
        scenario(name, "shows something")


def test_two_scenarios_of_one_name_are_refused() -> None:
    with pytest.raises(LabError, match="two scenarios have the name 'wireguard-udp'"):
        select([]) and scenario("wireguard-udp", "again")(nothing)


def test_missing_software_is_named_with_its_package() -> None:
    lacking = one_of("sh", "no-such-program:its-package", "no-such-other")
    assert lacking.lacks() == "apt-get install its-package no-such-other"
    assert "put no-such-program into a folder of PATH" in one_of("no-such-program:").lacks()
    assert one_of("sh:dash").lacks() == ""


def test_a_scenario_whose_software_is_missing_is_skipped_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classifier.lab.make.require", lambda: None)
    told: list[str] = []
    jobs = [Job(one_of("no-such-program:its-package"), seed) for seed in (1, 2)]
    made = make(jobs, tmp_path, tell=told.append)
    assert made.skipped == {"nothing-at-all": "apt-get install its-package"}
    assert told == ["nothing-at-all: skipped: apt-get install its-package"]


def test_without_root_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["lab", "make", "wireguard-udp", "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "lab: the laboratory needs network namespaces; run it as root on Linux\n"
    assert not (tmp_path / "out").exists()


def test_elsewhere_than_on_linux_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(LabError, match="run it as root on Linux"):
        host.require()


def test_set_names_scenarios_and_seeds(tmp_path: Path) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(
        '[[run]]\nscenario = "wireguard-udp"\nseeds = [1, 5]\n'
        '[[run]]\nscenario = "redis-plain"\nseed = 3\n'
    )
    names = [job.name for job in jobs_of_set(path)]
    assert names == ["wireguard-udp-1", "wireguard-udp-5", "redis-plain-3"]


@pytest.mark.parametrize("text", ["", "run = 1", '[[run]]\nscenario = "x"', "not toml ["])
def test_a_set_that_cannot_be_read_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(text)
    with pytest.raises(LabError, match="no set of runs"):
        jobs_of_set(path)


CLAIM = Claim(UDP, "192.0.2.1", 1194, 1, "openvpn", "openvpn")
FLOW = FiveTuple(UDP, "10.0.0.1", 40000, "192.0.2.1", 1194)


def played(carried: int) -> Play:
    report = Report(carried // 2, carried // 2, 1, ())
    inner = frozenset({"10.200.0.1"})
    return Play(Conditions(), (CLAIM,), inner, report, (), "none", {}, (), {}, {})


def test_a_run_whose_tunnel_was_seen_passes() -> None:
    check(played(1000), {FLOW: Seen(3, 1200)})


def test_a_capture_that_saw_too_little_of_the_tunnel_fails() -> None:
    with pytest.raises(LabError, match="the capture has 500 bytes of the tunnel"):
        check(played(1000), {FLOW: Seen(3, 500)})


def test_an_empty_capture_fails() -> None:
    with pytest.raises(LabError, match="the capture is empty"):
        check(played(0), {})


def test_traffic_beside_the_tunnel_fails() -> None:
    leak = FLOW._replace(dst="10.200.0.1")
    with pytest.raises(LabError, match=r"traffic for 10\.200\.0\.1 went beside the tunnel"):
        check(played(1000), {FLOW: Seen(3, 1200), leak: Seen(1, 60)})

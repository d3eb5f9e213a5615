"""``impact``, ``policy diff`` and the report from the command."""

import json
from pathlib import Path

import pytest

import classifier
from classifier import cli
from classifier.run import join_runs

DEMO = classifier.datasets.demo()
CAPTURE, REGISTER = str(DEMO.capture), str(DEMO.register)
STRICT = ["--registry", REGISTER, "--policy", "registered-only"]

Capture = pytest.CaptureFixture[str]


def test_impact_of_a_capture_and_of_its_written_run_agree(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run.parquet"
    assert cli.main(["replay", CAPTURE, *STRICT, "--out", str(out)]) == 0
    capsys.readouterr()
    shown = []
    for what in (CAPTURE, str(out)):
        assert cli.main(["impact", what, *STRICT, "--format", "json"]) == 0
        shown.append(json.loads(capsys.readouterr().out))
    assert shown[0] == shown[1]
    assert shown[0]["verdicts"][3]["flows"] == 10
    assert cli.main(["impact", str(out), "--labels", str(DEMO.labels)]) == 0
    assert "By labels, 9 of 10 are mistakes: 6 of registered" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_guide_shows_how_the_demos_impact_begins(capsys: Capture) -> None:
    guide = Path(__file__).parents[3] / "docs" / "impact.md"
    shown = guide.read_text("utf-8").split("```text\n")[1].split("```")[0]
    assert cli.main(["impact", CAPTURE, *STRICT, "--labels", str(DEMO.labels)]) == 0
    assert capsys.readouterr().out.startswith(shown)


def test_written_runs_of_several_captures_are_counted_as_one(
    tmp_path: Path, capsys: Capture
) -> None:
    for name in ("one", "two"):
        copy = tmp_path / f"{name}.pcapng"
        copy.write_bytes(DEMO.capture.read_bytes())
        out = str(copy.with_suffix(".parquet"))
        assert cli.main(["replay", str(copy), *STRICT, "--active-timeout", "5", "--out", out]) == 0
    runs = [str(tmp_path / f"{name}.parquet") for name in ("one", "two")]
    capsys.readouterr()
    shown = []
    for what in ([runs[0]], runs, [*runs, *STRICT]):
        assert cli.main(["impact", *what, "--format", "json"]) == 0
        shown.append(json.loads(capsys.readouterr().out))
    alone, both, again = shown
    assert (alone["captures"], both["captures"]) == (1, 2)
    assert both["flows"] == 2 * alone["flows"]
    assert again["verdicts"] == both["verdicts"]
    assert len(again["scenarios"]) > len(both["scenarios"]), "with a register there are more"

    opened = [classifier.open_run(run) for run in runs]
    table = join_runs(opened).table
    assert table["flow_id"].to_pylist() == list(range(both["flows"]))
    parents = table["parent_flow_id"].to_pylist()
    assert any(parent >= 0 for parent in parents)
    half = both["flows"] // 2
    assert parents[half:] == [p + half if p >= 0 else p for p in parents[:half]]
    with pytest.raises(classifier.ClassifierError, match="different policies"):
        join_runs([opened[0], opened[1].judge(policy="observe-only")])
    with pytest.raises(classifier.ClassifierError, match="different inside networks or keys"):
        join_runs([opened[0], opened[1].anonymized(bytes(32))])


def test_base_rates_are_those_asked_for(capsys: Capture) -> None:
    asked = ["--base-rate", "0.5", "--base-rate", "0.02", "--format", "json"]
    assert cli.main(["impact", CAPTURE, *STRICT, *asked]) == 0
    found = json.loads(capsys.readouterr().out)["base_rates"]
    assert [row["base_rate"] for row in found] == [0.5, 0.02]


def test_states_of_the_register_are_those_asked_for(capsys: Capture) -> None:
    asked = ["--stale-days", "1.5", "--cgnat", "0.25", "--cgnat", "1", "--format", "json"]
    assert cli.main(["impact", CAPTURE, *STRICT, *asked]) == 0
    found = [row["scenario"] for row in json.loads(capsys.readouterr().out)["scenarios"]]
    assert found[2:] == ["stale by 1.5 days", "25% behind CGNAT", "100% behind CGNAT"]
    for wrong in (["--stale-days", "-1"], ["--stale-days", "nan"], ["--cgnat", "2"]):
        with pytest.raises(SystemExit):
            cli.main(["impact", CAPTURE, *STRICT, *wrong])


def test_arithmetic_needs_no_capture(capsys: Capture) -> None:
    rates = ["--tpr", "0.9", "--fpr", "0.001", "--base-rate", "0.001"]
    assert cli.main(["impact", *rates, "--flows-per-user-day", "1000"]) == 0
    assert "47.3934%  of what is hit is a VPN" in capsys.readouterr().out
    assert cli.main(["impact", *rates, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["missed_per_million"] == pytest.approx(100)
    nothing = ["--tpr", "0", "--fpr", "0", "--base-rate", "0.1", "--format", "json"]
    assert cli.main(["impact", *nothing]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["impact"], "name a capture, or give --tpr, --fpr and --base-rate"),
        (["impact", CAPTURE, "--tpr", "0.5"], "leave the captures out"),
        (["impact", "a.parquet", CAPTURE], "cannot be counted together"),
        (["impact", "missing.parquet"], "no such file"),
        (["policy", "diff", "registered-only", "nonsense", CAPTURE], "neither such a file"),
    ],
)
def test_what_cannot_be_done_is_2_and_one_line(
    arguments: list[str], problem: str, capsys: Capture
) -> None:
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


def test_two_policies_are_compared(capsys: Capture) -> None:
    policies = ["registered-only", "throttle-unregistered"]
    assert cli.main(["policy", "diff", *policies, CAPTURE, "--registry", REGISTER]) == 0
    out = capsys.readouterr().out
    assert "registered-only -> throttle-unregistered: 10 of 66 flows change verdict" in out
    assert "milder" in out


def test_two_states_of_the_register_are_compared(capsys: Capture) -> None:
    command = ["policy", "diff", "registered-only", "registered-only", CAPTURE]
    command += ["--registry", REGISTER, "--other-at", "2001-01-01", "--format", "json"]
    assert cli.main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["after"] == "registered-only 2001-01-01"
    assert found["changed"] == 5
    assert {row["direction"] for row in found["summary"]} == {"harsher"}


def test_two_models_are_compared(capsys: Capture) -> None:
    command = ["policy", "diff", "observe-only", "observe-only", CAPTURE, "--format", "json"]
    assert cli.main([*command, "--threshold", "0.001", "--other-model", "none"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["after"] == "observe-only none"
    run = classifier.classify(CAPTURE, threshold=0.001, progress=False)
    alone = classifier.classify(CAPTURE, threshold=0.001, model=None, progress=False)
    differ = (run.flows["is_vpn"] != alone.flows["is_vpn"]).sum()
    assert found["changed"] == differ > 0
    assert cli.main([*command, "--other-model", "no-such"]) == 2
    assert "no-such" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--local", "10.0.0.0/8"], ["--model", "none"], ["--separate"]])
def test_options_for_reading_are_refused_where_a_run_is_opened(
    option: list[str], tmp_path: Path, capsys: Capture
) -> None:
    assert cli.main(["impact", str(tmp_path / "run.parquet"), *option]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{option[0]} is for reading captures, and this is a run; leave it out" in line


def test_replay_writes_the_report_with_addresses_only_if_told(
    tmp_path: Path, capsys: Capture
) -> None:
    one, other = tmp_path / "one.html", tmp_path / "other.html"
    assert cli.main(["replay", CAPTURE, *STRICT, "--out", str(one)]) == 0
    assert cli.main(["replay", CAPTURE, *STRICT, "--out", str(other), "--keep-addresses"]) == 0
    address = "10.20.2.20"
    assert address in capsys.readouterr().out
    assert address not in one.read_text("utf-8")
    assert address in other.read_text("utf-8")


def test_list_says_whom_each_policy_hits(capsys: Capture) -> None:
    assert cli.main(["policy", "list"]) == 0
    out = capsys.readouterr().out
    assert out.count("Hits ") == 4

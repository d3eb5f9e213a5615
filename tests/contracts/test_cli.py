"""The command keeps its contract: exit codes, one line for each problem, clean standard output."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from classifier import cli, datasets
from classifier.tables import COLUMNS

ROOT = Path(__file__).parents[2]
DEMO = datasets.demo()
CAPTURE = str(DEMO.capture)
Capture = pytest.CaptureFixture[str]
MANY = ["replay", CAPTURE, "--format", "ndjson"]


def run(*arguments: str) -> int:
    """Return the exit code, whichever way the command ends."""
    try:
        return cli.main(arguments)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def one_line(capsys: Capture) -> str:
    """Return what was written to standard error, which must be one line, and nothing else."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


def test_demo_ends_with_0_and_shows_all_four_verdicts(capsys: Capture) -> None:
    assert run("demo") == 0
    out, err = capsys.readouterr()
    assert err == ""
    for word in ("allow", "flag", "would_throttle", "would_block", "openvpn", "wireguard", "ipsec"):
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "missing.pcap"], "missing.pcap: no such file"),
        (["explain", "missing.pcap", "--flow", "0"], "missing.pcap: no such file"),
        (["replay", "nothing-*.pcap"], "nothing-*.pcap: no file matches"),
        (["replay", CAPTURE, "--registry", "missing.csv"], "missing.csv"),
        (["replay", CAPTURE, "--policy", "missing.toml"], "missing.toml"),
        (["replay", CAPTURE, "--model", "missing"], "'missing' is no model"),
        (["replay", CAPTURE, "--at", "noon"], "'noon' is not a date"),
        (["replay", CAPTURE, "--local", "10.0.0.0/33"], "is not a prefix"),
        (["replay", CAPTURE, "--threshold", "7"], "is no probability"),
        (["replay", CAPTURE, "--threads", "0"], "is no number of threads"),
        (["replay", CAPTURE, "--out", "flows.docx"], "flows.docx: the suffix '.docx'"),
        (["replay", CAPTURE, "--junit", "out.xml"], "--junit has nothing to write"),
        (["explain", CAPTURE, "--flow", "9999"], "there is no flow 9999"),
        (["explain", CAPTURE, "--flow", "1:nobody="], "there is no flow '1:nobody='"),
        (["evaluate", CAPTURE, "--labels", "missing.csv"], "missing.csv: no such file"),
        (["evaluate", CAPTURE, "--labels", "x.csv", "--min-recall", "2"], "is no rate"),
        (["evaluate", CAPTURE, "--labels", "x.csv", "--predictions", "x"], "give NAME=FILE"),
        (["registry", "stats", "missing.csv"], "missing.csv"),
        (["registry", "lookup", "here", "--registry", str(DEMO.register)], "here: 'here'"),
        (["policy", "check", "missing.toml"], "missing.toml"),
    ],
    ids=lambda value: " ".join(map(str, value))[:60] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_2_and_one_line(
    arguments: list[str],
    said: str,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    line = one_line(capsys)
    assert said in line
    assert "; " in line, "there is no remedy"
    assert "fault of classifier" not in line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["replay"],
        ["replay", CAPTURE, "--nothing"],
        ["replay", CAPTURE, "--format", "xml"],
        ["replay", CAPTURE, "--fail-on", "allow"],
        ["replay", CAPTURE, "--idle-timeout", "-1"],
        ["explain", CAPTURE],
        ["registry"],
        ["policy", "nothing"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[2:]),
)
def test_wrong_usage_is_2_and_one_line(arguments: list[str], capsys: Capture) -> None:
    assert run(*arguments) == 2
    assert "--help" in one_line(capsys)


@pytest.mark.parametrize(
    ("policy", "limit", "code"),
    [
        ("observe-only", "flag", 1),
        ("observe-only", "would_throttle", 0),
        ("registered-only", "would_block", 1),
        ("registered-only", "flag", 1),
    ],
)
def test_fail_on_means_that_verdict_or_a_harsher_one(
    policy: str, limit: str, code: int, capsys: Capture
) -> None:
    assert run("replay", CAPTURE, "--policy", policy, "--fail-on", limit) == code


def test_options_may_stand_between_captures(tmp_path: Path, capsys: Capture) -> None:
    assert run("replay", CAPTURE, "--format", "ndjson", CAPTURE) == 0
    mixed = capsys.readouterr()
    assert run("replay", "--format", "ndjson", CAPTURE, CAPTURE) == 0
    assert capsys.readouterr() == mixed
    assert "captures read 2" in mixed.err
    assert (
        run("policy", "diff", "observe-only", "--format", "json", "registered-only", CAPTURE) == 0
    )


def test_behind_two_dashes_a_capture_may_begin_with_one(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-x.pcapng").write_bytes(DEMO.capture.read_bytes())
    assert run("replay", "--format", "ndjson", "--", "-x.pcapng") == 0
    assert '"capture":"-x.pcapng"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--expect", "missing.toml"], "missing.toml: no such file"),
        (["--expect", "empty.toml"], "empty.toml: there are no checks"),
        (["--out", "nowhere/flows.csv"], "nowhere/flows.csv: the folder does not exist"),
        (["--expect", "good.toml", "--junit", "nowhere/x.xml"], "nowhere/x.xml: the folder"),
        (["--registry", "register.csv", "--out", "register.csv"], "is one of the files that are"),
        (["--expect", "good.toml", "--junit", "good.toml"], "is one of the files that are read"),
    ],
    ids=str,
)
def test_what_would_fail_after_the_work_is_refused_before(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.toml").write_text("")
    Path("good.toml").write_text('[[check]]\nwhen = "is_vpn"\n')
    Path("register.csv").write_bytes(DEMO.register.read_bytes())
    assert run("replay", CAPTURE, *arguments) == 2
    assert said in one_line(capsys)
    assert Path("register.csv").read_bytes() == DEMO.register.read_bytes()


def test_ndjson_has_the_columns_in_order_and_rows_by_first_packet(capsys: Capture) -> None:
    assert run(*MANY, "--registry", str(DEMO.register)) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert all(list(row) == [column.name for column in COLUMNS] for row in rows)
    assert [row["flow_id"] for row in rows] == list(range(len(rows)))
    assert None not in [value for row in rows for value in row.values()]
    assert "packets read" in err


def test_csv_has_the_columns_in_order(capsys: Capture) -> None:
    assert run("replay", CAPTURE, "--format", "csv") == 0
    header = capsys.readouterr().out.partition("\n")[0]
    assert header.replace('"', "").split(",") == [column.name for column in COLUMNS]


def test_of_several_captures_the_good_ones_are_printed(tmp_path: Path, capsys: Capture) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no capture")
    captures = [str(text), CAPTURE, str(tmp_path / "missing.pcap")]
    assert run("replay", *captures, "--format", "ndjson") == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 66
    assert err.count("notes.txt: ") + err.count("notes.txt:0: ") == 1
    assert err.count("missing.pcap: ") == 1


def test_a_capture_cut_off_in_the_middle_is_done_with_a_warning(
    tmp_path: Path, capsys: Capture
) -> None:
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(DEMO.capture.read_bytes()[:-10])
    assert run("replay", str(cut)) == 0
    out, err = capsys.readouterr()
    assert "1,601 packets read" in out
    assert "the file ends in the middle of a record" in err


def test_dash_reads_a_capture_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run(*MANY)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    stdin = io.TextIOWrapper(io.BytesIO(DEMO.capture.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("replay", "-", "--format", "ndjson") == 0
    piped = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row.pop("capture") for row in piped} == {"<stdin>"}
    assert {row.pop("capture") for row in rows} == {"demo.pcapng"}
    assert piped == rows


def test_out_writes_each_format(tmp_path: Path, capsys: Capture) -> None:
    names = [tmp_path / f"flows{suffix}" for suffix in (".ndjson", ".parquet", ".csv")]
    outs = [word for name in names for word in ("--out", str(name))]
    assert run("replay", CAPTURE, *outs) == 0
    capsys.readouterr()
    assert run(*MANY) == 0
    assert names[0].read_text(encoding="utf-8") == capsys.readouterr().out
    assert all(name.stat().st_size for name in names)


EXPECTED = """
[[check]]
name = "VPN flows"
when = "is_vpn"
count = {count}
"""


@pytest.mark.parametrize(("count", "code"), [(15, 0), (14, 1)])
def test_expectations_decide_the_exit_code_and_are_written_as_junit(
    count: int, code: int, tmp_path: Path, capsys: Capture
) -> None:
    expect, junit = tmp_path / "expect.toml", tmp_path / "out.xml"
    expect.write_text(EXPECTED.format(count=count))
    assert run("replay", CAPTURE, "--expect", str(expect), "--junit", str(junit)) == code
    err = capsys.readouterr().err
    assert ("VPN flows: 15 flows meet it, expected 14" in err) == bool(code)
    assert f'failures="{code}"' in junit.read_text(encoding="utf-8")


def test_captures_read_at_a_time_give_the_same_rows(capsys: Capture) -> None:
    printed = []
    for threads in ("1", "3"):
        assert run(*MANY, CAPTURE, CAPTURE, "--threads", threads) == 0
        printed.append(capsys.readouterr())
    assert printed[0] == printed[1]
    assert printed[0].out.count("\n") > 100


def test_the_ndjson_of_a_run_meets_itself(tmp_path: Path) -> None:
    before = tmp_path / "before.ndjson"
    assert run("replay", CAPTURE, "--out", str(before)) == 0
    assert run("replay", CAPTURE, "--expect", str(before)) == 0
    before.write_text(before.read_text().replace('"family":"openvpn"', '"family":"tor"'))
    assert run("replay", CAPTURE, "--expect", str(before)) == 1


@pytest.mark.parametrize(
    ("bounds", "code"),
    [(["--min-recall", "1"], 0), (["--max-false", "0"], 0), (["--threshold", "1"], 0)],
)
def test_evaluate_with_bounds_that_hold(bounds: list[str], code: int, capsys: Capture) -> None:
    assert run("evaluate", CAPTURE, "--labels", str(DEMO.labels), *bounds) == code


def test_evaluate_below_a_bound_is_1(capsys: Capture) -> None:
    labels = ["--labels", str(DEMO.labels), "--format", "json"]
    assert run("evaluate", CAPTURE, *labels, "--threshold", "1", "--min-recall", "0.5") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["recall"] == 0
    assert "recall 0.0 is below 0.5" in err


def test_explain_takes_a_flow_id_or_a_community_id(capsys: Capture) -> None:
    run(*MANY)
    row = json.loads(capsys.readouterr().out.splitlines()[5])
    assert run("explain", CAPTURE, "--flow", "5") == 0
    by_number = capsys.readouterr().out
    assert run("explain", CAPTURE, "--flow", row["community_id"]) == 0
    assert capsys.readouterr().out == by_number
    assert f"Community ID {row['community_id']}" in by_number


def test_explain_names_the_other_flows_of_a_community_id(capsys: Capture) -> None:
    assert run("replay", CAPTURE, "--active-timeout", "1", "--format", "ndjson") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ids = [row["community_id"] for row in rows]
    name = next(i for i in ids if ids.count(i) == 2)
    first, second = (row["flow_id"] for row in rows if row["community_id"] == name)
    assert run("explain", CAPTURE, "--active-timeout", "1", "--flow", name) == 0
    out, err = capsys.readouterr()
    assert f"number {first}, Community ID {name}" in out
    assert err == f"{name} is also that of flow {second}\n"


def test_explain_refuses_a_number_of_any_length(capsys: Capture) -> None:
    assert run("explain", CAPTURE, "--flow", "9" * 5000) == 2
    assert "there is no flow '999" in one_line(capsys)


def test_lists_end_with_0(capsys: Capture) -> None:
    assert run("detectors") == 0
    assert run("policy", "list") == 0
    assert run("policy", "check", str(DEMO.policy), "registered-only") == 0
    assert run("registry", "stats", str(DEMO.register)) == 0
    out = capsys.readouterr().out
    for word in ("wireguard: wireguard (vpn)", "observe-only", "6 rules", "rows", "20,000"):
        assert word in out
    assert "…" not in out


def test_lookup_answers_for_the_time_asked(capsys: Capture) -> None:
    asked = ["registry", "lookup", "203.0.113.10", "--registry", str(DEMO.register), "--at"]
    assert run(*asked, "2026-11-23") == 0
    assert "R-016693" in capsys.readouterr().out
    assert run(*asked, "2020-01-01") == 0
    first, near = capsys.readouterr().out.splitlines()
    assert first == "203.0.113.10: not registered"
    assert "R-016693" in near
    assert "not_yet: it begins 1,618 days later" in near


def test_import_into_a_database_twice_changes_nothing(tmp_path: Path, capsys: Capture) -> None:
    small = tmp_path / "small.csv"
    small.write_text("\n".join(DEMO.register.read_text("utf-8").splitlines()[:11]) + "\n", "utf-8")
    import_it = ["registry", "import", str(small), "--into", str(tmp_path / "all.db")]
    assert run(*import_it) == 0
    assert capsys.readouterr().out == "10 added, 0 changed, 0 unchanged\n"
    assert run(*import_it) == 0
    assert capsys.readouterr().out == "0 added, 0 changed, 10 unchanged\n"


def test_bad_rows_are_refused_or_skipped_and_told(tmp_path: Path, capsys: Capture) -> None:
    lines = DEMO.register.read_text("utf-8").splitlines()[:4]
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join([*lines, lines[1].replace("/28", "/99"), ""]), "utf-8")
    assert run("registry", "stats", str(bad)) == 2
    assert "bad.csv:5: " in one_line(capsys)
    assert run("registry", "stats", str(bad), "--skip-bad-rows") == 0
    assert "bad.csv:5: " in capsys.readouterr().err


def test_a_fault_of_our_own_is_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail() -> None:
        raise RuntimeError("something new")

    monkeypatch.delenv("CLASSIFIER_TRACEBACK", raising=False)
    monkeypatch.setattr(datasets, "demo", fail)
    assert run("demo") == 2
    assert one_line(capsys).startswith("RuntimeError: something new; ")


def command(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "classifier", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_hostile_file_name_cannot_steer_the_terminal(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "e\x1b[31mvil\u202e.pcap"
    Path(name).write_bytes(b"nothing of use")
    for arguments in (
        ["replay", name],
        ["replay", CAPTURE, f"--{name}"],
        ["policy", "check", name],
    ):
        assert run(*arguments) == 2
        assert "e\\x1b[31mvil\\u202e.pcap" in one_line(capsys)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_another_encoding_gets_what_it_can_show(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "classifier", "demo"],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"would_block" in done.stdout


def test_a_reader_that_closes_the_pipe_early_is_no_error() -> None:
    with command("replay", *[CAPTURE] * 8, "--separate", "--format", "ndjson") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read().decode()
        assert process.wait() == 0
    assert "Broken" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_command_whose_output_is_closed_does_its_work(tmp_path: Path, closed: str) -> None:
    out = tmp_path / "flows.ndjson"
    line = f'exec "$0" -m classifier replay "$1" --out "$2" {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, CAPTURE, str(out)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert out.read_text().count("\n") == 66


def test_the_same_input_gives_the_same_bytes_in_every_process() -> None:
    outs = []
    for seed in ("1", "2"):
        with command(*MANY, PYTHONHASHSEED=seed) as process:
            outs.append(process.communicate()[0])
    assert outs[0] == outs[1]
    assert outs[0].count(b"\n") == 66


def test_no_colour_and_no_progress_when_not_a_terminal() -> None:
    with command("demo") as process:
        out, err = process.communicate()
    assert process.returncode == 0
    assert b"\x1b" not in out
    assert err == b""


def test_out_to_stdout_is_not_mixed_with_the_table(capsys: Capture) -> None:
    assert run("replay", CAPTURE, "--out", "-") == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 66
    assert all(row.startswith("{") for row in rows)

"""The window and its history from the command."""

import csv
import io
import json

import pytest

from classifier import cli, datasets
from classifier.registry import Registry

SAID = ["--by", "clerk", "--reason", "form"]
HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"


@pytest.fixture
def registry(capsys, tmp_path, monkeypatch):
    """Run ``classifier registry`` in a folder; return exit code, output and complaints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = cli.main(["registry", *arguments])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def step(registry, *arguments, at):
    code, out, err = registry(*arguments, *SAID, "--recorded-at", at)
    assert code == 0, err
    return out, err


def test_a_registration_from_application_to_revocation(registry):
    step(registry, "init", "r.db", "--require", "bank=licence,map", at="2024-01-01")
    holder = ["--organisation", "A Bank", "--category", "bank", "--side", "server"]
    extra = ["--to", "2025-01-01", "--flag", "dynamic", "--contact", "desk 3", "--document", "map"]
    out, err = step(
        registry, "add", "r.db", "9.9.9.0/24", "10.0.0.1", *holder, *extra, at="2024-02-01"
    )
    assert out == "R-000001: add recorded as change 2, pending from 2024-02-01\n"
    assert err.count("\n") == 1
    assert "private (RFC 1918)" in err
    code, out, err = registry("approve", "r.db", "R-000001", *SAID)
    assert (code, out) == (2, "")
    assert err == (
        "R-000001: lacks the documents licence; hand them in with `registry amend --document "
        "licence`, or reject it\n"
    )
    amend = ["amend", "r.db", "R-000001", "--document", "licence", "--remove-prefix", "10.0.0.1"]
    step(registry, *amend, "--no-check", at="2024-02-02")
    step(registry, "approve", "r.db", "R-000001", at="2024-02-03")
    step(registry, "renew", "r.db", "R-000001", "--until", "2026-01-01", at="2024-03-01")
    step(
        registry, "amend", "r.db", "R-000001", "--port", "443", "--category", "ngo", at="2024-04-01"
    )
    out, _ = step(registry, "revoke", "r.db", "R-000001", "--on", "2024-05-01", at="2024-06-01")
    assert out == "R-000001: revoke recorded as change 7, revoked from 2024-05-01\n"

    _, out, _ = registry("export", "r.db", "-")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["port"], row["valid_from"], row["valid_to"], row["status"]) for row in rows] == [
        ("any", "2024-02-03", "2024-04-01", "active"),
        ("any", "2024-02-01", "2025-01-01", "rejected"),
        ("443", "2024-04-01", "2024-05-01", "active"),
    ]
    _, out, _ = registry(
        "export", "r.db", "-", "--known-at", "2024-03-15", "--format", "json", "--details"
    )
    first = json.loads(out)[0]
    assert (first["valid_to"], first["flags"], first["contact"]) == (
        "2026-01-01",
        "dynamic",
        "desk 3",
    )
    code, _, _ = registry("export", "r.db", "then.csv", "--valid-at", "2024-03-01")
    assert code == 0
    assert len(Registry.open("then.csv")) == 1

    _, out, _ = registry("lookup", "9.9.9.9", "--registry", "r.db", "--at", "2024-05-02")
    first, near, older = out.splitlines()
    assert first == "9.9.9.9: not registered"
    assert near.startswith(
        "  R-000001, A Bank (ngo), 9.9.9.0/24 as server, any port 443: expired: "
    )
    assert near.endswith("it ended 1 day before (revoked on 2024-05-01 by clerk: form)")
    assert older.endswith("it ended 31 days before (amended on 2024-04-01 by clerk: form)")
    known = ["--known-at", "2024-05-15"]
    _, out, _ = registry("lookup", "9.9.9.9", "--registry", "r.db", "--at", "2024-05-02", *known)
    assert out.startswith("9.9.9.9: R-000001, A Bank (ngo)")

    _, out, _ = registry("history", "r.db", "R-000001", "--format", "json")
    actions = [change["action"] for change in json.loads(out)]
    assert actions == ["add", "amend", "approve", "renew", "amend", "revoke"]
    _, out, _ = registry("history", "r.db")
    assert out.startswith(
        "1  2024-01-01T00:00:00.000000+00:00  init, from 2024-01-01, by clerk: form"
    )
    code, out, err = registry("verify", "r.db")
    assert (code, err) == (0, "")
    digest = out.split()[-1]
    assert registry("verify", "r.db", "--digest", digest)[0] == 0
    code, out, err = registry("verify", "r.db", "--digest", "nothing")
    assert code == 2
    assert "NOT whole" in out
    assert "; " in err


def test_applications_can_be_rejected(registry):
    holder = ["--organisation", "A", "--category", "bank"]
    step(registry, "add", "r.db", "9.9.9.9", *holder, "--id", "X", at="2024-01-01")
    out, _ = step(registry, "reject", "r.db", "X", at="2024-01-02")
    assert "rejected from 2024-01-02" in out
    code, _, err = registry("renew", "r.db", "X", "--until", "2030-01-01", *SAID)
    assert code == 2
    assert "apply again with `registry add`" in err


def test_an_import_is_tried_reported_and_done(registry, tmp_path):
    rows = [
        "R-1,A,bank,9.9.9.9,server,any,any,2024-01-01,,active",
        "R-2,A,bank,x,server,any,any,2024,,x",
    ]
    (tmp_path / "list.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    code, out, err = registry("import", "list.csv", "--into", "r.db")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "r.db").exists()
    skip = ["import", "list.csv", "--into", "r.db", "--skip-bad-rows"]
    code, out, _ = registry(*skip, "--dry-run")
    assert (code, out) == (
        0,
        "1 added, 0 changed, 0 unchanged, 1 refused (dry run: nothing was written)\n",
    )
    assert not (tmp_path / "r.db").exists()
    code, out, err = registry(*skip, "--report", "-")
    report = list(csv.DictReader(io.StringIO(out)))
    assert [(row["line"], row["outcome"]) for row in report] == [("2", "added"), ("3", "refused")]
    assert err.splitlines()[-1] == "1 added, 0 changed, 0 unchanged, 1 refused"
    code, _, _ = registry(*skip, "--report", "report.csv")
    assert (tmp_path / "report.csv").read_text().count("\n") == 3
    code, _, err = registry(*skip, "--report", "none/report.csv")
    assert code == 2
    assert "choose another place" in err


def test_a_list_comes_from_standard_input(registry, monkeypatch):
    row = "R-1,A,bank,9.9.9.9,server,any,any,2024-01-01,,active"
    text = io.TextIOWrapper(io.BytesIO(f"{HEADER}\n{row}\nbad\n".encode()))
    monkeypatch.setattr("sys.stdin", text)
    code, out, err = registry("import", "-", "--into", "r.db", "--skip-bad-rows")
    assert (code, out) == (0, "1 added, 0 changed, 0 unchanged, 1 refused\n")
    assert err.startswith("-:3: ")


def test_counts_over_time(registry):
    demo = str(datasets.demo().register)
    code, out, _ = registry("stats", demo, "--every", "year", "--format", "json")
    rows = json.loads(out)
    assert code == 0
    assert {row["category"] for row in rows} >= {"bank", "*"}
    code, out, _ = registry("stats", demo, "--every", "quarter")
    assert out.splitlines()[0].split() == ["time", "category", "valid", "began", "ended"]
    code, out, _ = registry("stats", demo, "--at", "2024-01-01", "--format", "json")
    assert json.loads(out)["rows"] == 20_000


def test_churn_of_the_demo_register(registry):
    demo = str(datasets.demo().register)
    asked = ["simulate-churn", demo, "--days", "20", "--seed", "5", "--runs", "2"]
    code, out, err = registry(*asked, "--address-days", "10")
    assert (code, err) == (0, "")
    assert "address_days 10.0" in out
    assert out.splitlines()[-1].startswith("*")
    assert registry(*asked, "--format", "json")[1] == registry(*asked, "--format", "json")[1]
    _, out, _ = registry(*asked, "--format", "csv")
    assert len(list(csv.DictReader(io.StringIO(out)))) % 20 == 0
    code, _, err = registry(*asked, "--never", "2")
    assert (code, err) == (2, "never: 2.0 is not possible; give a number from 0 to 1\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["init", "r.csv", *SAID], "r.csv: is no database"),
        (["init", "r.db", *SAID, "--require", "bank"], "'bank' names no documents"),
        (["init", "r.db", *SAID, "--recorded-at", "noon"], "'noon' is not a date"),
        (["approve", "r.db", "R-1", *SAID], "R-1: no registration has this identifier"),
        (["history", "none.db"], "none.db: no such file"),
        (["history", str(datasets.demo().register)], "register.csv: has no history"),
        (["export", str(datasets.demo().register), "out.txt"], "out.txt: is no register"),
        (["export", str(datasets.demo().register), "-", "--valid-at", "x"], "'x' is not a date"),
        (["verify", "none.csv"], "none.csv: no such file"),
        (["simulate-churn", "none.csv", "--days", "3"], "none.csv: no such file"),
    ],
)
def test_what_cannot_be_done_is_2_and_one_line(registry, arguments, said):
    code, out, err = registry(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert "; " in err


def test_holders_cannot_steer_the_terminal(registry, tmp_path):
    row = "R-1,\u202eA,bank,9.9.9.9,server,any,any,2024-01-01,2024-02-01,active"
    (tmp_path / "list.csv").write_text(f"{HEADER}\n{row}\n", encoding="utf-8")
    _, out, _ = registry("lookup", "9.9.9.9", "--registry", "list.csv")
    assert "\u202e" not in out
    assert "\\u202e" in out

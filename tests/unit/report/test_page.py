"""The HTML report: safe to pass on, the same each time, and seen in a browser."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import flow_rows
import numpy as np
import pytest
from flow_rows import WIREGUARD

import classifier
from classifier.errors import ClassifierError, ResourceError
from classifier.pipeline import Accounting, Options
from classifier.policy import Policy
from classifier.report import plots
from classifier.run import Run

DEMO = classifier.datasets.demo()
HOSTILE = "\"><script>document.title='owned'</script><img src=x onerror=alert(1)>\x1b[2J"


@pytest.fixture(scope="module")
def run() -> classifier.Run:
    return classifier.classify(
        DEMO.capture,
        registry=DEMO.register,
        policy="registered-only",
        labels=DEMO.labels,
        progress=False,
    )


def written(run: Run, tmp_path: Path, *, keep_addresses: bool = False) -> str:
    path = tmp_path / "report.html"
    run.write(path, keep_addresses=keep_addresses)
    return path.read_text("utf-8")


def hostile_run() -> Run:
    row = WIREGUARD | dict.fromkeys(
        ("application", "service", "server_name", "organisation", "category", "capture", "rule"),
        HOSTILE,
    )
    row |= {"registered": True, "registration_id": HOSTILE, "family": ""}
    row["evidence"] = [{"detector": HOSTILE, "strength": "proof", "detail": HOSTILE, "packet": 1}]
    options = Options(policy=Policy.open("registered-only"))
    return Run(flow_rows.rows(row), Accounting(), options=options, meta={"options": {HOSTILE: 1}})


def test_the_page_holds_no_address_unless_told(run: classifier.Run, tmp_path: Path) -> None:
    addresses = {*run.flows["orig_ip"], *run.flows["resp_ip"]}
    text = written(run, tmp_path)
    assert not [a for a in addresses if re.search(rf"(?<![\d.:a-f]){re.escape(a)}(?![\d.])", text)]
    assert not re.search(r"\d+\.\d+\.\d+\.\d+", re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL))
    for name in set(run.flows["server_name"]) | set(run.flows["organisation"]) - {""}:
        assert not name or name not in text
    assert "inside-1" in text
    kept = written(run, tmp_path, keep_addresses=True)
    blocked = run.flows[run.flows["verdict"] == "would_block"]
    assert all(a in kept for a in blocked["orig_ip"])


def test_the_same_run_gives_the_same_bytes(run: classifier.Run, tmp_path: Path) -> None:
    again = classifier.classify(
        DEMO.capture, registry=DEMO.register, policy="registered-only", labels=DEMO.labels,
        progress=False,
    )  # fmt: skip
    assert written(run, tmp_path) == written(again, tmp_path)


@pytest.mark.parametrize("keep", [False, True])
def test_words_from_a_capture_cannot_become_markup(keep: bool, tmp_path: Path) -> None:
    text = written(hostile_run(), tmp_path, keep_addresses=keep)
    assert "<script" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;" in text


def test_the_page_asks_for_nothing_from_outside(run: classifier.Run, tmp_path: Path) -> None:
    text = written(run, tmp_path)
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|iframe|object|img|base|form)\b", text)
    references = re.findall(r"""(?:src|href)=["']?([^"' >]+)""", text)
    assert all(reference.startswith("#") for reference in references)
    identities = re.findall(r'\bid="([^"]+)"', text)
    assert len(identities) == len(set(identities))


def test_the_outcome_stands_first(run: classifier.Run, tmp_path: Path) -> None:
    text = written(run, tmp_path)
    body = text[text.index("<body>") :]
    assert body.index("registered-only would block 10 of 66 flows") < body.index("<svg")
    assert "9 of 10 are mistakes" in body


def test_each_flow_begins_with_its_verdict_and_numbers_stand_to_the_right(
    run: classifier.Run, tmp_path: Path
) -> None:
    flows = written(run, tmp_path).split("<h2>Flows</h2>")[1]
    heads = re.findall(r"<th(?: class=\"n\")?>([^<]+)</th>", flows.split("</thead>")[0])
    assert heads[:4] == ["verdict", "flow", "what", "registered"]
    first = flows.split("<tbody>")[1].split("</tr>")[0]
    cells = re.findall(r"<td( class=\"n\")?>([^<]*)</td>", first)
    assert cells[0] == ("", "would block")
    assert cells[heads.index("bytes")][0]


def test_an_empty_run_is_a_page_too(tmp_path: Path) -> None:
    empty = flow_rows.rows().slice(0, 0)
    run = Run(empty, Accounting(), options=Options(policy=Policy.open("observe-only")))
    assert "There are no flows." in written(run, tmp_path)


def test_without_matplotlib_the_page_says_so_and_plots_name_the_remedy(
    run: classifier.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classifier.report.plots.have_matplotlib", lambda: False)
    monkeypatch.setattr("classifier.report.page.have_matplotlib", lambda: False)
    plots._figure_class.cache_clear()
    assert "Without matplotlib there are no plots" in written(run, tmp_path)
    with pytest.raises(ResourceError, match=r"matplotlib.*extra \[plot\]"):
        run.plot.verdicts()


def test_reading_a_run_loads_no_matplotlib() -> None:
    code = (
        "import sys, classifier; d = classifier.datasets.demo();"
        "r = classifier.classify(d.capture, progress=False); r.impact().text();"
        "sys.exit('matplotlib' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={"PYTHONPATH": str(root)}, check=True
    )


def texts_of(figure: object) -> str:
    axes = figure.axes[0]  # type: ignore[attr-defined]
    return " | ".join([axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()])


def test_titles_say_what_is_seen_and_axes_have_units(run: classifier.Run) -> None:
    assert texts_of(run.plot.verdicts()) == (
        "10 of 66 flows are flagged or worse | flows | class of use"
    )
    assert texts_of(run.plot.decisions()).startswith("Half of the identified flows are known by")
    for by, known in (("seconds", "after 0.00"), ("bytes", "after 208 bytes")):
        assert texts_of(run.plot.decisions(by)).startswith(
            f"Half of the identified flows are known {known}"
        )
        assert f"{by} since the flow began" in texts_of(run.plot.decisions(by))
    with pytest.raises(ClassifierError, match="packet, seconds, bytes"):
        run.plot.decisions("days")
    assert "(%)" in texts_of(run.plot.base_rates())
    assert "66 labelled flows" in texts_of(run.plot.reliability())
    delays = np.arange(1, 1001) * 1e3
    assert texts_of(run.plot.delays(delays)) == (
        "1 % of all packets wait longer than 990 us | added delay (microseconds) | "
        "packets that wait longer (%)"
    )
    assert "No packet passed" in texts_of(run.plot.delays({"ordinary": np.array([np.inf])}))


def test_a_plot_is_shown_in_notebooks_as_svg(run: classifier.Run) -> None:
    shown = run.plot.verdicts()._repr_svg_()  # type: ignore[attr-defined]
    assert shown.startswith("<svg")
    assert plots.png(run.plot.verdicts()).startswith(b"\x89PNG")


def test_reliability_without_labels_names_the_remedy() -> None:
    options = Options(policy=Policy.open("observe-only"))
    run = Run(flow_rows.rows(WIREGUARD), Accounting(), options=options)
    with pytest.raises(ClassifierError, match=r"labels=\.\.\."):
        run.plot.reliability()


@pytest.mark.parametrize("n", range(1, 12))
def test_reliability_is_drawn_where_all_flows_of_a_bin_are_of_one_sort(n: int) -> None:
    judged = np.full(2 * n, 0.1), np.repeat([0, -1], n)
    drawn = plots.Plots(lambda: None, lambda: judged).reliability()  # type: ignore[arg-type, return-value]
    assert f"over {n} labelled flows" in texts_of(drawn)
    judged = np.full(n, 0.9), np.ones(n, np.int64)
    assert plots.Plots(lambda: None, lambda: judged).reliability()  # type: ignore[arg-type, return-value]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_the_page_and_runs_nothing_in_it(tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    hostile_run().write(path, keep_addresses=True)
    shot = tmp_path / "shot.png"
    base = ["chromium", "--headless", "--no-sandbox", "--disable-gpu"]
    base.append(f"--user-data-dir={tmp_path / 'profile'}")
    dumped = subprocess.run(
        [*base, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "<title>Impact of registered-only</title>" in dumped
    assert dumped.count("<svg") == 4
    assert "<img" not in dumped
    subprocess.run(
        [*base, "--window-size=1200,1600", f"--screenshot={shot}", path.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert shot.stat().st_size > 10_000

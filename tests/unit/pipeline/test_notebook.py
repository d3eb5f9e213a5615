"""What notebooks do with what the library returns: show it, and send it to other processes."""

import pickle
from typing import Any

import pytest

import classifier
from classifier.evaluation import evaluate

DEMO = classifier.datasets.demo()


@pytest.fixture(scope="module")
def run() -> classifier.Run:
    return classifier.classify(DEMO.capture, registry=DEMO.register, model=None, progress=False)


def shown(run: classifier.Run) -> dict[str, Any]:
    return {
        "run": run,
        "accounting": run.accounting,
        "no accounting": type(run.accounting)(),
        "explanation": run.explain(5),
        "impact": run.impact(),
        "changes": run.compare(run.judge(policy="observe-only")),
        "simulation": run.simulate(),
        "evaluation": evaluate(run.table, DEMO.labels),
        "dataset": classifier.datasets.load("demo"),
        "registry": classifier.Registry.open(DEMO.register),
        "policy": classifier.Policy.open("registered-only"),
    }


def test_everything_rich_is_shown_as_html_without_script(run: classifier.Run) -> None:
    for name, thing in shown(run).items():
        html = thing._repr_html_()
        assert html.startswith("<"), name
        assert "<script" not in html, name


def test_data_sets_are_one_line_each() -> None:
    listed = classifier.datasets.list()
    assert all("\n" not in repr(one) and len(repr(one)) < 200 for one in listed)
    assert repr(listed[0]).startswith("<Manifest 'demo': ")
    assert repr(classifier.datasets.load("demo")) == (
        "<Dataset 'demo': 66 rows, 0 features, 1 groups>"
    )


def test_the_model_functions_are_at_hand() -> None:
    import classifier.model

    for name in ("train", "evaluate", "load_model"):
        assert getattr(classifier, name) is getattr(classifier.model, name)


def test_a_run_goes_to_another_process(run: classifier.Run) -> None:
    run.plot  # noqa: B018 - asking for it is the test
    again = pickle.loads(pickle.dumps(run))
    assert again.table.equals(run.table)
    assert again.explain(5).row == run.explain(5).row
    other = {"policy": "registered-only", "at": "2026-11-23"}
    assert again.judge(**other).table.equals(run.judge(**other).table)

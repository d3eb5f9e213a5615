"""What a notebook shows of what the library returns: HTML for all that is rich, one line else."""

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

"""Arguments of another type are refused before anything is read."""

import pytest

import classifier
from classifier.errors import CaptureError, ClassifierError

CAPTURE = classifier.datasets.demo().capture


@pytest.mark.parametrize(
    "arguments",
    [
        {"policy": 3},
        {"registry": 3},
        {"registry": ["x.csv"]},
        {"local": 3},
        {"local": [3]},
        {"detectors": 3},
        {"threshold": "x"},
        {"idle_timeout_s": "x"},
        {"active_timeout_s": []},
        {"at": 3.5},
        {"at": [1]},
    ],
    ids=str,
)
def test_an_argument_of_another_type_is_an_error_that_names_it(arguments):
    (name,) = arguments
    with pytest.raises(ClassifierError) as caught:
        classifier.classify(CAPTURE, **arguments)
    assert name in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["decapsulate", "separate"])
def test_a_switch_takes_no_none(name):
    with pytest.raises(ClassifierError, match=f"{name} is of type NoneType"):
        classifier.classify(CAPTURE, **{name: None})


def test_a_pattern_may_be_a_path():
    run = classifier.classify(CAPTURE.with_name("demo*.pcapng"), model=None, progress=False)
    assert set(run.flows["capture"]) == {"demo.pcapng"}


def test_of_several_a_pattern_that_matches_nothing_is_a_capture_that_cannot_be_read():
    with pytest.warns(UserWarning, match=r"nothing-\*: no such file"):
        run = classifier.classify([CAPTURE, "nothing-*"], model=None, progress=False)
    assert run.accounting["captures_failed"] == 1
    assert run.table.num_rows


def test_an_empty_name_is_called_empty():
    with pytest.raises(CaptureError, match="the name of a capture is empty"):
        classifier.classify("", model=None)


def test_iter_flows_warns_of_captures_that_cannot_be_read():
    with pytest.warns(UserWarning, match="no such file"):
        rows = list(classifier.iter_flows([CAPTURE, "nothing.pcap"], model=None))
    assert sum(batch.num_rows for batch in rows)

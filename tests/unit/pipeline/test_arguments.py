"""Arguments of another type are refused before anything is read."""

import pytest

import classifier
from classifier.errors import ClassifierError

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

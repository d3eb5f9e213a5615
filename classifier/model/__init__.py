"""Features of flows, and models that learn from them."""

import importlib
from typing import TYPE_CHECKING

from classifier.model.features import compute_features, compute_sequences, pair_features
from classifier.model.files import load_model, model_names, save_model
from classifier.model.learned import Model
from classifier.model.pairs import PairBook
from classifier.model.schema import (
    FEATURE_NAMES,
    FEATURE_SCHEMA_VERSION,
    FEATURES,
    Feature,
    feature_schema_hash,
)

if TYPE_CHECKING:
    from classifier.model.iscx import ISCX_FEATURES, ISCX_WINDOWS_S, IscxFeature, iscx_features
    from classifier.model.measures import Measures, measure
    from classifier.model.training import Examples, Outcome, evaluate, train

__all__ = [
    "FEATURES",
    "FEATURE_NAMES",
    "FEATURE_SCHEMA_VERSION",
    "ISCX_FEATURES",
    "ISCX_WINDOWS_S",
    "Examples",
    "Feature",
    "IscxFeature",
    "Measures",
    "Model",
    "Outcome",
    "PairBook",
    "compute_features",
    "compute_sequences",
    "evaluate",
    "feature_schema_hash",
    "iscx_features",
    "load_model",
    "measure",
    "model_names",
    "pair_features",
    "save_model",
    "train",
]

_HOMES = {  # what a replay does not use is imported when it is first used
    "iscx": ("ISCX_FEATURES", "ISCX_WINDOWS_S", "IscxFeature", "iscx_features"),
    "measures": ("Measures", "measure"),
    "training": ("Examples", "Outcome", "evaluate", "train"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            module = importlib.import_module(f"{__name__}.{home}")
            globals().update({each: getattr(module, each) for each in names})
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

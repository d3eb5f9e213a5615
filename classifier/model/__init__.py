"""Features of flows, and models that learn from them."""

from typing import TYPE_CHECKING

from classifier._lazy import importer
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

# What a replay does not use is imported when it is first used.
_HOMES = {
    "ISCX_FEATURES": "classifier.model.iscx",
    "ISCX_WINDOWS_S": "classifier.model.iscx",
    "IscxFeature": "classifier.model.iscx",
    "iscx_features": "classifier.model.iscx",
    "Measures": "classifier.model.measures",
    "measure": "classifier.model.measures",
    "Examples": "classifier.model.training",
    "Outcome": "classifier.model.training",
    "evaluate": "classifier.model.training",
    "train": "classifier.model.training",
}
__getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)

"""Features of flows, and models that learn from them."""

from classifier.model.features import compute_features, compute_sequences, pair_features
from classifier.model.files import load_model, model_names, save_model
from classifier.model.iscx import ISCX_FEATURES, ISCX_WINDOWS_S, IscxFeature, iscx_features
from classifier.model.learned import Model
from classifier.model.measures import Measures, measure
from classifier.model.pairs import PairBook
from classifier.model.schema import (
    FEATURE_NAMES,
    FEATURE_SCHEMA_VERSION,
    FEATURES,
    Feature,
    feature_schema_hash,
)
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

"""Features of flows, and models that learn from them."""

from classifier.model.features import compute_features, compute_sequences, pair_features
from classifier.model.iscx import ISCX_FEATURES, ISCX_WINDOWS_S, IscxFeature, iscx_features
from classifier.model.pairs import PairBook
from classifier.model.schema import (
    FEATURE_NAMES,
    FEATURE_SCHEMA_VERSION,
    FEATURES,
    Feature,
    feature_schema_hash,
)

__all__ = [
    "FEATURES",
    "FEATURE_NAMES",
    "FEATURE_SCHEMA_VERSION",
    "ISCX_FEATURES",
    "ISCX_WINDOWS_S",
    "Feature",
    "IscxFeature",
    "PairBook",
    "compute_features",
    "compute_sequences",
    "feature_schema_hash",
    "iscx_features",
    "pair_features",
]

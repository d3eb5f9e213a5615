"""Find VPN flows in recorded traffic and report what a policy would have done about them.

Importing this package loads no numba, pandas or scikit-learn; the names below load what they need
when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

from classifier.errors import (
    CaptureError,
    CaptureFormatError,
    CaptureTruncatedError,
    ClassifierError,
    ModelError,
    ModelMismatchError,
    PolicyError,
    RegistryError,
    ResourceError,
)

if TYPE_CHECKING:
    from classifier import datasets
    from classifier.detectors import Detector
    from classifier.model import evaluate, load_model, train
    from classifier.pipeline import iter_flows
    from classifier.policy import Policy
    from classifier.registry import Registry
    from classifier.run import Run, classify, open_run
    from classifier.tables import Evidence, Strength, Verdict

__version__ = "0.1.0"

__all__ = [
    "CaptureError",
    "CaptureFormatError",
    "CaptureTruncatedError",
    "ClassifierError",
    "Detector",
    "Evidence",
    "ModelError",
    "ModelMismatchError",
    "Policy",
    "PolicyError",
    "Registry",
    "RegistryError",
    "ResourceError",
    "Run",
    "Strength",
    "Verdict",
    "classify",
    "datasets",
    "evaluate",
    "iter_flows",
    "load_model",
    "open_run",
    "train",
]

_HOMES = {
    "Detector": "classifier.detectors",
    "Evidence": "classifier.tables",
    "Policy": "classifier.policy",
    "Registry": "classifier.registry",
    "Run": "classifier.run",
    "Strength": "classifier.tables",
    "Verdict": "classifier.tables",
    "classify": "classifier.run",
    "evaluate": "classifier.model",
    "iter_flows": "classifier.pipeline",
    "load_model": "classifier.model",
    "open_run": "classifier.run",
    "train": "classifier.model",
}


def __getattr__(name: str) -> object:
    if name == "datasets":
        return importlib.import_module("classifier.datasets")
    if name in _HOMES:
        value: object = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'classifier' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Find VPN flows in recorded traffic and report what a policy would have done about them.

Importing this package loads no numba, pandas or scikit-learn; the names below load what they need
when they are first used.
"""

from typing import TYPE_CHECKING

from classifier._lazy import importer
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
    "datasets": "classifier.datasets",
    "evaluate": "classifier.model",
    "iter_flows": "classifier.pipeline",
    "load_model": "classifier.model",
    "open_run": "classifier.run",
    "train": "classifier.model",
}
__getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)

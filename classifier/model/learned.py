"""A trained model: which flows it speaks of, what it makes of their features, and how sure it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from classifier.errors import ModelMismatchError
from classifier.model.features import compute_features
from classifier.model.novelty import Novelty
from classifier.model.schema import BLOCKS, FEATURE_NAMES, column
from classifier.model.trees import Trees
from classifier.tables import FlowBatch

__all__ = ["BASE_PROBABILITY", "NAMED_PROBABILITY", "Model", "Scorer", "unasked", "wrapped"]

#: Of a flow that nothing is known about, at the reference prevalence.
BASE_PROBABILITY = 0.005
#: Of a flow that was named as something that hides nothing: 12 of some 31,000 in the laboratory.
NAMED_PROBABILITY = 0.0005

#: What a model may say: some ten thousand flows show no rarer thing, and a likeness proves nothing.
LEAST, MOST = 1e-4, 0.98
_BASE, _LEAST, _MOST = (math.log(p / (1 - p)) for p in (BASE_PROBABILITY, LEAST, MOST))


class Scorer(Protocol):
    """What gives each flow of a batch a probability."""

    def probability(
        self,
        batch: FlowBatch,
        applications: NDArray[np.object_],
        ja4: NDArray[np.object_],
        server_names: NDArray[np.object_],
    ) -> NDArray[np.float64]:
        """Return the probability of a tunnel for each flow, shape (n_flows,)."""


@dataclass(frozen=True, slots=True)
class Model:
    """Trees with what is needed to take their word with the right grain of salt.

    Attributes
    ----------
    name : str
    features : tuple of str
        Columns of ``schema.FEATURE_NAMES``, in the order of the trees.
    trees : Trees
    slope, intercept : float
        Calibration: log-odds of the probability = ``slope`` x log-odds of the trees + ``intercept``.
    novelty : Novelty
        The word on flows unlike all that was seen in training is drawn towards the base probability.
    applications : tuple of str
        It speaks only of flows of these applications: what another protocol is named for is known.
    least_packets : int
        And only of flows with as many packets.
    card : dict
        What ``card.json`` says.
    """

    name: str
    features: tuple[str, ...]
    trees: Trees
    slope: float
    intercept: float
    novelty: Novelty
    applications: tuple[str, ...]
    least_packets: int
    card: dict[str, Any] = field(repr=False)

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return calibrated probabilities, less sure where a flow is unlike those seen.

        Parameters
        ----------
        matrix : ndarray of float32, shape (n_rows, len(features))

        Returns
        -------
        ndarray of float64, shape (n_rows,)
        """
        said = self.slope * self.trees.log_odds(matrix) + self.intercept
        return shrunk(said, self.novelty.trust(matrix))

    def probability(
        self,
        batch: FlowBatch,
        applications: NDArray[np.object_],
        ja4: NDArray[np.object_],
        server_names: NDArray[np.object_],
    ) -> NDArray[np.float64]:
        """Return the probability of a tunnel for each flow, shape (n_flows,)."""
        out = unasked(applications, self.applications)
        rows = np.flatnonzero(self.speaks_of(batch.flows, applications))
        if rows.size:
            part = FlowBatch(batch.flows[rows], batch.packets, batch.payload)
            out[rows] = self.score(self.matrix(part, ja4[rows], server_names[rows]))
        return out

    def matrix(
        self, batch: FlowBatch, ja4: NDArray[np.object_], server_names: NDArray[np.object_]
    ) -> NDArray[np.float32]:
        """Return its features of each flow, shape (n_flows, len(features)); no others are made."""
        mine = set(self.features)
        blocks = [name for name, block in BLOCKS.items() if any(f.name in mine for f in block)]
        every = compute_features(batch, ja4, server_names, blocks=blocks)[1]
        return every[:, [column(name) for name in self.features]]

    def speaks_of(
        self, flows: NDArray[np.void], applications: NDArray[np.object_]
    ) -> NDArray[np.bool_]:
        """Return which flows it has a word on."""
        packets = flows["orig_packets"] + flows["resp_packets"]
        enough: NDArray[np.bool_] = packets >= self.least_packets
        return enough & _among(applications, self.applications)


def shrunk(said: NDArray[np.float64], trust: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of calibrated log-odds, drawn towards the base where trust is below 1.

    At a trust of a half none exceeds 0.34: such flows are ranked, and never called a tunnel at 0.5.
    """
    inside = np.minimum(np.maximum(said, _LEAST), _MOST)
    return np.asarray(1 / (1 + np.exp(-(_BASE + trust * (inside - _BASE)))))


def unasked(applications: NDArray[np.object_], asked: Sequence[str]) -> NDArray[np.float64]:
    """Return the probability of flows that a model has no word on, shape (n_flows,).

    Parameters
    ----------
    applications : ndarray of object (str), shape (n_flows,)
    asked : sequence of str
        Carriers that may hide something. All others were named for what they are.
    """
    return np.where(_among(applications, asked), BASE_PROBABILITY, NAMED_PROBABILITY)


def _among(applications: NDArray[np.object_], asked: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which names are among those asked for."""
    is_asked = frozenset(asked).__contains__
    return np.fromiter(map(is_asked, applications.tolist()), np.bool_, applications.size)


@dataclass(frozen=True, slots=True)
class _Wrapped:
    """A fitted estimator of a user's own, over all features."""

    estimator: Any

    def probability(
        self,
        batch: FlowBatch,
        applications: NDArray[np.object_],
        ja4: NDArray[np.object_],
        server_names: NDArray[np.object_],
    ) -> NDArray[np.float64]:
        names, matrix = compute_features(batch, ja4, server_names)
        given: Any = matrix
        wanted: Sequence[str] | None = getattr(self.estimator, "feature_names_in_", None)
        if wanted is not None:
            import pandas as pd

            given = pd.DataFrame(matrix, columns=list(names))[list(wanted)]
        return np.asarray(self.estimator.predict_proba(given)[:, 1], np.float64)


def wrapped(estimator: Any) -> Scorer:
    """Return a user's fitted estimator as a model.

    Raises
    ------
    ModelMismatchError
        If it does not tell two classes apart by features of the schema.
    """
    wanted = getattr(estimator, "feature_names_in_", None)
    n = getattr(estimator, "n_features_in_", len(FEATURE_NAMES))
    unknown = sorted(set(wanted) - set(FEATURE_NAMES)) if wanted is not None else []
    if unknown or (wanted is None and n != len(FEATURE_NAMES)):
        raise ModelMismatchError(
            f"{type(estimator).__name__} was fitted on other features"
            + (f": {', '.join(unknown[:3])}" if unknown else f" ({n}, not {len(FEATURE_NAMES)})"),
            remedy="fit it on run.xy()",
        )
    if len(getattr(estimator, "classes_", ())) != 2:
        raise ModelMismatchError(
            f"{type(estimator).__name__} is not fitted on two classes", remedy="fit it on run.xy()"
        )
    return _Wrapped(estimator)

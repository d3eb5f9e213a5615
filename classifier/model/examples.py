"""Labelled flows, which of them a model is asked about, and which none is trained on."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CIRCUMVENTION", "LEAST_PACKETS", "SCOPE", "WANTED", "Examples", "repeated"]

#: Families that no shipped model is trained to find.
CIRCUMVENTION = frozenset(
    [
        "tor",
        "obfs4",
        "shadowsocks",
        "vmess",
        "vless",
        "trojan",
        "hysteria",
        "tuic",
        "psiphon",
        "ultrasurf",
        "lightway",
    ]
)
#: Carriers that hide what is in them; flows of other applications are known for what they are.
SCOPE = ("unknown", "tls", "quic", "dtls", "ssh")
LEAST_PACKETS = 8
#: What an argument must be, in the words of an error.
WANTED = "Examples: features, labels, families, applications, groups, packets"


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled flows.

    Attributes
    ----------
    features : ndarray of float32, shape (n, n_features)
        Columns of ``schema.FEATURE_NAMES``.
    labels : ndarray of int8, shape (n,)
        1 is a tunnel.
    families, applications, groups : ndarray of object (str), shape (n,)
        Of tunnels; as named; the capture.
    packets : ndarray of int64, shape (n,)
    detected : ndarray of float64, shape (n,), optional
        Probability by detectors alone; 0 where left out, and where they saw nothing.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    families: NDArray[np.object_]
    applications: NDArray[np.object_]
    groups: NDArray[np.object_]
    packets: NDArray[np.int64]
    detected: NDArray[np.float64] | None = None

    def of(self, rows: NDArray[Any]) -> "Examples":
        """Return some of them."""
        return Examples(
            self.features[rows],
            self.labels[rows],
            self.families[rows],
            self.applications[rows],
            self.groups[rows],
            self.packets[rows],
            None if self.detected is None else self.detected[rows],
        )

    @property
    def by_detectors(self) -> NDArray[np.float64]:
        """Probability by detectors alone."""
        return np.zeros(self.labels.size) if self.detected is None else self.detected

    @property
    def scenarios(self) -> NDArray[np.object_]:
        """The captures' names without a last number: runs of one scenario differ in that alone."""
        names, place = np.unique(self.groups.astype(str), return_inverse=True)
        stems = [re.sub(r"-\d+(\.\w+)*$", "", name) for name in names.tolist()]
        return np.array(stems, object)[place.reshape(-1)]

    @property
    def in_scope(self) -> NDArray[np.bool_]:
        """Flows that a model is asked about."""
        known = np.isin(self.applications.astype(str), SCOPE)
        return np.asarray(known & (self.packets >= LEAST_PACKETS))


def repeated(examples: Examples) -> float:
    """Return the share of rows that are copies of an earlier one."""
    kept: int = np.unique(np.nan_to_num(examples.features, nan=-1e30), axis=0).shape[0]
    return 1 - kept / max(examples.labels.size, 1)

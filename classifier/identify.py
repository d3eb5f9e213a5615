"""Evidence + probability of a model -> is it a VPN, which, how surely.

A detector's evidence has the probability of its strength, calibrated on runs of the laboratory that no
author of a detector had seen (DESIGN.md, note 39). The contract bounds them: ``proof`` is at least
0.99, ``strong`` at least 0.5, and weak evidence alone stays below 0.5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.tables import FAMILIES, Evidence, FlowBatch, Kind, Strength

__all__ = ["PROBABILITY", "Identification", "identify"]

#: By the strongest evidence, at ``PREVALENCE``; counted by benchmarks/calibrate_identify.py.
PROBABILITY = {
    Strength.NONE: 0.005,
    Strength.WEAK: 0.05,
    Strength.STRONG: 0.9,
    Strength.PROOF: 0.99,
}


#: The family of what a model alone says.
GENERIC = "generic-vpn"


@dataclass(frozen=True, slots=True)
class Identification:
    """What is concluded about each flow of a batch. Arrays have shape (n_flows,).

    Attributes
    ----------
    is_vpn : ndarray of bool
    kind, family, method : ndarray of object (str)
    vpn_probability : ndarray of float64
    strength : ndarray of int8
        ``Strength`` of the strongest evidence, 0 where none.
    decided_packet, decided_ns, bytes_before : ndarray of int64
        Packets of the flow and time when the identification was reached, bytes before it; all of
        the flow where only the model's word makes it a VPN. Where another flow told it after the
        last packet that was kept, packets and bytes are at least as many.
    evidence : tuple of Evidence
        All evidence, ordered by flow, the strongest first.
    evidence_offsets : ndarray of int32, shape (n_flows + 1,)
        ``evidence[offsets[f]:offsets[f + 1]]`` belongs to flow ``f``.
    """

    is_vpn: NDArray[np.bool_]
    kind: NDArray[np.object_]
    family: NDArray[np.object_]
    vpn_probability: NDArray[np.float64]
    strength: NDArray[np.int8]
    method: NDArray[np.object_]
    decided_packet: NDArray[np.int64]
    decided_ns: NDArray[np.int64]
    bytes_before: NDArray[np.int64]
    evidence: tuple[Evidence, ...]
    evidence_offsets: NDArray[np.int32]


def identify(
    batch: FlowBatch,
    evidence: list[Evidence],
    *,
    probability: NDArray[np.float64] | None = None,
    threshold: float = 0.5,
) -> Identification:
    """Combine the evidence of each flow into one conclusion.

    Parameters
    ----------
    batch : FlowBatch
    evidence : list of Evidence
        In any order; ``flow`` is a row of ``batch.flows``.
    probability : ndarray of float64, shape (n_flows,), optional
        A model's probability for each flow; evidence can only raise it.
    threshold : float
        ``vpn_probability`` from which ``is_vpn`` holds.

    Returns
    -------
    Identification
    """
    n = batch.flows.size
    ordered = tuple(sorted(evidence, key=lambda e: (e.flow, -e.strength, e.packet, e.detector)))
    rows = np.fromiter((e.flow for e in ordered), np.int64, len(ordered))
    offsets = np.searchsorted(rows, np.arange(n + 1)).astype(np.int32)
    strength = np.zeros(n, np.int8)
    kind = np.full(n, "", object)
    family = np.full(n, "", object)
    method = np.full(n, "", object)
    decided_packet, decided_ns, bytes_before = (np.zeros(n, np.int64) for _ in range(3))
    vpn_probability = np.full(n, PROBABILITY[Strength.NONE])
    said = np.zeros(n, bool)
    if probability is not None:
        vpn_probability = probability.astype(np.float64)
        said = vpn_probability >= threshold
        method[said], family[said], kind[said] = "model", GENERIC, FAMILIES[GENERIC].value
        # A model counts the packets, bytes and flags of all of a flow: it is asked at the end.
        ended = batch.flows[said]
        decided_packet[said] = ended["orig_packets"] + ended["resp_packets"]
        decided_ns[said] = ended["last_ns"]
        bytes_before[said] = ended["orig_bytes"] + ended["resp_bytes"]
    bare = np.zeros(n, bool)
    flows = np.unique(rows)
    packet, told_ns = np.zeros(flows.size, np.int64), np.zeros(flows.size, np.int64)
    for i, flow in enumerate(flows.tolist()):
        seen = ordered[offsets[flow] : offsets[flow + 1]]
        # A carrier inside bare encapsulation is the better name; the wrapping is still evidence.
        named = [e for e in seen if e.family] or list(seen)
        best = next((e for e in named if FAMILIES.get(e.family) != Kind.ENCAPSULATION), named[0])
        kind[flow] = FAMILIES.get(best.family, Kind.NONE).value
        bare[flow] = kind[flow] == Kind.ENCAPSULATION.value
        family[flow] = best.family
        # Of what is named: proof of the wrapping says nothing of the carrier inside
        strength[flow] = best.strength
        method[flow] = "signature" if best.strength >= Strength.STRONG else "behaviour"
        if not bare[flow]:
            vpn_probability[flow] = max(vpn_probability[flow], PROBABILITY[best.strength])
        packet[i], told_ns[i] = best.packet, best.known_ns
    enough = np.array([PROBABILITY[Strength(level)] >= threshold for level in sorted(Strength)])
    by_evidence = ~said[flows] | bare[flows] | enough[strength[flows]]
    flows, packet, told_ns = flows[by_evidence], packet[by_evidence], told_ns[by_evidence]
    if flows.size:
        decided_packet[flows] = packet - batch.flows["packets_start"][flows] + 1
        decided_ns[flows] = np.maximum(batch.packets["ts_ns"][packet], told_ns)
        bytes_before[flows] = _bytes_before(batch, packet, decided_packet[flows])
    return Identification(
        is_vpn=(vpn_probability >= threshold) & ~bare,
        kind=kind,
        family=family,
        vpn_probability=vpn_probability,
        strength=strength,
        method=method,
        decided_packet=decided_packet,
        decided_ns=decided_ns,
        bytes_before=bytes_before,
        evidence=ordered,
        evidence_offsets=offsets,
    )


def _bytes_before(
    batch: FlowBatch, last: NDArray[np.int64], packets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the IP bytes of the packets before the last one kept."""
    sums = np.concatenate([[0], np.cumsum(batch.packets["ip_bytes"], dtype=np.int64)])
    return np.asarray(sums[last] - sums[last - packets + 1])

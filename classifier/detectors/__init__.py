"""One file per protocol, and the tuple that lists them.

To add a detector: write the file, name it in ``DETECTORS``, test it.
"""

import difflib
from collections.abc import Iterable, Sequence

import numpy as np

from classifier.detectors import (
    ah,
    anyconnect,
    dns_tunnel,
    esp,
    fastd,
    fortinet,
    fully_encrypted,
    globalprotect,
    gre,
    http_connect,
    http_tunnel,
    icmp_tunnel,
    ike,
    ip_in_ip,
    kcptun,
    l2tp,
    n2n,
    nebula,
    openvpn,
    openvpn_obfuscated,
    openvpn_static,
    pptp,
    pulse,
    socks,
    softether,
    ssh_tunnel,
    sstp,
    tailscale,
    tinc,
    tls_in_tls,
    tor,
    udp_encapsulation,
    vtun,
    warp,
    wireguard,
    yggdrasil,
    zerotier,
)
from classifier.detectors._findings import of_rows
from classifier.detectors.heads import Heads
from classifier.detectors.interface import Detector
from classifier.errors import ClassifierError
from classifier.tables import Evidence, FlowBatch

__all__ = ["DETECTORS", "Detector", "run_detectors", "select"]

#: All detectors, in the order in which they run. Each reads alone; no one depends on another.
DETECTORS: tuple[Detector, ...] = (
    wireguard.DETECTOR,
    openvpn.DETECTOR,
    openvpn_obfuscated.DETECTOR,
    openvpn_static.DETECTOR,
    ike.DETECTOR,
    esp.DETECTOR,
    ah.DETECTOR,
    gre.DETECTOR,
    ip_in_ip.DETECTOR,
    udp_encapsulation.DETECTOR,
    anyconnect.DETECTOR,
    sstp.DETECTOR,
    softether.DETECTOR,
    globalprotect.DETECTOR,
    fortinet.DETECTOR,
    pulse.DETECTOR,
    tor.DETECTOR,
    tls_in_tls.DETECTOR,
    ssh_tunnel.DETECTOR,
    fully_encrypted.DETECTOR,
    l2tp.DETECTOR,
    pptp.DETECTOR,
    tinc.DETECTOR,
    n2n.DETECTOR,
    nebula.DETECTOR,
    zerotier.DETECTOR,
    tailscale.DETECTOR,
    fastd.DETECTOR,
    vtun.DETECTOR,
    warp.DETECTOR,
    yggdrasil.DETECTOR,
    socks.DETECTOR,
    http_connect.DETECTOR,
    http_tunnel.DETECTOR,
    kcptun.DETECTOR,
    dns_tunnel.DETECTOR,
    icmp_tunnel.DETECTOR,
)


def run_detectors(batch: FlowBatch, detectors: Sequence[Detector] = DETECTORS) -> list[Evidence]:
    """Show a batch to detectors and gather what they saw.

    Parameters
    ----------
    batch : FlowBatch
    detectors : sequence of Detector
        One that finds no flow of its transports in the batch, or selects none, is not called, so
        that its kernel need not be compiled.

    Returns
    -------
    list of Evidence
        By detector, then by flow.
    """
    heads = Heads.by_transport(batch)
    found: list[Evidence] = []
    for detector in detectors:
        if not heads.present.intersection(detector.transport):
            continue
        if detector.select is None:
            found += detector.detect(batch)
            continue
        part = heads.of(detector.transport)
        rows = np.sort(part.rows[detector.select(part)])
        if rows.size:
            some = FlowBatch(batch.flows[rows], batch.packets, batch.payload)
            found += of_rows(detector.detect(some), rows)
    return found


def select(wanted: Iterable[str | Detector] | None) -> tuple[Detector, ...]:
    """Return the detectors that a user asked for.

    Parameters
    ----------
    wanted : iterable of str or Detector, or None
        Names of shipped detectors, ignoring case, ``-`` and ``_``, and detectors of one's own;
        None for all shipped.

    Returns
    -------
    tuple of Detector
        In the order asked for, each name once.

    Raises
    ------
    ClassifierError
        If a name is of no shipped detector, or two different detectors bear one name.
    """
    if wanted is None:
        return DETECTORS
    if isinstance(wanted, str):
        wanted = [wanted]
    by_name = {_folded(detector.name): detector for detector in DETECTORS}
    chosen: dict[str, Detector] = {}
    for item in wanted:
        key = _folded(item if isinstance(item, str) else item.name)
        if isinstance(item, str) and key not in by_name:
            near = difflib.get_close_matches(key, by_name, 1)
            hint = f"did you mean {by_name[near[0]].name!r}?" if near else "choose from "
            names = "" if near else ", ".join(detector.name for detector in DETECTORS)
            raise ClassifierError(f"no detector is called {item!r}", remedy=hint + names)
        detector = by_name[key] if isinstance(item, str) else item
        if chosen.setdefault(key, detector) != detector:
            raise ClassifierError(
                f"two detectors are called {detector.name!r}", remedy="rename one of them"
            )
    return tuple(chosen.values())


def _folded(name: str) -> str:
    return name.strip().lower().replace("-", "").replace("_", "")

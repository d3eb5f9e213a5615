"""What the detectors said of labelled flows: counts kept by ``benchmarks/calibrate_identify.py``."""

import json
from pathlib import Path

__all__ = ["measured_text"]


def measured_text(detector: str) -> str:
    """Return what was measured of a detector, in words; empty where it saw nothing.

    Parameters
    ----------
    detector : str
        Its name.
    """
    kept = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    vpn, ordinary = kept["vpn_flows"], kept["ordinary_flows"]
    parts = [
        f"{row['strength']} of {row['vpn']} VPN and {row['ordinary']} ordinary flows"
        for row in kept["seen"]
        if row["detector"] == detector
    ]
    if not parts:
        return f"nothing seen in {vpn:,} VPN and {ordinary:,} ordinary labelled flows"
    return f"{', '.join(parts)} (of {vpn:,} and {ordinary:,} labelled flows that its author knew)"

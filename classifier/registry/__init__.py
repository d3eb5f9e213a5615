"""The register of permitted VPN addresses, and the prefix table compiled from it."""

import importlib
from typing import TYPE_CHECKING

from classifier.registry.checks import Finding, check_rows
from classifier.registry.matching import (
    NEAR_MISSES,
    SIDE_NAMES,
    FlowRegistrations,
    match_flows,
)
from classifier.registry.near import Covering, covering
from classifier.registry.sides import client_is_orig, inside, orig_is_client
from classifier.registry.stats import RegistryStats
from classifier.registry.store import Registry
from classifier.registry.table import Match, Table
from classifier.registry.verify import Verified, verify

if TYPE_CHECKING:
    from classifier.registry.churn import Churn, ChurnModel, plot_churn, simulate_churn
    from classifier.registry.importing import Imported, import_rows
    from classifier.registry.window import Amendment, Change, RefusedError, Registration, Window

__all__ = [
    "NEAR_MISSES",
    "SIDE_NAMES",
    "Amendment",
    "Change",
    "Churn",
    "ChurnModel",
    "Covering",
    "Finding",
    "FlowRegistrations",
    "Imported",
    "Match",
    "RefusedError",
    "Registration",
    "Registry",
    "RegistryStats",
    "Table",
    "Verified",
    "Window",
    "check_rows",
    "client_is_orig",
    "covering",
    "import_rows",
    "inside",
    "match_flows",
    "orig_is_client",
    "plot_churn",
    "simulate_churn",
    "verify",
]

_HOMES = {  # what a replay does not use is imported when it is first used
    "churn": ("Churn", "ChurnModel", "plot_churn", "simulate_churn"),
    "importing": ("Imported", "import_rows"),
    "window": ("Amendment", "Change", "RefusedError", "Registration", "Window"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            module = importlib.import_module(f"{__name__}.{home}")
            globals().update({each: getattr(module, each) for each in names})
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

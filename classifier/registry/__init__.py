"""The register of permitted VPN addresses, and the prefix table compiled from it."""

from typing import TYPE_CHECKING

from classifier._lazy import importer
from classifier.registry.checks import Finding, check_rows
from classifier.registry.matching import (
    NEAR_MISSES,
    SIDE_NAMES,
    FlowRegistrations,
    match_flows,
)
from classifier.registry.near import Covering, covering
from classifier.registry.sides import ROUTED_LOCAL, client_is_orig, inside, orig_is_client
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
    "ROUTED_LOCAL",
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

# What a replay does not use is imported when it is first used.
_HOMES = {
    "Churn": "classifier.registry.churn",
    "ChurnModel": "classifier.registry.churn",
    "plot_churn": "classifier.registry.churn",
    "simulate_churn": "classifier.registry.churn",
    "Imported": "classifier.registry.importing",
    "import_rows": "classifier.registry.importing",
    "Amendment": "classifier.registry.window",
    "Change": "classifier.registry.window",
    "RefusedError": "classifier.registry.window",
    "Registration": "classifier.registry.window",
    "Window": "classifier.registry.window",
}
__getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)

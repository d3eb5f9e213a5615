"""The register of permitted VPN addresses, and the prefix table compiled from it."""

from classifier.registry.matching import (
    NEAR_MISSES,
    SIDE_NAMES,
    FlowRegistrations,
    match_flows,
)
from classifier.registry.sides import client_is_orig, inside, orig_is_client
from classifier.registry.stats import RegistryStats
from classifier.registry.store import Imported, Registry, import_rows
from classifier.registry.table import Match, Table

__all__ = [
    "NEAR_MISSES",
    "SIDE_NAMES",
    "FlowRegistrations",
    "Imported",
    "Match",
    "Registry",
    "RegistryStats",
    "Table",
    "client_is_orig",
    "import_rows",
    "inside",
    "match_flows",
    "orig_is_client",
]

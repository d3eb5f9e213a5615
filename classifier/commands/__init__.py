"""The verbs of the command, one file for each noun: options in, exit code out."""

from classifier.commands import (
    datasets,
    detectors,
    evaluating,
    impact,
    lab,
    learning,
    policy,
    registry,
    replaying,
    simulating,
)

__all__ = ["COMMANDS"]

#: Modules whose ``add`` enters their verbs, in the order that ``--help`` shows.
COMMANDS = (
    replaying,
    impact,
    simulating,
    evaluating,
    detectors,
    registry,
    policy,
    learning,
    datasets,
    lab,
)

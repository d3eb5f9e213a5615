"""The verb that lists the detectors."""

import argparse

from classifier.commands.shared import Verbs, add_verb, say, width

__all__ = ["add"]


def add(verbs: Verbs) -> None:
    """Enter the verbs."""
    detectors = add_verb(
        verbs, "detectors", "List what can be recognised, how surely, and what cannot."
    )
    detectors.set_defaults(run=_detectors)


def _detectors(options: argparse.Namespace) -> int:
    from classifier.detectors import DETECTORS
    from classifier.report.text import detectors_text

    say(detectors_text(DETECTORS, width=width()))
    return 0

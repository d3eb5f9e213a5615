"""``classify`` and what it returns: a run over captures, to look at, judge again and write.

How this works: ``Run`` is built of three layers. ``_flows`` holds what is in memory, ``_packets``
what needs the captures read again, and ``_run`` judges, compares and writes. ``_classify`` makes
runs from captures and from files that were written.
"""

from classifier.run._classify import Replay, classify, open_run, replay
from classifier.run._files import same_file
from classifier.run._joined import join_runs
from classifier.run._run import Run

__all__ = ["Replay", "Run", "classify", "join_runs", "open_run", "replay", "same_file"]

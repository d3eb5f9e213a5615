"""Flows that were judged are freed at once, not when cycles of objects are searched for."""

import gc

from classifier.datasets import demo
from classifier.detectors.heads import Heads
from classifier.pipeline import Reading, make_options
from classifier.tables import FlowBatch


def batches_in_memory() -> int:
    # By their types: what stands for an object that is gone cannot be asked whether it is one
    return sum(type(thing) in (FlowBatch, Heads) for thing in gc.get_objects())


def test_nothing_keeps_a_batch_that_was_judged() -> None:
    files = demo()
    options = make_options(registry=files.register, policy=files.policy)
    gc.collect()
    before = batches_in_memory()
    gc.disable()
    try:
        assert sum(rows.num_rows for rows in Reading([files.capture], options).rows()) > 0
        assert batches_in_memory() <= before
    finally:
        gc.enable()

"""Packets -> flow table: keys, direction, timeouts, statistics, first packets and payload."""

from classifier.flows.merging import Part, PartError, PartTable
from classifier.flows.table import FlowTable

__all__ = ["FlowTable", "Part", "PartError", "PartTable"]

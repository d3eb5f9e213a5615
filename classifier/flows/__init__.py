"""Packets -> flow table: keys, direction, timeouts, statistics, first packets and payload."""

from classifier.flows.table import FlowTable

__all__ = ["FlowTable"]

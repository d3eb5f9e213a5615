"""What the inspecting box itself would cost: a queueing model driven by a capture's own clock.

How this works: every packet of a flow arrives at the box when the capture says so (divided by
``speed_up``), waits for a core, is served for a drawn time, is dropped if its flow is to be blocked
and was identified before, passes a token bucket if its flow is to be throttled, and leaves over the
link. The same packets over the same link without the box are the measure: added delay is the
difference between the two departures.

It is open-loop: senders do not slow down or send again. Completion times take delay's main effect
into account: a packet that the other side answered delays all that follows in its flow.

Memory: 28 bytes per packet of the capture, and as much again while it runs.
"""

from classifier.simulate.box import Box, ServiceTime, Throttle, parse_rate, parse_service
from classifier.simulate.model import (
    Packets,
    check_settings,
    client_numbers,
    measured,
    packet_columns,
    simulate,
)
from classifier.simulate.result import Simulation

__all__ = [
    "Box",
    "Packets",
    "ServiceTime",
    "Simulation",
    "Throttle",
    "check_settings",
    "client_numbers",
    "measured",
    "packet_columns",
    "parse_rate",
    "parse_service",
    "simulate",
]

"""Why a captured packet is in no flow: the names of the accounting."""

from enum import IntEnum

__all__ = ["REASONS", "Reason"]


class Reason(IntEnum):
    """Value of ``PACKET.reason``; 0 is a packet that belongs in a flow."""

    IN_FLOW = 0
    NON_IP_ARP = 1
    NON_IP_LLC = 2  # IEEE 802.3 length instead of an EtherType: STP, IS-IS, NetBEUI ...
    NON_IP_PPP = 3  # PPP or PPPoE control
    NON_IP_MPLS = 4  # a label stack over something other than IP
    NON_IP_LLDP = 5
    NON_IP_EAPOL = 6
    NON_IP_OTHER = 7
    UNSUPPORTED_LINK = 8  # one interface of several; a capture of nothing else is an error
    UNKNOWN_INTERFACE = 9  # pcapng: the packet names an interface that was not described
    MALFORMED_RECORD = 10  # the packet claims more bytes than its block holds
    MALFORMED_IP_VERSION = 11
    MALFORMED_IP_HEADER = 12  # header or total length shorter than the header itself
    MALFORMED_IPV6_EXTENSION = 13
    MALFORMED_TRANSPORT = 14  # the IP packet ends before the ports
    TRUNCATED_LINK = 15  # the capture, not the packet, ends too soon
    TRUNCATED_NETWORK = 16
    TRUNCATED_TRANSPORT = 17


#: Accounting keys by ``Reason`` value.
REASONS: tuple[str, ...] = tuple(reason.name.lower() for reason in Reason)

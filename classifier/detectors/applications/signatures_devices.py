"""Signatures of plants, buildings, homes, networks' own devices, and of chains of blocks.

Each names the document its bytes come from; the notation is that of ``patterns``.
"""

from classifier.detectors.applications.patterns import BOTH, PEER, PORT, TCP, UDP
from classifier.detectors.applications.patterns import Signature as S

__all__ = ["DEVICES"]

# One signature a line, as in the tables they come from.
# fmt: off

_INDUSTRY = (
    S("modbus", TCP, "@2 00 00 00 .. .. 01-2b|81-ab", "Modbus/TCP 3.1.3", needs=PEER, opens=True, length=(4, 2, 6)),
    S("s7comm", TCP, "03 00 .. .. 02 f0 80 32|72", "Wireshark s7comm"),
    S("iso-tsap", TCP, "03 00 .. .. .. e0|d0", "RFC 1006 6", needs=PORT, opens=True, length=(2, 2, 0)),
    # The connection request of a TSAP of two bytes, or of the longer one of S7comm-plus, before it.
    S("s7comm", TCP, "03 00 00 16 11 e0|d0 @22 03 00 .. .. 02 f0 80 32", "Wireshark s7comm", opens=True),
    S("s7comm", TCP, "03 00 00 24 1f e0|d0 @36 03 00 .. .. 02 f0 80 72", "Wireshark s7comm", opens=True),
    S("iec104", TCP, "68 04 07|0b|13|23|43|83 00 00 00", "IEC 60870-5-104 5", opens=True),
    S("iec104", TCP, "68 04-fd", "IEC 60870-5-104 5", needs=PEER, length=(1, 1, 2)),
    S("dnp3", TCP, "05 64 05-ff", "IEEE 1815 9.2", needs=PEER, opens=True),
    S("ethernet-ip", TCP, "65 00 04 00 00 00 00 00", "CIP volume 2, 2-4.4", opens=True, size=(28, 28)),
    S("ethernet-ip", BOTH, "63-66|6f|70 00", "CIP volume 2, 2-3", needs=PEER, opens=True, length=(2, -2, 24)),
    # Two items: a sequenced address, connected data.
    S("ethernet-ip", UDP, "02 00 02 80 08 00 @14 b1 00", "CIP volume 2, 2-6", opens=True, length=(16, -2, 18)),
    S("opc-ua", TCP, "'HELF'", "OPC UA part 6, 7.1.2", opens=True, length=(4, -4, 0)),
    S("bacnet", UDP, "81 00-0b .. .. 01", "ASHRAE 135 J.2", opens=True, length=(2, 2, 0)),
    S("bacnet", UDP, "81 00-0b", "ASHRAE 135 J.2", needs=PEER, opens=True, length=(2, 2, 0)),
    S("knxnet-ip", BOTH, "06 10 02-0a 00-32", "KNXnet/IP core", opens=True, length=(4, 2, 0)),
    S("some-ip", UDP, "ff ff 81 00", "AUTOSAR SOME/IP-SD", opens=True, length=(4, 4, 8)),
    # Target and source port between their networks' identifiers, command, state.
    S("ads", TCP, "00 00 @22 01-09 00 04-05 00", "Beckhoff AMS/TCP", opens=True, length=(2, -4, 6)),
    S("dlms", BOTH, "7e a0", "IEC 62056-46 6.4, HDLC", needs=PEER, opens=True, length=(2, 1, 2)),
    S("egd", UDP, "0d 01", "GE Ethernet Global Data, production", needs=PORT, opens=True, size=(32, 1500)),
    S("fins", TCP, "'FINS' 00 00 00", "Omron W421, FINS/TCP", opens=True, length=(4, 4, 8)),
    S("fins", UDP, "80 00 02 00", "Omron W227, FINS header", needs=PORT, opens=True, size=(12, 2012)),
    S("synchrophasor", BOTH, "aa 01-02|11-12|21-22|31-32|41-42", "IEEE C37.118.2 6.2", needs=PORT, opens=True, length=(2, 2, 0)),
    S("niagara-fox", TCP, "'fox a '", "Niagara Fox", opens=True, within=" fox hello"),
    S("tank-gauge", TCP, "01 49|69 30-39 30-39 30-39 30-39 30-39", "Veeder-Root TLS-350 serial interface", opens=True),
    S("hart-ip", BOTH, "01 00-02|0f 00-03|0f", "HART-IP, TDC network management", needs=PORT, opens=True, length=(6, 2, 0)),
    S("profinet", UDP, "04 00|02 .. .. .. 00 00", "IEC 61158-6-10, context manager over DCE/RPC", needs=PORT, opens=True, size=(80, 1500)),
)

_HOME = (
    S("tuya", BOTH, "00 00 55 aa 00 00", "Tuya local protocol, tinytuya", opens=True, size=(20, 1500)),
    # {"system" under a key that is each byte before.
    S("kasa", UDP, "d0 f2 81 f8 8b ff 9a f7 d5", "TP-Link smart home protocol, Softscheck 2016", opens=True),
    S("kasa", TCP, "00 00 .. .. d0 f2 81 f8 8b ff 9a f7 d5", "TP-Link smart home protocol, Softscheck 2016", opens=True),
    S("miio", UDP, "21 31 00 20 ff ff ff ff ff ff ff ff", "miIO protocol, OpenMiHome", opens=True, size=(32, 32)),
    S("miio", UDP, "21 31", "miIO protocol, OpenMiHome", needs=PEER, opens=True, length=(2, 2, 0)),
    S("lifx", UDP, "@3 14|34", "LIFX LAN protocol, frame header", needs=PORT, opens=True, length=(0, -2, 0)),
    S("weave", TCP, "@2 00 13 @13 30 b4 18", "OpenWeave message format; Nest's OUI", opens=True, length=(0, -2, 2)),
    S("tivo-connect", BOTH, "'TiVoConnect='", "TiVo Connect automatic machine discovery", opens=True),
    S("art-net", UDP, "'Art-Net' 00", "Art-Net 4", opens=True),
    S("sacn", UDP, "00 10 00 00 'ASC-E1.17' 00 00 00", "ANSI E1.31 5", opens=True),
    S("wake-on-lan", UDP, "ff ff ff ff ff ff", "AMD 20213, Magic Packet", opens=True, size=(102, 108)),
)

_NETWORK = (
    S("mndp", UDP, "00 .. .. .. 00 01 00 06", "MikroTik neighbor discovery", needs=PORT, opens=True, size=(18, 1500)),
    S("meraki", UDP, "fe f7 28 91", "nDPI merakicloud", opens=True),
    S("dlep", UDP, "'DLEP' 00 01-02", "RFC 8175 11.1", opens=True, length=(6, 2, 8)),
    S("dlep", TCP, "00 01-0e", "RFC 8175 11.2", needs=PORT, opens=True, length=(2, 2, 4)),
    # Header of two words, no radio MAC or wireless information; a discovery, a join.
    S("capwap", UDP, "00 10 .. .. 00 00 00 00 00 00 00 01-04 .. .. .. 00", "RFC 5415 4.3, 4.5.1", opens=True),
    S("capwap", UDP, "01 00 00 00 14-17 fe fd|ff", "RFC 5415 4.2", opens=True),
    S("pfcp", UDP, "20|21 01-0f|32-39", "3GPP TS 29.244 7.2.2", needs=PORT, opens=True, length=(2, 2, 4)),
    S("gtp-prime", UDP, "0e/1e 01-07|f0|f1", "3GPP TS 32.295 6.1", needs=PORT, opens=True, length=(2, 2, 6)),
    S("babel", UDP, "2a 02", "RFC 8966 4.2", needs=PORT, opens=True, length=(2, 2, 4)),
    S("olsr", UDP, "00-05", "RFC 3626 3.3", needs=PORT, opens=True, length=(0, 2, 0)),
    S("pcep", TCP, "20 01 00", "RFC 5440 6.1", needs=PORT, opens=True, length=(2, 2, 0)),
    S("rpki-rtr", TCP, "00-02 00-0b", "RFC 8210 5.1", needs=PORT, opens=True, length=(4, 4, 0)),
)

_CHAINS = (
    S("monero", TCP, "01 21 01 01 01 01 01 01", "Monero levin protocol", opens=True),
    # Bitcoin and what descends from it: four bytes of the network, then the command.
    S("bitcoin", TCP, "f9 be b4 d9 61-7a 61-7a 61-7a", "Bitcoin P2P message header", opens=True),
    S("bitcoin", TCP, "@4 'version' 00 00 00 00 00", "Bitcoin P2P message header", opens=True),
    *(S("stratum", TCP, "7b", "Stratum mining protocol", opens=True, within=word) for word in ('"mining.', '"eth_submit', '"eth_getwork', '"method":"login"')),
    # Hash, signature with its recovery bit, type, list; a ping begins with the version.
    S("ethereum", UDP, "@96 00-01 01 c0-f7 04", "Ethereum discovery v4, ping", opens=True, size=(100, 1280)),
    S("ethereum", UDP, "@96 00-01 01-06 c0-f9", "Ethereum discovery v4", needs=PEER, opens=True, size=(100, 1280)),
    S("ethereum", TCP, "01-03 .. 04", "RLPx, EIP-8", needs=PEER, opens=True, length=(0, 2, 2)),
    S("nano", TCP, "52 41-43 01-3f 01-3f 01-3f 0a 00-1f", "Nano network protocol, node id handshake", needs=PEER, opens=True, size=(40, 1500)),
    S("zug", UDP, "@2 55 47 10", "nDPI zug", opens=True, length=(0, 2, 0)),
    S("libp2p", TCP, "13 '/multistream/1.0.0' 0a", "multistream-select 1.0", opens=True),
)

#: In the order in which they are compared.
DEVICES = (*_INDUSTRY, *_HOME, *_NETWORK, *_CHAINS)

"""The applications that can be named: their class of use and the ports registered for them.

A port never names an application whose content was seen: it only settles content that agrees with
it but is too short or too common to be sure (``signatures.py``). Ports are IANA's assignments, or
the default of the protocol's own document.
"""

from typing import NamedTuple

__all__ = ["APPLICATIONS", "CATALOGUE", "SERVICES", "Application"]


class Application(NamedTuple):
    """Class of use and usual ports of an application."""

    service: str
    ports: tuple[int, ...] = ()


#: Name -> class of use and ports. The order gives the codes that kernels write.
CATALOGUE: dict[str, Application] = {
    "unknown": Application("unknown"),
    # web
    "http": Application("web", (80, 8080, 8000, 3128, 5985)),
    "http2": Application("web", (80, 8080)),
    "websocket": Application("web", (80, 8080)),
    "tls": Application("web", (443, 8443)),
    "quic": Application("web", (443, 80, 8443)),
    "dtls": Application("web", (443, 4433)),
    "ajp": Application("web", (8009,)),
    "fastcgi": Application("web", (9000,)),
    # mail
    "smtp": Application("mail", (25, 587, 2525)),
    "smtps": Application("mail", (465,)),
    "imap": Application("mail", (143,)),
    "imaps": Application("mail", (993,)),
    "pop3": Application("mail", (110,)),
    "pop3s": Application("mail", (995,)),
    "nntp": Application("mail", (119,)),
    # voice
    "sip": Application("voice", (5060, 5061)),
    "sips": Application("voice", (5061,)),
    "stun": Application("voice", (3478, 3479, 5349, 19302)),
    "rtp": Application("voice"),
    "rtcp": Application("voice"),
    "h323": Application("voice", (1720,)),
    "mgcp": Application("voice", (2427, 2727)),
    "megaco": Application("voice", (2944,)),
    "iax2": Application("voice", (4569,)),
    "skinny": Application("voice", (2000,)),
    "teamspeak": Application("voice", (9987,)),
    "discord": Application("voice"),
    # messaging
    "xmpp": Application("messaging", (5222, 5269)),
    "irc": Application("messaging", (6667, 6666, 6668, 6669)),
    "whatsapp": Application("messaging", (443, 5222, 80)),
    # game
    "source-engine": Application("game", (27015, 27016, 27017, 27005)),
    "quake": Application("game", (27960, 27910)),
    "raknet": Application("game", (19132,)),
    "steam": Application("game", (27017, 27018, 27019, 27036)),
    # remote
    "ssh": Application("remote", (22,)),
    "telnet": Application("remote", (23,)),
    "rdp": Application("remote", (3389,)),
    "vnc": Application("remote", (5900, 5901)),
    "x11": Application("remote", (6000,)),
    "teamviewer": Application("remote", (5938,)),
    # file
    "ftp": Application("file", (21,)),
    "tftp": Application("file", (69,)),
    "smb": Application("file", (445, 139)),
    "netbios-ssn": Application("file", (139,)),
    "nfs": Application("file", (2049,)),
    "rsync": Application("file", (873,)),
    "afp": Application("file", (548,)),
    "git": Application("file", (9418,)),
    "svn": Application("file", (3690,)),
    "ceph": Application("file", (6789, 3300)),
    "bittorrent": Application("file", (6881, 6882, 6969)),
    "gnutella": Application("file", (6346, 6347)),
    "edonkey": Application("file", (4661, 4662, 4672)),
    "syncthing": Application("file", (21027,)),
    "dropbox-lansync": Application("file", (17500,)),
    # stream
    "rtsp": Application("stream", (554, 8554)),
    "rtmp": Application("stream", (1935,)),
    "shoutcast": Application("stream", (8000,)),
    "spotify-connect": Application("stream", (57621,)),
    # infrastructure: names, addresses, time
    "dns": Application("infrastructure", (53, 5353, 5355)),
    "dot": Application("infrastructure", (853,)),
    "dnscrypt": Application("infrastructure", (443, 5353)),
    "mdns": Application("infrastructure", (5353,)),
    "llmnr": Application("infrastructure", (5355,)),
    "nbns": Application("infrastructure", (137,)),
    "nbdgm": Application("infrastructure", (138,)),
    "ntp": Application("infrastructure", (123,)),
    "ptp": Application("infrastructure", (319, 320)),
    "dhcp": Application("infrastructure", (67, 68)),
    "dhcpv6": Application("infrastructure", (546, 547)),
    "ssdp": Application("infrastructure", (1900,)),
    "ws-discovery": Application("infrastructure", (3702,)),
    "slp": Application("infrastructure", (427,)),
    "nat-pmp": Application("infrastructure", (5350, 5351)),
    "bjnp": Application("infrastructure", (8611, 8612)),
    # infrastructure: management
    "snmp": Application("infrastructure", (161, 162)),
    "syslog": Application("infrastructure", (514, 601)),
    "radius": Application("infrastructure", (1812, 1813, 1645, 1646, 3799)),
    "tacacs": Application("infrastructure", (49,)),
    "diameter": Application("infrastructure", (3868,)),
    "kerberos": Application("infrastructure", (88, 464)),
    "ldap": Application("infrastructure", (389, 3268)),
    "ldaps": Application("infrastructure", (636, 3269)),
    "rpc": Application("infrastructure", (111,)),
    "dce-rpc": Application("infrastructure", (135,)),
    "netflow": Application("infrastructure", (2055, 9995, 9996, 9555)),
    "ipfix": Application("infrastructure", (4739, 2055)),
    "sflow": Application("infrastructure", (6343,)),
    "ipmi": Application("infrastructure", (623,)),
    "zabbix": Application("infrastructure", (10050, 10051)),
    "openflow": Application("infrastructure", (6653, 6633)),
    # infrastructure: routing
    "bgp": Application("infrastructure", (179,)),
    "ldp": Application("infrastructure", (646,)),
    "rip": Application("infrastructure", (520,)),
    "bfd": Application("infrastructure", (3784, 3785, 4784)),
    "hsrp": Application("infrastructure", (1985,)),
    "gtp-c": Application("infrastructure", (2123,)),
    "icmp": Application("infrastructure"),
    "icmp6": Application("infrastructure"),
    "igmp": Application("infrastructure"),
    "ospf": Application("infrastructure"),
    "eigrp": Application("infrastructure"),
    "pim": Application("infrastructure"),
    "rsvp": Application("infrastructure"),
    "vrrp": Application("infrastructure"),
    "sctp": Application("infrastructure"),
    "dccp": Application("infrastructure"),
    # infrastructure: stores and queues
    "mysql": Application("infrastructure", (3306,)),
    "postgresql": Application("infrastructure", (5432,)),
    "tds": Application("infrastructure", (1433,)),
    "tns": Application("infrastructure", (1521,)),
    "redis": Application("infrastructure", (6379,)),
    "memcached": Application("infrastructure", (11211,)),
    "mongodb": Application("infrastructure", (27017,)),
    "cassandra": Application("infrastructure", (9042,)),
    "kafka": Application("infrastructure", (9092,)),
    "zookeeper": Application("infrastructure", (2181,)),
    "elasticsearch": Application("infrastructure", (9300,)),
    "mqtt": Application("infrastructure", (1883,)),
    "mqtts": Application("infrastructure", (8883,)),
    "amqp": Application("infrastructure", (5672,)),
    "stomp": Application("infrastructure", (61613,)),
    "nats": Application("infrastructure", (4222,)),
    "coap": Application("infrastructure", (5683,)),
    "giop": Application("infrastructure", (683,)),
    "java-rmi": Application("infrastructure", (1099,)),
    "rtps": Application("infrastructure", (7400, 7410)),
    "fix": Application("infrastructure"),
    "hl7": Application("infrastructure", (2575,)),
    "dicom": Application("infrastructure", (104, 11112)),
    # infrastructure: industry and buildings
    "modbus": Application("infrastructure", (502,)),
    "iso-tsap": Application("infrastructure", (102,)),
    "s7comm": Application("infrastructure", (102,)),
    "iec104": Application("infrastructure", (2404,)),
    "dnp3": Application("infrastructure", (20000,)),
    "ethernet-ip": Application("infrastructure", (44818,)),
    "opc-ua": Application("infrastructure", (4840,)),
    "bacnet": Application("infrastructure", (47808,)),
    "knxnet-ip": Application("infrastructure", (3671,)),
    "some-ip": Application("infrastructure", (30490,)),
    # neither of these classes
    "monero": Application("unknown", (18080,)),
    "bitcoin": Application("unknown", (8333,)),
    "stratum": Application("unknown", (3333,)),
}

#: All names that can be given; an application's code is its place here.
APPLICATIONS: tuple[str, ...] = tuple(CATALOGUE)

#: Application -> class of use, for the ``service`` column.
SERVICES: dict[str, str] = {name: entry.service for name, entry in CATALOGUE.items()}

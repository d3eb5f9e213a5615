"""Signatures of what keeps networks, hosts and stores running.

Each names the document its bytes come from; the notation is that of ``patterns``.
"""

from classifier.detectors.applications.patterns import BOTH, PEER, PORT, TCP, UDP, Parser
from classifier.detectors.applications.patterns import Signature as S

__all__ = ["INFRASTRUCTURE"]

# One signature a line, as in the tables they come from.
# fmt: off

_NAMES_AND_TIME = (
    S("dns", UDP, "@2 00-7f", "RFC 1035 4.1", opens=True, size=(12, 65535), parser=Parser.DNS),
    S("dns", UDP, "@2 80-ff", "RFC 1035 4.1", size=(12, 65535), parser=Parser.DNS),
    S("dns", TCP, "@4 00-7f", "RFC 1035 4.2.2", opens=True, size=(14, 65535), parser=Parser.DNS_TCP),
    S("dns", TCP, "@4 80-ff", "RFC 1035 4.2.2", size=(14, 65535), parser=Parser.DNS_TCP),
    S("dnscrypt", UDP, "'r6fnvWj8'", "DNSCrypt protocol 2"),
    S("dnscrypt", TCP, "@2 'r6fnvWj8'", "DNSCrypt protocol 2"),
    # Leap indicator 2 bits, version 1 to 4, mode 3 of a client, 1, 2, 4 and 5 of others.
    S("ntp", UDP, "0b/3f|13/3f|1b/3f|23/3f 00-10 00-14", "RFC 5905 7.3", needs=PORT, opens=True, size=(48, 128)),
    S("ntp", UDP, "0b/3f|13/3f|1b/3f|23/3f 00-10 .. 80-ff", "RFC 5905 7.3", needs=PORT, opens=True, size=(48, 128)),
    S("ntp", UDP, "09/3f|0a/3f|0c/3f|0d/3f 00-10 00-14", "RFC 5905 7.3", needs=PORT, size=(48, 128)),
    S("ntp", UDP, "11/3f|12/3f|14/3f|15/3f 00-10 00-14", "RFC 5905 7.3", needs=PORT, size=(48, 128)),
    S("ntp", UDP, "19/3f|1a/3f|1c/3f|1d/3f 00-10 00-14", "RFC 5905 7.3", needs=PORT, size=(48, 128)),
    S("ntp", UDP, "21/3f|22/3f|24/3f|25/3f 00-10 00-14", "RFC 5905 7.3", needs=PORT, size=(48, 128)),
    S("ntp", UDP, "16/3f|17/3f|1e/3f|26/3f 01-2f", "RFC 9327 2, NTP modes 6 and 7", needs=PORT, opens=True, size=(4, 1500)),
    S("ptp", UDP, "00-03|08-0d 02 @4 00-7f 00", "IEEE 1588-2008 13.3", needs=PORT, opens=True, length=(2, 2, 0)),
    S("dhcp", UDP, "01 01-20 01-10 @236 63 82 53 63", "RFC 2131 2", opens=True),
    S("dhcp", UDP, "02 01-20 00-10 @236 63 82 53 63", "RFC 2131 2"),
    S("dhcpv6", UDP, "01-0d .. .. .. 00 01-40 00", "RFC 8415 8", needs=PORT, opens=True),
    S("ssdp", UDP, "'M-SEARCH * HTTP/1.'", "UPnP Device Architecture 1.3.2", opens=True),
    S("ssdp", UDP, "'NOTIFY * HTTP/1.'", "UPnP Device Architecture 1.2.2", opens=True),
    S("ssdp", UDP, "'HTTP/1.' 30|31 ' 200'", "UPnP Device Architecture 1.3.3", within="\nst:"),
    S("ws-discovery", UDP, "3c", "WS-Discovery 1.1", opens=True, within="ws/2005/04/discovery"),
    S("slp", BOTH, "02 01-0b .. .. .. 00|20|40|60|80 00", "RFC 2608 8", needs=PEER, opens=True, length=(2, 3, 0)),
    S("slp", BOTH, "01 01-0a", "RFC 2165 16", needs=PEER, opens=True, length=(2, 2, 0)),
    S("nat-pmp", UDP, "00 00", "RFC 6886 3.2", needs=PORT, opens=True, size=(2, 2)),
    S("nat-pmp", UDP, "00 80", "RFC 6886 3.2", needs=PORT, size=(12, 12)),
    S("nat-pmp", UDP, "00 01|02 00 00", "RFC 6886 3.3", needs=PORT, opens=True, size=(12, 12)),
    S("nat-pmp", UDP, "02 00-02|80-82 00", "RFC 6887 7", needs=PORT, opens=True, size=(24, 1100)),
    S("nbdgm", UDP, "10-16", "RFC 1002 4.4", needs=PORT, opens=True, size=(10, 1500)),
    S("roughtime", UDP, "02 00 00 00 40 00 00 00 'NONC' 'PAD' ff", "Roughtime, Google 2016", opens=True, size=(1024, 1500)),
    S("roughtime", UDP, "'ROUGHTIM'", "draft-ietf-ntp-roughtime 5", opens=True),
    S("roughtime", UDP, "05 00 00 00 40 00 00 00", "Roughtime, Google 2016", within="srep"),
    S("bjnp", UDP, "'BJN' 42|50 01-02|81-82", "Canon BJNP, SANE pixma", opens=True),
)

# Lengths in BER (X.690 8.1.3), and where the message ends by them: offset, width, what to add.
_LENGTHS = (
    ("05-7f", (1, 1, 2)), ("81 ..", (2, 1, 3)), ("82 .. ..", (2, 2, 4)), ("83 .. .. ..", (2, 3, 5)),
    ("84 .. .. .. ..", (2, 4, 6)),
)
# Lengths of a value and of the SEQUENCE that fills it.
_TWO_LENGTHS = (("05-7f", "05-7f"), ("81 ..", "05-7f"), ("81 ..", "81 .."), ("82 .. ..", "81 .."), ("82 .. ..", "82 .. .."))
_NUMBERS = ("01 ..", "02 .. ..", "03 .. .. ..", "04 .. .. .. ..")
# Protocol version 5, [1] in requests for tickets, [0] elsewhere.
_KERBEROS = tuple(f"{outer} 30 {inner} a0-a1 03 02 01 05" for outer, inner in _TWO_LENGTHS)

_BER = (
    # Version 1 or 2c and a community, or version 3 and a header.
    *(S("snmp", UDP, f"30 {n} 02 01 00-01 04", "RFC 1901 2, RFC 3417", opens=True, length=end) for n, end in _LENGTHS),
    *(S("snmp", UDP, f"30 {n} 02 01 03 30", "RFC 3412 6", opens=True, length=end) for n, end in _LENGTHS),
    # A number and an operation: those of which there is no doubt, then all.
    *(S("ldap", BOTH, f"30 {n} 02 {i} 60-61|63-65|77-78", "RFC 4511 4.1.1", opens=True) for n, _ in _LENGTHS for i in _NUMBERS),
    *(S("ldap", BOTH, f"30 {n} 02 {i} 42-79", "RFC 4511 4.1.1", needs=PEER, opens=True) for n, _ in _LENGTHS for i in _NUMBERS),
    *(S("kerberos", UDP, f"6a|6c {v}", "RFC 4120 5", opens=True) for v in _KERBEROS),
    *(S("kerberos", UDP, f"6b|6d-6f|74-76|7e {v}", "RFC 4120 5") for v in _KERBEROS),
    *(S("kerberos", TCP, f"00 00 .. .. 6a|6c {v}", "RFC 4120 7.2.2", opens=True, length=(0, 4, 4)) for v in _KERBEROS),
    *(S("kerberos", TCP, f"00 00 .. .. 6b|6d|7e {v}", "RFC 4120 7.2.2", length=(0, 4, 4)) for v in _KERBEROS),
)

_MANAGEMENT = (
    *_BER,
    S("syslog", BOTH, "'<' 30-39 3e", "RFC 5424 6.1", needs=PORT, opens=True),
    S("syslog", BOTH, "'<' 31-39 30-39 3e", "RFC 5424 6.1", needs=PORT, opens=True),
    S("syslog", BOTH, "'<1' 30-39 30-39 3e", "RFC 5424 6.1", needs=PORT, opens=True),
    S("radius", UDP, "01|04|0c|28|2b", "RFC 2865 3", needs=PEER, opens=True, size=(20, 4096), length=(2, 2, 0)),
    S("radius", UDP, "02-03|05|0b|29-2a|2c-2d", "RFC 2865 3", needs=PEER, size=(20, 4096), length=(2, 2, 0)),
    S("tacacs", TCP, "c0|c1 01-03 01-ff 00|01|04|05", "RFC 8907 4.1", opens=True, length=(8, 4, 12)),
    S("diameter", TCP, "01 .. .. .. 00|40|80|c0 00 01 01|02|03|08|0f|10|12|18|1a", "RFC 6733 3", opens=True, length=(1, 3, 0)),
    S("rpc", TCP, "80 @8 00 00 00 00 00 00 00 02 00 01 86", "RFC 5531 9", opens=True),
    S("rpc", UDP, "@4 00 00 00 00 00 00 00 02 00 01 86", "RFC 5531 9", opens=True),
    S("rpc", UDP, "@4 00 00 00 01 00 00 00 00|01 00 00 00 00", "RFC 5531 9", needs=PEER),
    S("dce-rpc", TCP, "05 00 0b|0c .. 10 00 00 00", "C706 12.6.3", opens=True, length=(8, -2, 0)),
    S("netflow", UDP, "00 05 00 01-1e", "Cisco NetFlow 5", needs=PORT, opens=True, size=(72, 1500)),
    S("netflow", UDP, "00 09 00 01-40", "RFC 3954 5.1", needs=PORT, opens=True, size=(24, 9000)),
    S("ipfix", UDP, "00 0a", "RFC 7011 3.1", needs=PEER, opens=True, length=(2, 2, 0)),
    S("sflow", UDP, "00 00 00 05 00 00 00 01|02", "sFlow 5", needs=PEER, opens=True, size=(28, 9000)),
    S("ipmi", UDP, "06 00 ff 06|07", "IPMI 2.0 13.1", opens=True),
    S("zabbix", TCP, "'ZBXD' 01-07", "Zabbix protocol header", opens=True),
    S("iperf3", TCP, " ".join(["32-7a"] * 36) + " 00", "iperf3 iperf_api.h, cookie", opens=True, size=(37, 37)),
    S("iperf3", UDP, "'9876'", "iperf3 iperf.h, UDP_CONNECT_MSG", needs=PEER, opens=True, size=(4, 4)),
    S("iperf3", UDP, "'6789'", "iperf3 iperf.h, UDP_CONNECT_REPLY", needs=PEER, size=(4, 4)),
    S("speedtest", TCP, "'HI ' 30-66 30-66 30-66 30-66 30-66 30-66 30-66 30-66 2d", "Ookla server protocol, nDPI ookla", opens=True),
    S("speedtest", TCP, "'HI' 0a", "Ookla server protocol, nDPI ookla", needs=PEER, opens=True),
    S("speedtest", TCP, "'HELLO 2.'", "Ookla server protocol, nDPI ookla", needs=PEER),
    S("lumberjack", TCP, "31-32 43|44|4a|57 00", "Elastic lumberjack protocol 2", needs=PORT, opens=True),
    S("gelf", UDP, "1e 0f", "Graylog extended log format, chunks", needs=PORT, opens=True, size=(12, 8192)),
    S("collectd", UDP, "00 00 00 .. 20-7e", "collectd binary protocol", needs=PORT, opens=True),
    S("munin", TCP, "'# munin node at '", "Munin network protocol", opens=True),
    S("check-mk", TCP, "'<<<check_mk>>>'", "Checkmk agent output"),
    S("kismet", TCP, "'*KISMET: '", "Kismet 2 client protocol", opens=True),
    S("jdwp", TCP, "'JDWP-Handshake'", "Java Debug Wire Protocol", opens=True),
    S("distcc", TCP, "'DIST0000000' 31-33", "distcc protocol 1 to 3", opens=True),
    S("avast", TCP, "'NOSA'", "nDPI avast", opens=True, length=(4, 2, 0)),
    S("alicloud", TCP, "ce fa be ba .. .. 00 00", "nDPI alicloud", opens=True),
    S("openflow", TCP, "01-06 00 00 08", "OpenFlow 1.5 7.5.1", needs=PEER, opens=True, size=(8, 8)),
    S("openflow", TCP, "04-06 00 00 10", "OpenFlow 1.5 7.5.1", needs=PEER, opens=True, size=(16, 16)),
)

_FF16 = " ".join(["ff"] * 16)
_ROUTING = (
    S("bgp", TCP, f"{_FF16} 00-10 .. 01-05", "RFC 4271 4.1", opens=True),
    S("ldp", BOTH, "00 01 @8 00 00 01-04 00-01", "RFC 5036 3.1", opens=True, length=(2, 2, 4)),
    S("rip", UDP, "01|02 01|02 00 00", "RFC 2453 4", needs=PORT, opens=True, size=(4, 512)),
    S("bfd", UDP, "20-28 .. 01-ff 18-34", "RFC 5880 4.1", needs=PORT, opens=True, length=(3, 1, 0)),
    S("hsrp", UDP, "00 00-03 00|01|02|04|08|10", "RFC 2281 5.1", needs=PORT, opens=True, size=(20, 50)),
    S("hsrp", UDP, "01 28 02", "Cisco HSRP 2", needs=PORT, opens=True, size=(42, 100)),
    S("gtp-c", UDP, "30-37 01-fd", "3GPP TS 29.060 6", needs=PORT, opens=True, length=(2, 2, 8)),
    S("gtp-c", UDP, "40|48 01-ff", "3GPP TS 29.274 5.1", needs=PORT, opens=True, length=(2, 2, 4)),
)

_STORES = (
    S("mysql", TCP, "@2 00 00 0a 30-39", "MySQL client/server protocol", opens=True, size=(20, 500), length=(0, -3, 4)),
    S("postgresql", TCP, "00 00 @4 00 03 00 00-02", "PostgreSQL 55.7", opens=True, length=(0, 4, 0)),
    S("postgresql", TCP, "00 00 00 08 04 d2 16 2f|30", "PostgreSQL 55.7", opens=True, size=(8, 8)),
    S("postgresql", TCP, "00 00 00 10 04 d2 16 2e", "PostgreSQL 55.7", opens=True, size=(16, 16)),
    S("tds", TCP, "12 01 .. .. 00 00 .. 00 00 00", "[MS-TDS] 2.2.6.5", opens=True, length=(2, 2, 0)),
    S("tds", TCP, "04 01 .. .. .. .. 01", "[MS-TDS] 2.2.3", needs=PEER, length=(2, 2, 0)),
    S("tds", UDP, "05 .. .. 'ServerName;'", "[MC-SQLR] 2.2.5"),
    S("tds", UDP, "02-03", "[MC-SQLR] 2.2.1", needs=PORT, opens=True, size=(1, 1)),
    S("tns", TCP, "@2 00 00 01 00", "Oracle Net", opens=True, length=(0, 2, 0), within="(description="),
    S("redis", TCP, "2a 30-39 0d 0a 24 30-39", "Redis serialization protocol", opens=True),
    S("redis", TCP, "2a 30-39 30-39 0d 0a 24 30-39", "Redis serialization protocol", opens=True),
    S("redis", TCP, "'+PONG' 0d 0a", "Redis serialization protocol", needs=PEER),
    *(S("memcached", TCP, f"'{v}'", "memcached protocol.txt", needs=PEER, opens=True) for v in ("get ", "set ", "stats", "version", "STAT ", "VALUE ", "VERSION ")),
    S("memcached", TCP, "80 00-38 @5 00 00 00", "memcached binary protocol", needs=PEER, opens=True, length=(8, 4, 24)),
    S("memcached", TCP, "81 00-38 @5 00", "memcached binary protocol", needs=PEER, length=(8, 4, 24)),
    S("memcached", UDP, "@2 00 00 00 01-08 00 00", "memcached protocol.txt", needs=PEER, opens=True),
    S("mongodb", TCP, "@12 d4|d5|d2|dd|dc 07 00 00", "MongoDB wire protocol", opens=True, length=(0, -4, 0)),
    S("mongodb", TCP, "@12 01 00 00 00", "MongoDB wire protocol", needs=PEER, length=(0, -4, 0)),
    S("cassandra", TCP, "01-05 .. .. .. 01", "CQL binary protocol 4", opens=True, within="cql_version"),
    S("cassandra", TCP, "03-05 .. .. .. 01|05|07|09|0a|0b|0f", "CQL binary protocol 4", needs=PEER, opens=True, length=(5, 4, 9)),
    S("cassandra", TCP, "83-85 .. .. .. 00|02|03|06|08|0e|10", "CQL binary protocol 4", needs=PEER, length=(5, 4, 9)),
    S("kafka", TCP, "00 .. .. .. 00 00-50 00 00-14", "Kafka protocol guide", needs=PORT, opens=True, length=(0, 4, 4)),
    S("zookeeper", TCP, "00 00 00 2c|2d 00 00 00 00", "ZooKeeper jute: ConnectRequest", opens=True, size=(48, 49)),
    *(S("zookeeper", TCP, f"'{v}'", "ZooKeeper administrator's guide", needs=PORT, opens=True, size=(4, 5)) for v in ("ruok", "srvr", "mntr", "stat", "conf")),
    S("elasticsearch", TCP, "'ES' 00", "Elasticsearch transport", opens=True, length=(2, 4, 6)),
    S("mqtt", TCP, "10 .. 00 04 'MQTT' 03-05", "MQTT 5.0 3.1", opens=True),
    S("mqtt", TCP, "10 .. .. 00 04 'MQTT' 03-05", "MQTT 5.0 3.1", opens=True),
    S("mqtt", TCP, "10 .. 00 06 'MQIsdp' 03", "MQTT 3.1", opens=True),
    S("mqtt", TCP, "c0 00", "MQTT 3.1.1 3.12", needs=PEER, size=(2, 2)),
    S("mqtt", TCP, "d0 00", "MQTT 3.1.1 3.13", needs=PEER, size=(2, 2)),
    S("mqtt", TCP, "20 02 00|01 00-05", "MQTT 3.1.1 3.2", needs=PEER, size=(4, 4)),
    S("mqtt", TCP, "30-3f|82|c0", "MQTT 3.1.1 2.2", needs=PEER, size=(2, 129), length=(1, 1, 2)),
    S("amqp", TCP, "'AMQP' 00|01|02|03 00|01 00|09 00|01|09|0a", "AMQP 0-9-1 4.2.2", opens=True),
    S("amqp", TCP, "01-03|08 .. .. 00 00", "AMQP 0-9-1 4.2.3", needs=PEER, length=(3, 4, 8)),
    S("stomp", TCP, "'CONNECT' 0a", "STOMP 1.2", opens=True, within="accept-version"),
    S("stomp", TCP, "'STOMP' 0a", "STOMP 1.2", opens=True),
    S("nats", TCP, "'INFO {'", "NATS client protocol", opens=True, within="server_id"),
    # Version 1 and a token of up to eight bytes, then a code of RFC 7252's registry.
    S("coap", UDP, "40-48|50-58|60-68|70-78 01-07", "RFC 7252 3", needs=PORT, opens=True),
    S("coap", UDP, "40|50|60|70 00", "RFC 7252 4.1", needs=PORT, opens=True, size=(4, 4)),
    S("coap", UDP, "40-48|50-58|60-68|70-78 41-45|5f|80-8f|a0-a5", "RFC 7252 3", needs=PORT),
    S("giop", TCP, "'GIOP' 01 00-03", "CORBA 3 part 2, 9.4", opens=True),
    S("java-rmi", TCP, "'JRMI' 00 01|02", "Java RMI wire protocol", opens=True, size=(7, 7)),
    S("fastcgi", TCP, "01 01 00 01 00 08 00 00 00 01-03", "FastCGI 1.0", opens=True),
    S("ajp", TCP, "12 34 .. .. 02|07|08|0a", "Apache JServ Protocol 1.3", opens=True, length=(2, 2, 4)),
    S("ajp", TCP, "'AB' .. .. 03-06|09", "Apache JServ Protocol 1.3", needs=PEER),
    S("fix", TCP, "'8=FIX'", "FIX session layer", opens=True),
    S("hl7", TCP, "0b 'MSH|'", "HL7 minimal lower layer protocol", opens=True),
    S("dicom", TCP, "01 00 @6 00 01 00 00", "DICOM PS3.8 9.3.2", opens=True, length=(2, 4, 6)),
    S("giop", UDP, "'MIOP' 10-11", "OMG unreliable multicast inter-ORB protocol", opens=True),
    S("gearman", TCP, "00 'RE' 51|53 00 00 00 01-2a", "Gearman binary protocol", opens=True),
    S("zeromq", TCP, "ff 00 00 00 00 00 00 00 .. 7f", "ZMTP 3.1 2.3", opens=True),
    S("openwire", TCP, "00 00 .. .. 01 'ActiveMQ'", "OpenWire 2 WIREFORMAT_INFO", opens=True),
    S("nsq", TCP, "'  V2'", "NSQ TCP protocol", opens=True),
    S("thrift", TCP, "80 01 00 01-04 00 00", "Thrift binary protocol, strict", opens=True),
    S("thrift", TCP, "00 00 .. .. 80 01 00 01-04 00 00", "Thrift framed transport", opens=True, length=(0, 4, 4)),
    S("drda", TCP, "00 .. d0 01|41 00 01 00 .. 10 41", "DRDA volume 3, EXCSAT", opens=True),
    S("clickhouse", TCP, "00 .. 'ClickHouse'", "ClickHouse native protocol, hello", opens=True),
    S("bolt", TCP, "60 60 b0 17", "Neo4j Bolt handshake", opens=True, size=(20, 1500)),
    S("json-rpc", TCP, "7b", "JSON-RPC 2.0 4", opens=True, within='"jsonrpc"'),
    S("rtps", UDP, "'RTPS' 01|02", "OMG DDSI-RTPS 2.3, 8.3.3", opens=True, size=(20, 65535)),
)

#: In the order in which they are compared.
INFRASTRUCTURE = (*_MANAGEMENT, *_ROUTING, *_STORES, *_NAMES_AND_TIME)

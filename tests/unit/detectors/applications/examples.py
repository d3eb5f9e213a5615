"""One conversation or more for each application, built from its document field by field."""

from typing import NamedTuple

TCP, UDP = 6, 17


class Example(NamedTuple):
    """First message of the originator and of the responder."""

    application: str
    proto: int
    port: int
    sent: bytes
    answered: bytes = b""


def h(text: str) -> bytes:
    return bytes.fromhex(text)


def be(width: int, data: bytes, add: int = 0) -> bytes:
    """Return the length of the data plus ``add``, most significant byte first, and the data."""
    return (len(data) + add).to_bytes(width) + data


def le(width: int, data: bytes, add: int = 0) -> bytes:
    return (len(data) + add).to_bytes(width, "little") + data


def dns(
    name: str, kind: int = 1, flags: int = 0x0100, tail: bytes = b"", answers: int = 0
) -> bytes:
    labels = b"".join(be(1, label.encode()) for label in name.split("."))
    counts = h("0001") + answers.to_bytes(2) + h("0000 0000")
    return (
        h("1a2b")
        + flags.to_bytes(2)
        + counts
        + labels
        + b"\0"
        + kind.to_bytes(2)
        + h("0001")
        + tail
    )


NETBIOS = "CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"  # "*" in the encoding of RFC 1001 14.1
ANSWER = h("c00c 0001 0001 00000e10 0004 c0000201")

# RFC 8448 3, the client hello's record.
HELLO = h(
    "16030100c4010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7000006"
    "130113031302010000910000000b0009000006736572766572ff01000100000a00140012001d0017001800190100"
    "010101020103010400230000003300260024001d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d"
    "5413691e529aaf2c002b0003020304000d0020001e04030503060302030804080508060401050106010201040205"
    "0206020202002d00020101001c00024001"
)
# The same section, the server hello's record.
SERVER_HELLO = h(
    "160303005a020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e2692800130100"
    "002e00330024001d0020c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f002b0002"
    "0304"
)
DTLS_BODY = HELLO[9:11] + HELLO[11:43] + h("00 00") + HELLO[44:]
DTLS_HELLO = h("16 fefd 0000 000000000000") + be(
    2, h("01") + be(3, DTLS_BODY)[:3] + h("0000 000000") + be(3, DTLS_BODY)
)
# RFC 9001 A.2: header of the protected client Initial, in a datagram of 1200 bytes.
QUIC_INITIAL = (
    h("c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11") + h("5a") * 1168
)
# RFC 5769 2.1: header and SOFTWARE attribute of a request with 88 bytes of attributes.
STUN = h("0001005821 12a442b7e7a701bc34d686fa87dfae80220010") + b"STUN test client" + h("00") * 68
BER_KDC = h("a103020105 a20302010a") + h("a4 20") + h("30") + be(1, h("00") * 30)


def rpc(program: str) -> bytes:
    return h("4d8f1b22") + h(f"00000000 00000002 {program} 00000003 00000000") + h("00") * 16


def http(verb: str, tail: str = "") -> bytes:
    return f"{verb} / HTTP/1.1\r\nHost: www.example.com\r\n{tail}\r\n".encode()


WEB = [
    Example("http", TCP, 80, http("GET"), b"HTTP/1.1 200 OK\r\n\r\n"),
    Example("http", TCP, 8088, http("PROPFIND")),
    Example("http2", TCP, 80, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Example("websocket", TCP, 80, http("GET", "Upgrade: websocket\r\n")),
    Example("tls", TCP, 443, HELLO, SERVER_HELLO),
    Example("tls", TCP, 4433, h("802e 01 0301 0015 0000 0010") + h("00") * 37),
    Example("quic", UDP, 443, QUIC_INITIAL),
    Example("quic", UDP, 4433, h("d0 6b3343cf 08 8394c8f03e515708") + h("5a") * 1186),
    Example("dtls", UDP, 4433, DTLS_HELLO),
    Example("ajp", TCP, 8009, h("1234") + be(2, h("02 02 0008") + b"HTTP/1.1")),
    Example("fastcgi", TCP, 9000, h("01 01 0001 0008 00 00 0001 00 0000000000")),
]
MAIL = [
    Example("smtp", TCP, 25, b"EHLO client.example\r\n", b"220 mx.example ESMTP\r\n"),
    Example("imap", TCP, 143, b"a1 LOGIN joe secret\r\n", b"* OK IMAP4rev1 ready\r\n"),
    Example("pop3", TCP, 110, b"USER joe\r\n", b"+OK ready\r\n"),
    Example("nntp", TCP, 119, b"MODE READER\r\n", b"200 news.example\r\n"),
    *(Example(name, TCP, port, HELLO) for name, port in (("smtps", 465), ("imaps", 993))),
    Example("pop3s", TCP, 995, HELLO),
]
VOICE = [
    Example("sip", UDP, 5060, b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP\r\n\r\n"),
    Example("sips", TCP, 5061, HELLO),
    Example("stun", UDP, 3478, STUN),
    Example(
        "rtcp", UDP, 5005, h("81 c8 000c") + h("0a0b0c0d") * 12 + h("81 ca 0002 0a0b0c0d 01000000")
    ),
    Example("h323", TCP, 1720, h("0300") + be(2, h("0802 0001 05 04038893a5"), 4)),
    Example("mgcp", UDP, 2427, b"RSIP 1200 aaln/*@gw.example MGCP 1.0\r\n"),
    Example("megaco", UDP, 2944, b"!/1 [10.0.0.1]:2944\nT=1{C=1{}}"),
    Example("iax2", UDP, 4569, h("8001 0000 00000003 00 00 06 01") + b"\x0b\x02\x00\x02"),
    Example("skinny", TCP, 2000, le(4, h("00000000 00000000"), -4)[:4] + h("00000000 00000000")),
    Example("teamspeak", UDP, 9987, b"TS3INIT1" + h("0065000088") + h("00") * 20),
    Example("discord", UDP, 50004, h("0001 0046 00112233") + h("00") * 66),
]
TALK = [
    Example(
        "xmpp", TCP, 5222, b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' to='a'>"
    ),
    Example("irc", TCP, 6667, b"NICK joe\r\nUSER joe 0 * :Joe\r\n"),
    Example("whatsapp", TCP, 443, b"ED" + h("0001 000002 0802") + b"WA" + h("0603")),
]
GAMES = [
    Example("source-engine", UDP, 27015, h("ffffffff") + b"TSource Engine Query\0"),
    Example("quake", UDP, 27960, h("ffffffff") + b"getstatus\n"),
    Example("raknet", UDP, 19132, h("01") + h("00") * 8 + h("00ffff00fefefefefdfdfdfd12345678")),
    Example("steam", UDP, 27017, b"VS01" + h("00") * 40),
]
REMOTE = [
    Example("ssh", TCP, 22, b"SSH-2.0-OpenSSH_9.6\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"),
    Example("telnet", TCP, 2323, h("fffd03 fffb18"), h("fffb03")),
    Example("rdp", TCP, 3389, h("0300 0013 0e e0 0000 0000 00 01 00 0800 0b000000")),
    Example("vnc", TCP, 5900, b"RFB 003.008\n", b"RFB 003.008\n"),
    Example("x11", TCP, 6000, h("6c 00 0b00 0000 0000 0000 0000")),
    Example("teamviewer", TCP, 5938, h("1724 0a20 0000 0001")),
]
FILES = [
    Example("ftp", TCP, 21, b"USER anonymous\r\n", b"220 (vsFTPd 3.0.3)\r\n"),
    Example("tftp", UDP, 69, h("0001") + b"boot.img\0octet\0"),
    Example("smb", TCP, 445, h("00") + be(3, h("fe") + b"SMB" + h("4000") + h("00") * 60)),
    Example(
        "netbios-ssn",
        TCP,
        139,
        h("81000044 20") + NETBIOS.encode() + h("00 20") + NETBIOS.encode() + h("00"),
    ),
    Example("nfs", UDP, 2049, rpc("000186a3")),
    Example("rsync", TCP, 873, b"@RSYNCD: 31.0\n"),
    Example("afp", TCP, 548, h("00 04 0001 00000000 00000006 00000000 010400000400")),
    Example("git", TCP, 9418, b"0033git-upload-pack /project.git\0host=example.com\0"),
    Example("svn", TCP, 3690, b"( 2 ( edit-pipeline ) )", b"( success ( 2 2 ( ) ( ) ) ) "),
    Example("ceph", TCP, 6789, b"ceph v027" + h("00") * 30),
    Example("bittorrent", TCP, 51413, h("13") + b"BitTorrent protocol" + h("00") * 48),
    Example("bittorrent", UDP, 6881, b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"),
    Example("gnutella", TCP, 6346, b"GNUTELLA CONNECT/0.6\r\n\r\n"),
    Example("edonkey", TCP, 4662, h("e3") + le(4, h("01 10") + h("22") * 16)),
    Example("dropbox-lansync", UDP, 17500, b'{"host_int": 1, "version": [2, 0]}'),
    Example("syncthing", UDP, 21027, h("2ea7d90b 0a20") + h("41") * 32),
]
STREAMS = [
    Example("rtsp", TCP, 554, b"DESCRIBE rtsp://example.com/a RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
    Example("rtmp", TCP, 1935, h("03 00000000 00000000") + h("5a") * 1528),
    Example("shoutcast", TCP, 8000, http("GET")[:0] + b"ICY 200 OK\r\n"),
    Example("spotify-connect", UDP, 57621, b"SpotUdp0" + h("00") * 36),
]
NAMES_AND_TIME = [
    Example("dns", UDP, 53, dns("www.example.com"), dns("www.example.com", 1, 0x8180, ANSWER, 1)),
    Example("dns", TCP, 53, be(2, dns("example.com", 6))),
    Example("dot", TCP, 853, HELLO),
    Example("dnscrypt", UDP, 443, h("9a") * 512, b"r6fnvWj8" + h("77") * 300),
    Example("mdns", UDP, 5353, dns("printer.local", 255, 0)),
    Example("llmnr", UDP, 5355, dns("host", 28, 0)),
    Example("nbns", UDP, 137, dns(NETBIOS, 32, 0x0110)),
    Example("nbdgm", UDP, 138, h("1102 0001 0a000001 008a 00bb 0000 20") + NETBIOS.encode()),
    Example("ntp", UDP, 123, h("23 00 06 ec") + h("00") * 44, h("24 02 06 e9") + h("00") * 44),
    Example("ptp", UDP, 320, h("0b 02 0040") + h("00") * 60),
    Example("dhcp", UDP, 67, h("01 01 06 00 3903f326") + h("00") * 228 + h("63825363 350101 ff")),
    Example("dhcpv6", UDP, 547, h("01 0a0b0c 0001 000a 00030001 001122334455")),
    Example(
        "ssdp", UDP, 1900, b'M-SEARCH * HTTP/1.1\r\nMAN: "ssdp:discover"\r\nST: ssdp:all\r\n\r\n'
    ),
    Example(
        "ws-discovery",
        UDP,
        3702,
        b'<?xml version="1.0"?><e xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery">',
    ),
    Example("slp", UDP, 427, h("02 01 000020 0000 000000 0001 0002") + b"en" + h("00") * 16),
    Example("nat-pmp", UDP, 5351, h("0000"), h("0080 0000 00000001 c0000201")),
    Example("bjnp", UDP, 8612, b"BJNB" + h("01 00 0000 0001 0000 00000000")),
]
MANAGEMENT = [
    Example(
        "snmp",
        UDP,
        161,
        h("30") + be(1, h("020101 0406") + b"public" + h("a00b 020101 020100 020100 3000")),
    ),
    Example("syslog", UDP, 514, b"<34>1 2003-10-11T22:14:15.003Z host su - - - failed"),
    Example("radius", UDP, 1812, h("01 00 0014") + h("0f403f9473978057bd83d5cb98f4227a")),
    Example("tacacs", TCP, 49, h("c0 01 01 00 00000001 00000004 01020304")),
    Example("diameter", TCP, 3868, h("01 000014 80 000101 00000000 00000001 00000001")),
    Example("kerberos", UDP, 88, h("6a") + be(1, h("30") + be(1, BER_KDC))),
    Example("kerberos", TCP, 88, be(4, h("6a") + be(1, h("30") + be(1, BER_KDC)))),
    Example("ldap", TCP, 389, h("30 0c 020101 60 07 020103 0400 8000")),
    Example("ldaps", TCP, 636, HELLO),
    Example("rpc", UDP, 111, rpc("000186a0")),
    Example("dce-rpc", TCP, 135, h("05 00 0b 03 10000000 4800 0000 02000000") + h("00") * 56),
    Example("netflow", UDP, 2055, h("0005 0001") + h("00") * 68),
    Example("ipfix", UDP, 4739, h("000a 0010 00000000 00000000 00000000")),
    Example("sflow", UDP, 6343, h("00000005 00000001 0a000001") + h("00") * 16),
    Example("ipmi", UDP, 623, h("06 00 ff 07 00 00000000 00000000 09 2018c881 00388e04b5")),
    Example("zabbix", TCP, 10051, b"ZBXD" + h("01 0200000000000000") + b"{}"),
    Example("openflow", TCP, 6653, h("04 00 0008 00000001"), h("04 00 0008 00000001")),
]
ROUTING = [
    Example("bgp", TCP, 179, h("ff") * 16 + h("001d 01 04 fde8 00b4 0a000001 00")),
    Example(
        "ldp",
        UDP,
        646,
        h("0001 001e 0a000001 0000 0100 0014 00000000 0400 0004 000f 0000 0401 0004 0a000001"),
    ),
    Example("rip", UDP, 520, h("02 02 0000 0002 0000 0a000000 ff000000 00000000 00000001")),
    Example("bfd", UDP, 3784, h("20 40 03 18 00000001 00000000 000f4240 000f4240 00000000")),
    Example("hsrp", UDP, 1985, h("00 00 10 03 0a 64 01 00") + b"cisco\0\0\0" + h("0a000001")),
    Example("gtp-c", UDP, 2123, h("32 01 0004 00000000 00010000")),
]
STORES = [
    Example(
        "mysql",
        TCP,
        3306,
        b"",
        le(3, h("0a") + b"8.0.36\0" + h("00") * 60, 0)[:3]
        + h("00")
        + h("0a")
        + b"8.0.36\0"
        + h("00") * 60,
    ),
    Example("postgresql", TCP, 5432, be(4, h("00030000") + b"user\0joe\0\0", 4)),
    Example(
        "tds", TCP, 1433, h("12 01 001a 0000 01 00 0000 0b 0006 01 0011 0001 ff 0e000c07 0000 02")
    ),
    Example(
        "tns", TCP, 1521, be(2, h("0000 01 00 0000 0138") + b"(DESCRIPTION=(CONNECT_DATA=))", 2)
    ),
    Example("redis", TCP, 6379, b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
    Example("memcached", TCP, 11211, b"get key\r\n", b"VALUE key 0 1\r\nx\r\nEND\r\n"),
    Example(
        "mongodb",
        TCP,
        27017,
        le(4, h("01000000 00000000 dd070000 00000000 00") + h("0500000000"), 4),
    ),
    Example(
        "cassandra",
        TCP,
        9042,
        h("04 00 0000 01 00000016 0001 000b") + b"CQL_VERSION" + h("0005") + b"3.0.0",
    ),
    Example("kafka", TCP, 9092, be(4, h("0012 0003 00000001 0003") + b"app" + h("00"))),
    Example(
        "zookeeper",
        TCP,
        2181,
        be(4, h("00000000 0000000000000000 00007530 0000000000000000 00000010") + h("00") * 16),
    ),
    Example("elasticsearch", TCP, 9300, b"ES" + be(4, h("0000000000000001 00 007a1200"))),
    Example("mqtt", TCP, 1883, h("10 10 0004") + b"MQTT" + h("04 02 003c 0004") + b"test"),
    Example("mqtts", TCP, 8883, HELLO),
    Example("amqp", TCP, 5672, b"AMQP" + h("00000901")),
    Example("stomp", TCP, 61613, b"STOMP\naccept-version:1.2\nhost:a\n\n\0"),
    Example("nats", TCP, 4222, b"", b'INFO {"server_id":"A","version":"2.10"} \r\n'),
    Example("coap", UDP, 5683, h("40 01 7d34 bb") + b"temperature"),
    Example("giop", TCP, 2809, b"GIOP" + h("01 02 00 00 00000000")),
    Example("java-rmi", TCP, 1099, b"JRMI" + h("0002 4b")),
    Example("fix", TCP, 9878, b"8=FIX.4.2\x019=65\x0135=A\x01"),
    Example("hl7", TCP, 2575, h("0b") + b"MSH|^~\\&|A|B"),
    Example("dicom", TCP, 104, h("01 00") + be(4, h("0001 0000") + b"A" * 32 + h("00") * 32)),
    Example("bitcoin", TCP, 8333, h("f9beb4d9") + b"version\0\0\0\0\0" + h("00") * 8),
    Example("monero", TCP, 18080, h("0121010101010101 0600000000000000 01 e9030000")),
    Example("stratum", TCP, 3333, b'{"id":1,"method":"mining.subscribe","params":[]}\n'),
    Example("rtps", UDP, 7400, b"RTPS" + h("0201 010f") + h("00") * 12),
]
INDUSTRY = [
    Example(
        "modbus", TCP, 502, h("0001 0000 0006 01 03 0000 000a"), h("0001 0000 0005 01 03 02 0007")
    ),
    Example("iso-tsap", TCP, 102, h("0300 0016 11 e0 0000 0001 00 c1020001 c2020001 c0010a")),
    Example("s7comm", TCP, 102, h("0300 0019 02f080 32010000000100080000f0000001000101e0")),
    Example("iec104", TCP, 2404, h("6804 07000000"), h("6804 0b000000")),
    Example("dnp3", TCP, 20000, h("0564 05 c0 0100 0004 e921")),
    Example(
        "ethernet-ip",
        TCP,
        44818,
        h("6500 0400 00000000 00000000 0000000000000000 00000000 0100 0000"),
    ),
    Example("opc-ua", TCP, 4840, b"HELF" + le(4, h("00000000") + h("00") * 20, 8)),
    Example("bacnet", UDP, 47808, h("81 0b 000c 01 20 ffff 00 ff 10 08")),
    Example("knxnet-ip", UDP, 3671, h("06 10 0201 000e 08 01 0a000001 0e57")),
    Example("some-ip", UDP, 30490, h("ffff8100 00000010 00000001 01 01 02 00 c0000000 00000000")),
]

EXAMPLES = [
    *WEB, *MAIL, *VOICE, *TALK, *GAMES, *REMOTE, *FILES, *STREAMS, *NAMES_AND_TIME, *MANAGEMENT,
    *ROUTING, *STORES, *INDUSTRY,
]  # fmt: skip

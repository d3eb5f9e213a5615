"""A conversation for each of the further applications, built from its document field by field."""

from unit.detectors.applications.examples import EXAMPLES, HELLO, TCP, UDP, Example, be, h, le

TLS_BY_PORT = [
    Example(name, TCP, port, HELLO)
    for name, port in [
        ("nntps", 563), ("ftps", 990), ("radsec", 2083), ("nts-ke", 4460), ("amqps", 5671),
        ("syslog-tls", 6514), ("ircs", 6697),
    ]
]  # fmt: skip
WEB = [
    Example("proxy-protocol", TCP, 443, b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 443\r\n"),
    Example("proxy-protocol", TCP, 443, h("0d0a0d0a000d0a515549540a 21 11 000c") + h("00") * 12),
    Example(
        "soap",
        TCP,
        80,
        b'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">',
    ),
    Example("json-rpc", TCP, 8545, b'{"jsonrpc": "2.0", "method": "echo", "id": 1}'),
    # A request of Google's QUIC answered with a rejection of seven tags.
    Example(
        "quic", UDP, 443, h("0cf504cee7fea6a0ca01") + h("7b") * 30, h("08f504cee7fea6a0ca 017c a7387ebc 69ad57c1 b3175a40 0103d901 000600a0 01025b") + b"REJ\0" + h("07000000") + h("33") * 60,
    ),
]  # fmt: skip
TALK = [
    Example("agora", UDP, 8130, h("00 602d94 00 0021 0000000000 04") + b"SNI\0" + h("1c00") + b"e.agora.io"),
    Example("telegram", UDP, 520, h("dc4c00291565b7acbc236da9eda0d597") + h("ff") * 12 + h("feffffff 28f9461126 01a2f0")),
    Example("wechat", TCP, 443, h("19f103 00a1") + h("5e") * 40, h("16f103 0055") + h("5e") * 40),
    Example("smpp", TCP, 2775, be(4, h("00000009 00000000 00000001") + b"user\0pass\0\0" + h("34 00 00 00"), 4)),
    Example("xmpp", TCP, 5222, b"</stream:stream>"),
    Example("whatsapp", TCP, 5222, b"ED" + h("0001 000004 08090802") + b"WA" + h("0502")),
]  # fmt: skip
GAMES = [
    Example("minecraft", TCP, 25565, be(1, h("00 f205") + be(1, b"localhost") + h("63dd 01")) + h("01 00")),
    Example("minecraft", TCP, 25500, h("fe 01 fa 000b") + "MC|PingHost".encode("utf-16-be")),
    Example(
        "enet",
        UDP,
        20021,
        h("8fff 0001 82 ff 0001 0000 ff ff 000004b0 00010000 00000002") + h("00") * 24,
    ),
    Example(
        "photon",
        UDP,
        5055,
        h("ffff 00 01 00000004 22b6e6ba 02 ff 01 04 0000002c 00000001 000004b0 00008000 00000002")
        + h("00") * 20,
    ),
    Example("gamespy", UDP, 25566, h("fefd 09 00000001")),
    Example("samp", UDP, 7778, b"SAMP" + h("7f000001 611e") + b"i"),
    Example("netcode", UDP, 40000, h("00") + b"NETCODE 1.02\0" + h("5a") * 1064),
    Example("wow", TCP, 3725, h("3000") + b"WORLD OF WARCRAFT CONNECTION - SERVER TO CLIENT\0"),
    Example("nintendo-pia", UDP, 49432, h("32ab9864 02 56 03cb") + h("96") * 52),
    Example("genshin-impact", UDP, 22101, h("000000ff 00000000 00000000 499602d2 ffffffff")),
    Example(
        "tencent-games",
        TCP,
        65010,
        h("3366000b 000b 1001 00000000") + h("01") * 20,
        h("3366000b 000b 1002 00000000") + h("01") * 20,
    ),
]  # fmt: skip
REMOTE = [
    Example("rdp", UDP, 3390, h("ffffffff 0040 1801 bbff5687 04d004d0") + h("a6") * 16 + h("00") * 1200),
    Example("spice", TCP, 5900, b"REDQ" + h("02000000 02000000 1a000000")),
    Example("ica", TCP, 1494, h("7f7f") + b"ICA\0" + h("7f7f") + b"ICA\0"),
    Example("adb", TCP, 5555, b"CNXN" + h("01000001 00001000 e0000000")),
    Example("nomachine", UDP, 4000, h("010001000a00 0000 0000"), h("020001000a00 0000 0000")),
    Example("teamviewer", UDP, 36037, h("00000000000000000000 03 17244750 0005") + h("00") * 80),
]  # fmt: skip
FILES = [
    Example("tftp", UDP, 56736, h("0003 0001") + h("9d") * 512, h("0004 0001")),
    Example("ftp-data", TCP, 20100, b"-rw-r--r--    1 0        0         107374 Feb 19  2016 512KB.zip\r\n"),
    Example("ftp-data", TCP, 20101, b"01-23-20  10:11PM                 1234 file.txt\r\n"),
    Example(
        "iscsi",
        TCP,
        3260,
        h("43 87 0000 00000040") + h("00") * 40 + b"InitiatorName=iqn.1993-08.org.debian:01:abc\0",
    ),
    Example("nbd", TCP, 10809, b"", b"NBDMAGIC" + b"IHAVEOPT" + h("0003")),
    Example("9p", TCP, 564, le(4, h("64 ffff 00200000") + le(2, b"9P2000.L"), 4)),
    Example("lustre", TCP, 988, h("0071ceac 01000000 8358a8c000000200")),
    Example("cvs", TCP, 2401, b"BEGIN AUTH REQUEST\n/cvsroot\nanonymous\nA\nEND AUTH REQUEST\n"),
    Example("direct-connect", TCP, 411, b"", b"$Lock EXTENDEDPROTOCOL_hub Pk=verlihub|"),
    Example("direct-connect", TCP, 412, b"CSUP ADBASE ADTIGR\n"),
    Example("bittorrent", UDP, 6882, h("41 00 3b1c 0a0b0c0d 00000000 00100000 0001 0000")),
    Example("gnutella", UDP, 6347, h("a7b3310229b72ec630df77c5724a36ce 44 00 00") + le(4, h("05") * 58)),
    Example("edonkey", UDP, 4673, h("e4 21") + h("7a") * 33, h("e4 29") + h("7a") * 60),
]  # fmt: skip
STREAMS = [
    Example("spotify", TCP, 4070, h("0004") + be(4, h("52 0f 5002a001 00f00106") + h("c0") * 60, 6)),
    Example("mpeg-ts", UDP, 1234, (h("47 0100 10") + h("ab") * 184) * 7),
    Example(
        "srt",
        UDP,
        9001,
        h("80000000 00000000 00000123 00000000 00000004 00000002 00000000 000005dc 00002000 00000001")
        + h("11") * 24,
    ),
    Example("flute", UDP, 40085, h("10100800 00000000 00000000") + b'<?xml version="1.0"?><FDT-Instance>'),
    Example("apple-midi", UDP, 5004, h("ffff") + b"IN" + h("00000002 12345678 9abcdef0") + b"mac\0"),
]  # fmt: skip
INFRASTRUCTURE = [
    Example("doq", UDP, 853, h("c000000001088394c8f03e5157080000449e7b9aec34") + h("5a") * 1178),
    Example("roughtime", UDP, 2002, h("02000000 40000000") + b"NONCPAD\xff" + h("45") * 64 + h("00") * 944),
    Example("roughtime", UDP, 2003, b"ROUGHTIM" + le(4, h("00") * 1012)),
    Example("iperf3", TCP, 5201, b"xnoo2ss5ch6lcgsxp4wr5f7qzae7bwclgvwx\0", h("09")),
    Example("iperf3", UDP, 5202, b"9876", b"6789"),
    Example("speedtest", TCP, 8081, b"HI 8e17cb65-c6b5-4b39-adcc-97006a1e4537\n", b"HELLO 2.9 (2.9.2)\n"),
    Example("lumberjack", TCP, 5044, h("32 57 00000001 32 43 00000100") + h("78") * 20),
    Example("gelf", UDP, 12201, h("1e0f 0102030405060708 00 02") + h("78") * 50),
    Example("collectd", UDP, 25826, h("0000 000a") + b"host1\0" + h("0008 000c 0000000000000000")),
    Example("munin", TCP, 4949, b"", b"# munin node at host.example\n"),
    Example("check-mk", TCP, 6556, b"", b"<<<check_mk>>>\nVersion: 2.0\n"),
    Example("kismet", TCP, 2501, b"", b"*KISMET: 0.0.0 1144004381 \x01Kismet\x01 2005\n"),
    Example("jdwp", TCP, 5005, b"JDWP-Handshake", b"JDWP-Handshake"),
    Example("distcc", TCP, 3632, b"DIST00000001ARGC00000005ARGV00000002cc"),
    Example("avast", TCP, 80, b"NOSA" + h("0060 0101") + h("b2") * 88),
    Example("alicloud", TCP, 8999, h("cefabeba 80000000")),
    Example("gtp-prime", UDP, 3386, h("2ef0 0014 0004") + h("7e") * 20),
    Example("pfcp", UDP, 8805, h("20 05") + be(2, h("000001 00 003c0005000a000001"))),
    Example("capwap", UDP, 5246, h("00 10 0200 00000000 00000001 00 0010 00") + h("0014000100") * 3),
    Example("capwap", UDP, 5247, h("01000000 16fefd 0000 000000000000 0020") + h("01") * 32),
    Example("dlep", UDP, 854, b"DLEP" + h("0001") + be(2, h("0004 0010 00") + b"emulated-router")),
    Example("dlep", TCP, 854, h("0001") + be(2, h("0005 0004 0000ea60"))),
    Example("mndp", UDP, 5678, h("00000001 0001 0006 4c5e0c9aec54 0005 0000 0007 0003") + b"6.3"),
    Example("meraki", UDP, 7351, h("fef72891 0d010070 068a1b4e") + h("00") * 40),
    Example("babel", UDP, 6696, h("2a02") + be(2, h("0406 00000001 0190"))),
    Example("olsr", UDP, 698, be(2, h("0001 c9 86 0010 0a000001 01 00 0001 0000 05 03"), 2)),
    Example("pcep", TCP, 4189, h("20 01 000c 01 10 0008 20 1e 78 00")),
    Example("rpki-rtr", TCP, 323, h("01 02 0000 00000008")),
    Example("tds", UDP, 1434, h("03"), h("05") + le(2, b"ServerName;DB1;InstanceName;MSSQLSERVER;;")),
    Example("mqtt", TCP, 17501, h("c000"), h("d000")),
    Example("giop", UDP, 15984, b"MIOP" + h("1003 e400 00000000 01000000")),
    Example("gearman", TCP, 4730, h("00") + b"REQ" + h("00000001 00000002") + b"wc"),
    Example("zeromq", TCP, 5555, h("ff 0000000000000001 7f 03 00") + b"NULL" + h("00") * 48),
    Example("openwire", TCP, 61616, be(4, h("01") + b"ActiveMQ" + h("0000000c 01"))),
    Example("nsq", TCP, 4150, b"  V2IDENTIFY\n"),
    Example("thrift", TCP, 9090, h("80010001") + be(4, b"getName") + h("00000001 00")),
    Example("thrift", TCP, 9091, be(4, h("80010001") + be(4, b"getName") + h("00000001 00"))),
    Example("drda", TCP, 50000, h("0026 d0 41 0001 0020 1041 0010 115e") + b"a" * 26),
    Example("clickhouse", TCP, 9000, h("00") + be(1, b"ClickHouse client") + h("14 08")),
    Example("bolt", TCP, 7687, h("6060b017 00000404 00000003 00000000 00000000")),
]  # fmt: skip
DEVICES = [
    Example("ethernet-ip", UDP, 2222, h("0200 0280 0800 787b3a00 e8cb5e04 b100") + le(2, h("000300fdffffffffffff0000"))),
    Example("knxnet-ip", TCP, 3671, h("0610 0201 000e 0801 0a000001 0e57")),
    Example("ads", TCP, 48898, h("0000") + le(4, h("050d75600101 1027 c0a801630101 0380 0400 0400 00000000 00000000 05000000"))),
    Example("dlms", TCP, 4059, h("7e a0 07 03 21 93 0f01 7e"), h("7e a0 07 21 03 73 0f01 7e")),
    Example("egd", UDP, 18246, h("0d01 d4f0 c0a8084d 7b000000") + h("00") * 47),
    Example("fins", TCP, 9600, b"FINS" + be(4, h("00000000 00000000 00000000"))),
    Example("fins", UDP, 9600, h("80 00 02 00 01 00 00 02 00 01 0101 82 0064 00 0001")),
    Example("synchrophasor", TCP, 4712, h("aa41 0012 0001 4abcdef0 00000000 0005 1234")),
    Example("niagara-fox", TCP, 1911, b"fox a 1 -1 fox hello\n{\nfox.version=s:1.0\n};;\n"),
    Example("tank-gauge", TCP, 10001, h("01") + b"I20100\r\n"),
    Example("hart-ip", UDP, 5094, h("01 00 00 00 0001") + be(2, h("01 00007530"), 8)),
    Example("profinet", UDP, 34964, h("04 00 20 00 10 00 00 00") + h("12") * 80),
    Example("tuya", TCP, 6668, h("000055aa 00000001 0000000a 00000088") + h("7c") * 40),
    Example("kasa", UDP, 9999, h("d0f281f88bff9af7d5ef94b6d1b4c09fec95e68fe187e8caf08bf68bf6")),
    Example("kasa", TCP, 9999, be(4, h("d0f281f88bff9af7d5ef94b6d1b4c09fec95e68fe187e8caf08bf68bf6"))),
    Example("miio", UDP, 54321, h("2131 0020") + h("ff") * 28),
    Example("lifx", UDP, 56700, le(2, h("0034 00000002 0000000000000000 000000000000 03 01") + h("00") * 16, 2)),
    Example("weave", TCP, 11095, le(2, h("0013 08030000 369e27000030b418 040000000230b418 110a8906"))),
    Example("tivo-connect", UDP, 2190, b"TiVoConnect=1\nswversion=1.0\nmethod=broadcast\n"),
    Example("art-net", UDP, 6454, b"Art-Net\0" + h("0020 000e 02 00")),
    Example("sacn", UDP, 5568, h("0010 0000") + b"ASC-E1.17" + h("000000 726e")),
    Example("wake-on-lan", UDP, 9, h("ff" * 6) + h("001122334455") * 16),
    Example("bitcoin", TCP, 9333, h("fbc0b6db") + b"version\0\0\0\0\0" + h("67000000 11223344")),
    Example("stratum", TCP, 9999, b'{"worker": "", "jsonrpc": "2.0", "params": ["0x1"], "method": "eth_submitLogin"}'),
    Example("ethereum", UDP, 30303, h("c7") * 96 + h("01 01 dd 04 cb 84 7f000001 82765f 82765f c9 84 08080808 82765f 80 84 5f000000")),
    Example("ethereum", TCP, 30303, be(2, h("04") + h("b7") * 400), be(2, h("04") + h("d5") * 350)),
    Example("nano", TCP, 7075, h("5243 14 14 12 0a 0500") + h("f0") * 32, h("5243 14 14 12 0a 0700") + h("d7") * 192),
    Example("zug", UDP, 19000, be(2, h("554710 ae a041 00") + h("6e") * 100, 2)),
    Example("libp2p", TCP, 4001, h("13") + b"/multistream/1.0.0\n"),
]  # fmt: skip

MORE = [
    *TLS_BY_PORT, *WEB, *TALK, *GAMES, *REMOTE, *FILES, *STREAMS, *INFRASTRUCTURE, *DEVICES,
]  # fmt: skip
ALL_EXAMPLES = [*EXAMPLES, *MORE]

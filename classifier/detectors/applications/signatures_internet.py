"""Signatures of what people use: web, mail, voice, messages, games, remote desks, files, streams.

Each names the document its bytes come from; the notation is that of ``patterns``.
"""

from classifier.detectors.applications.patterns import BOTH, PEER, PORT, TCP, UDP, Parser
from classifier.detectors.applications.patterns import Signature as S

__all__ = ["INTERNET"]

# One signature a line, as in the tables they come from.
# fmt: off

_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
_OTHERS = ("SUBSCRIBE", "UNSUBSCRIBE", "NOTIFY", "RPC_IN_DATA", "RPC_OUT_DATA", "CCM_POST", "M-POST", "PURGE", "ACL")
_WEBDAV = ("PROPFIND", "PROPPATCH", "REPORT", "MKCOL", "SEARCH", "LOCK", "UNLOCK", "COPY", "MOVE")
_SIP = ("INVITE", "REGISTER", "OPTIONS", "ACK", "BYE", "CANCEL", "SUBSCRIBE", "NOTIFY", "MESSAGE")
_RTSP = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "ANNOUNCE", "GET_PARAMETER", "TEARDOWN")

_HTTP = (
    S("websocket", TCP, "'GET '", "RFC 6455 1.3", opens=True, within="\r\nupgrade: websocket"),
    *(S("http", TCP, f"'{verb} '", "RFC 9112 3", opens=True, within=" http/1.") for verb in (*_METHODS, *_WEBDAV, *_OTHERS)),
    # A request line longer than what was kept of the stream.
    *(S("http", TCP, f"'{v} /'", "RFC 9112 3", needs=PEER, opens=True) for v in ("GET", "POST")),
    S("http", TCP, "'HTTP/1.' 30|31 20 31-35 30-39 30-39", "RFC 9112 4"),
    S("proxy-protocol", TCP, "'PROXY TCP' 34|36 20", "HAProxy PROXY protocol 2.1", opens=True),
    S("proxy-protocol", TCP, "'PROXY UNKNOWN'", "HAProxy PROXY protocol 2.1", opens=True),
    S("proxy-protocol", TCP, "0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a", "HAProxy PROXY protocol 2.2", opens=True),
    S("soap", TCP, "'<?xml '", "SOAP 1.1 4", opens=True, within="schemas.xmlsoap.org/soap/envelope"),
    S("soap", TCP, "'<?xml '", "SOAP 1.2 5", opens=True, within="www.w3.org/2003/05/soap-envelope"),
    S("http2", TCP, "'PRI * HTTP/2.0' 0d 0a 0d 0a 'SM' 0d 0a", "RFC 9113 3.4", opens=True),
)

_TLS = (
    S("tls", TCP, "16 03 00-04 .. .. 01", "RFC 8446 5.1", opens=True, parser=Parser.TLS),
    S("tls", TCP, "14-17 03 00-04", "RFC 8446 5.1", parser=Parser.TLS),
    # A client hello in the form of SSL 2.0 that offers a later version.
    S("tls", TCP, "80 .. 01 03 00-03 .. .. 00", "RFC 5246 E.2", opens=True, length=(1, 1, 2)),
    S("dtls", UDP, "16 fe fd|fe|ff 00 00 @13 01", "RFC 6347 4", opens=True, parser=Parser.DTLS),
    S("dtls", UDP, "14-17|19 fe fd|fe|ff", "RFC 6347 4.1", parser=Parser.DTLS),
    # The version of OpenSSL before the standard, which some VPN clients still offer.
    S("dtls", UDP, "16 01 00 00 00 @13 01", "OpenSSL dtls1.h, DTLS1_BAD_VER", opens=True, parser=Parser.DTLS),
    S("dtls", UDP, "14-17 01 00 00", "OpenSSL dtls1.h, DTLS1_BAD_VER", parser=Parser.DTLS),
)

# First byte of a QUIC long header, version, length of the destination's connection identifier.
_QUIC = (
    S("quic", UDP, "c0-cf 00 00 00 01 08-14", "RFC 9000 17.2.2", opens=True, size=(40, 65535)),
    S("quic", UDP, "c0-ff 00 00 00 01 00-14", "RFC 9000 17.2", size=(21, 65535)),
    S("quic", UDP, "d0-df 6b 33 43 cf 08-14", "RFC 9369 3", opens=True, size=(40, 65535)),
    S("quic", UDP, "c0-ff 6b 33 43 cf 00-14", "RFC 9369 3", size=(21, 65535)),
    S("quic", UDP, "c0-cf ff 00 00 0b-22", "draft-ietf-quic-transport", opens=True),
    S("quic", UDP, "c0-ff ff 00 00 01-22", "draft-ietf-quic-transport", size=(21, 65535)),
    S("quic", UDP, "c0-ff fa ce b0 00-0f", "QUIC versions: Facebook mvfst", opens=True),
    S("quic", UDP, "c0-ff 51|54 30 30-35 30-39", "QUIC versions: Google", opens=True),
    S("quic", UDP, "80-ff 00 00 00 00 00-14", "RFC 9000 17.2.1", needs=PORT, size=(7, 1500)),
    S("quic", UDP, "01/03 @9 51 30 32-34 30-39", "Google QUIC wire layout, 2016", opens=True),
    # A server's rejection: the tag and its seven values.
    S("quic", UDP, "00-3f", "QUIC Crypto, Google 2016", size=(40, 1500), within="rej\0\7\0\0\0"),
)

_MAIL = (
    S("smtp", TCP, "'220' 20|2d", "RFC 5321 4.2", opens=True, within="smtp"),
    S("smtp", TCP, "'220' 20|2d", "RFC 5321 4.2", needs=PEER, opens=True),
    S("smtp", TCP, "'EHLO '", "RFC 5321 4.1.1.1", opens=True),
    S("smtp", TCP, "'HELO '", "RFC 5321 4.1.1.1", opens=True),
    S("imap", TCP, "'* ' 'OK'", "RFC 9051 7.1", opens=True, within="imap"),
    S("imap", TCP, "'* ' 'OK'", "RFC 9051 7.1", needs=PEER, opens=True),
    S("imap", TCP, "'* PREAUTH '", "RFC 9051 7.1.4", needs=PEER, opens=True),
    S("imap", TCP, "30-39|41-5a|61-7a", "RFC 9051 6.1", needs=PORT, within=" capability\r\n"),
    S("imap", TCP, "30-39|41-5a|61-7a", "RFC 9051 6.2.3", needs=PORT, within=" login "),
    S("pop3", TCP, "'+OK'", "RFC 1939 3", opens=True, within="pop"),
    S("pop3", TCP, "'+OK'", "RFC 1939 3", needs=PORT, opens=True),
    *(S("pop3", TCP, f"'{v}'", "RFC 1939 7", needs=PORT) for v in ("USER ", "APOP ", "CAPA", "AUTH")),
    S("nntp", TCP, "'MODE READER'", "RFC 3977 5.3", opens=True),
    S("nntp", TCP, "'20' 30|31 20", "RFC 3977 5.1", needs=PEER, opens=True),
)

_STUN = "00-3f .. .. .. 21 12 a4 42"
_VOICE = (
    S("stun", BOTH, "00 01 .. .. 21 12 a4 42", "RFC 8489 5", opens=True, length=(2, 2, 20)),
    S("stun", BOTH, _STUN, "RFC 8489 5", length=(2, 2, 20)),
    S("stun", TCP, _STUN, "RFC 8489 6.2.2", needs=PEER, size=(20, 65535)),
    S("stun", UDP, "00|01 01-0c|11-18", "RFC 3489 11", needs=PEER, opens=True, length=(2, 2, 20)),
    *(S("sip", BOTH, f"'{v} '", "RFC 3261 7.1", opens=True, within=" sip/2.0") for v in _SIP),
    S("sip", BOTH, "'SIP/2.0 ' 31-36 30-39 30-39 20", "RFC 3261 7.2"),
    S("rtcp", UDP, "80/c0 c8-cc", "RFC 3550 6.4", size=(8, 1500), parser=Parser.RTCP),
    S("h323", TCP, "03 00 .. .. 08 02", "ITU-T H.225.0, Q.931", opens=True, length=(2, 2, 0)),
    *(S("mgcp", UDP, f"'{v} '", "RFC 3435", opens=True, within=" mgcp 1.") for v in ("RSIP", "AUEP", "CRCX", "RQNT", "NTFY", "DLCX", "MDCX")),
    S("megaco", BOTH, "'!/' 31-33 ' ['", "RFC 3525", opens=True),
    S("megaco", BOTH, "'MEGACO/' 31-33", "RFC 3525", opens=True),
    S("iax2", UDP, "80-ff .. 00 00 .. .. .. .. 00 .. 06 01", "RFC 5456 6.2.2", needs=PEER, opens=True),
    S("iax2", UDP, "80-ff .. 00-7f .. .. .. .. .. .. .. 06 01-0f", "RFC 5456 8.1", needs=PEER),
    S("skinny", TCP, "@1 00 00 00 00|16 00 00 00", "Wireshark skinny", needs=PEER, opens=True, length=(0, -4, 8)),
    S("teamspeak", UDP, "'TS3INIT1'", "TeamSpeak 3 handshake", opens=True),
    S("agora", UDP, "00 @4 00 00 21 00 00 00 00 00 04 'SNI' 00", "nDPI sd_rtn", opens=True),
    S("discord", UDP, "00 01 00 46", "Discord voice, IP discovery", opens=True, size=(74, 74)),
    S("discord", UDP, "00 02 00 46", "Discord voice, IP discovery", size=(74, 74)),
)

_TALK = (
    S("xmpp", TCP, "'<?xml '", "RFC 6120 4", opens=True, within="jabber:"),
    S("xmpp", TCP, "'<?xml '", "RFC 6120 4", opens=True, within="etherx.jabber.org/streams"),
    S("xmpp", TCP, "'<stream:stream'", "RFC 6120 4.2", opens=True),
    *(S("xmpp", TCP, f"'<{v} '", "RFC 6120 8", needs=PEER) for v in ("iq", "message", "presence")),
    S("xmpp", TCP, "'</stream:stream>'", "RFC 6120 4.4"),
    S("irc", TCP, "'CAP LS'", "IRCv3 capability negotiation", opens=True),
    S("irc", TCP, "'NICK '", "RFC 2812 3.1.2", opens=True, within="\nuser "),
    S("irc", TCP, "'USER '", "RFC 2812 3.1.3", opens=True, within="\nnick "),
    S("irc", TCP, "'NOTICE AUTH'", "RFC 2812 3.3.2"),
    S("irc", TCP, "3a", "RFC 2812 2.3.1", needs=PEER, within=" notice "),
    S("irc", TCP, "3a", "RFC 2812 5.1", needs=PEER, within=" 001 "),
    S("irc", TCP, "'NICK '", "RFC 2812 3.1.2", needs=PEER, opens=True),
    # Routing data before the header, its length in three bytes.
    S("whatsapp", TCP, "'ED' 00 01 00 00 01-40", "nDPI whatsapp", opens=True),
    S("whatsapp", TCP, "'WA' 01-0f 00-0f", "nDPI whatsapp", needs=PORT, opens=True),
    S("smpp", TCP, "00 00 00 .. 00 00 00 01|02|09 00 00 00 00", "SMPP 3.4 4.1", opens=True, length=(0, 4, 0)),
    # What asks a relay of calls for its own address: the peer's tag, then bits that are set.
    S("telegram", UDP, f"@16 {' '.join(['ff'] * 12)} fe ff ff ff", "nDPI telegram", opens=True, size=(32, 100)),
    S("wechat", TCP, "16|19 f1 03-04", "MMTLS, Citizen Lab 2024", needs=PEER, opens=True),
)

_GAMES = (
    S("source-engine", UDP, "ff ff ff ff 'TSource Engine Query'", "Valve server queries", opens=True),
    S("source-engine", UDP, "ff ff ff ff 49 11", "Valve server queries, A2S_INFO"),
    S("source-engine", UDP, "ff ff ff ff 41", "Valve server queries", size=(9, 9)),
    S("source-engine", UDP, "ff ff ff ff 55|56|57", "Valve server queries", needs=PEER, size=(5, 9)),
    S("quake", UDP, "ff ff ff ff 'getinfo'", "Quake III network protocol", opens=True),
    S("quake", UDP, "ff ff ff ff 'getstatus'", "Quake III network protocol", opens=True),
    S("quake", UDP, "ff ff ff ff 'getchallenge'", "Quake III network protocol", opens=True),
    S("quake", UDP, "ff ff ff ff 'getservers'", "Quake III network protocol", opens=True),
    S("quake", UDP, "ff ff ff ff 'infoResponse'", "Quake III network protocol"),
    S("quake", UDP, "ff ff ff ff 'statusResponse'", "Quake III network protocol"),
    S("raknet", UDP, "01|02 @9 00 ff ff 00 fe fe fe fe fd fd fd fd", "RakNet messages", opens=True),
    S("raknet", UDP, "05|06 00 ff ff 00 fe fe fe fe fd fd fd fd", "RakNet messages", opens=True),
    S("raknet", UDP, "1c @17 00 ff ff 00 fe fe fe fe fd fd fd fd", "RakNet messages"),
    S("enet", UDP, "8f ff .. .. 82 ff 00 01 @12 00 00 02-10", "ENet protocol.h, connect", opens=True, size=(48, 60)),
    S("photon", UDP, "ff ff 00 01 @12 02 ff 01 .. 00 00 00 2c 00 00 00 01", "Exit Games Photon, nDPI toca_boca", opens=True),
    # Packet identifier 0, the version of the protocol in two bytes, the length of the host's name.
    S("minecraft", TCP, "06-fe 00 80-ff 01-0f 01-fd", "wiki.vg, handshake", needs=PORT, opens=True),
    S("minecraft", TCP, "fe 01 fa 00 0b 00 4d 00 43", "wiki.vg, server list ping", opens=True),
    S("gamespy", UDP, "fe fd 00|09", "GameSpy 4 query, wiki.vg", opens=True, size=(7, 15)),
    S("samp", UDP, "'SAMP'", "SA-MP query mechanism", opens=True, size=(11, 15)),
    S("nintendo-pia", UDP, "32 ab 98 64 01-0f", "NintendoClients wiki, PIA protocol", opens=True),
    S("netcode", UDP, "00 'NETCODE 1.' 30-39 30-39 00", "netcode 1.02", opens=True, size=(1062, 1078)),
    S("wow", TCP, "30 00 'WORLD OF WARCRAFT CONNECTION'", "World of Warcraft 4 and later, greeting", opens=True),
    S("genshin-impact", UDP, "00 00 00 ff @12 49 96 02 d2 ff ff ff ff", "nDPI genshin_impact", opens=True, size=(20, 20)),
    S("genshin-impact", UDP, "00 00 01 45 @12 49 96 02 d2 14 51 45 45", "nDPI genshin_impact", size=(20, 20)),
    S("tencent-games", TCP, "33 66 00 .. 00 .. 10|20 01-02", "nDPI tencent_games", needs=PEER, opens=True),
    S("steam", UDP, "'VS01'", "Steam datagram header", opens=True),
    S("steam", UDP, "01 01 'sdping'", "Steam datagram relay ping", opens=True),
    S("steam", UDP, "ff ff ff ff 21 4c 5f a0", "Steam in-home streaming discovery", opens=True),
)

_REMOTE = (
    S("ssh", TCP, "'SSH-' 31|32 2e 30-39", "RFC 4253 4.2", opens=True),
    S("telnet", TCP, "ff fb-fe .. ff fa-fe", "RFC 854", opens=True),
    S("telnet", TCP, "ff fa-fe 00-31", "RFC 854", needs=PEER, opens=True),
    S("rdp", TCP, "03 00 .. .. .. e0|d0 @11 01|02 .. 08 00", "[MS-RDPBCGR] 2.2.1", opens=True, length=(2, 2, 0)),
    S("rdp", TCP, "03 00 .. .. .. e0", "[MS-RDPBCGR] 2.2.1.1", opens=True, length=(2, 2, 0), within="mstshash"),
    S("rdp", TCP, "03 00 .. .. .. e0|d0", "ITU-T X.224", needs=PORT, opens=True, length=(2, 2, 0)),
    S("vnc", TCP, "'RFB 00' 33|34 2e", "RFC 6143 7.1.1", opens=True, size=(12, 12)),
    S("x11", TCP, "6c 00 0b 00 00 00", "X Window System Protocol 8", opens=True, size=(12, 300)),
    S("x11", TCP, "42 00 00 0b 00 00", "X Window System Protocol 8", opens=True, size=(12, 300)),
    # A sequence that acknowledges none and asks for a connection, in a datagram filled with zeros.
    S("rdp", UDP, "ff ff ff ff .. .. 00|08|10|18 01 @300 00 00 00 00 00 00 00 00", "[MS-RDPEUDP] 2.2.2.1", opens=True, size=(1132, 1240)),
    S("spice", TCP, "'REDQ' 01-02 00 00 00", "SPICE protocol 1", opens=True),
    S("ica", TCP, "7f 7f 'ICA' 00", "Citrix ICA handshake", opens=True),
    S("adb", TCP, "'CNXN' 00-01 00 00 01", "Android Debug Bridge protocol.txt", opens=True),
    S("nomachine", UDP, "01 00 01 00 0a 00 .. .. 00 00", "nDPI nomachine", needs=PEER, opens=True, size=(10, 10)),
    S("nomachine", UDP, "02 00 01 00 0a 00", "nDPI nomachine", needs=PEER, size=(10, 10)),
    S("teamviewer", UDP, "00 00 00 00 00 00 00 00 00 00 03 17 24", "nDPI teamviewer", opens=True),
    S("teamviewer", TCP, "17 24", "nDPI teamviewer", needs=PORT, opens=True),
)

_FILES = (
    S("ftp", TCP, "'220' 20|2d", "RFC 959 4.2", opens=True, within="ftp"),
    S("ftp", TCP, "'220' 20|2d", "RFC 959 4.2", needs=PEER, opens=True),
    *(S("ftp", TCP, f"'{v}'", "RFC 959 4.1", needs=PEER) for v in ("USER ", "FEAT", "SYST", "AUTH TLS", "AUTH SSL")),
    S("tftp", UDP, "00 01|02 20-7e", "RFC 1350 5", opens=True, within="\0octet\0"),
    S("tftp", UDP, "00 01|02 20-7e", "RFC 1350 5", opens=True, within="\0netascii\0"),
    S("tftp", UDP, "00 03 00 01", "RFC 1350 5", needs=PEER, opens=True),
    S("tftp", UDP, "00 04 00 00-01", "RFC 1350 5", needs=PEER, size=(4, 4)),
    # A directory as Unix or as DOS lists it.
    S("ftp-data", TCP, "2d|64|6c 72 2d|77 2d-78 2d-72 2d-77 2d-78 2d-72 2d-77 2d-78 20 20|31-39", "RFC 959 4.1.3, LIST", opens=True, within="\r\n"),
    S("ftp-data", TCP, "30-31 30-39 2d 30-33 30-39 2d 30-39 30-39 20 20 30-31 30-39 3a 30-35 30-39 41|50 4d 20", "RFC 959 4.1.3, LIST", opens=True),
    S("iscsi", TCP, "03|43 .. .. .. 00", "RFC 7143 11.12", opens=True, within="initiatorname=", size=(48, 65535)),
    S("nbd", TCP, "'NBDMAGIC'", "NBD proto.md", opens=True),
    S("9p", TCP, "@4 64 ff ff", "Plan 9 version(5)", opens=True, length=(0, -4, 0), within="9p2000"),
    S("cvs", TCP, "'BEGIN AUTH REQUEST' 0a", "CVS client/server protocol 3", opens=True),
    S("lustre", TCP, "00 71 ce ac 01 00 00 00", "Lustre LNet acceptor", opens=True),
    S("direct-connect", TCP, "'$Lock '", "NMDC protocol", opens=True),
    S("direct-connect", TCP, "'$MyNick '", "NMDC protocol", opens=True),
    S("direct-connect", TCP, "43|48 'SUP AD'", "ADC 1.0", opens=True),
    S("smb", TCP, "00 .. .. .. fe|ff 'SMB'", "[MS-SMB2] 2.1, [MS-CIFS] 2.1", opens=True),
    S("netbios-ssn", TCP, "81 00 00 44 20 41-50", "RFC 1002 4.3.2", opens=True),
    S("netbios-ssn", TCP, "82 00 00 00", "RFC 1002 4.3.3", needs=PEER, size=(4, 4)),
    S("nfs", TCP, "80 @8 00 00 00 00 00 00 00 02 00 01 86 a3", "RFC 5531 9, 1813", opens=True),
    S("nfs", UDP, "@4 00 00 00 00 00 00 00 02 00 01 86 a3", "RFC 5531 9, 1813", opens=True),
    S("nfs", TCP, "80 @8 00 00 00 01 00 00 00 00", "RFC 5531 9", needs=PEER, length=(2, 2, 4)),
    S("rsync", TCP, "'@RSYNCD: '", "rsync TECHNICAL", opens=True),
    S("afp", TCP, "00 04 .. .. 00 00 00 00 .. .. .. .. 00 00 00 00", "Apple DSI, OpenSession", needs=PEER, opens=True),
    S("afp", TCP, "00-01 01-08 @4 00 00 00 00 .. .. .. .. 00 00 00 00", "Apple DSI", needs=PEER),
    S("git", TCP, "30 30 .. .. 'git-upload-pack '", "Git pack protocol", opens=True),
    S("git", TCP, "30 30 .. .. 'git-receive-pack '", "Git pack protocol", opens=True),
    S("svn", TCP, "'( success ( '", "Subversion ra_svn protocol", opens=True),
    S("ceph", TCP, "'ceph v'", "Ceph messenger protocol", opens=True),
    S("bittorrent", TCP, "13 'BitTorrent protocol'", "BEP 3", opens=True),
    S("bittorrent", UDP, "'d1:ad2:id20:'", "BEP 5", opens=True),
    S("bittorrent", UDP, "'d1:rd2:id20:'", "BEP 5"),
    S("bittorrent", UDP, "'d' 31|32 3a", "BEP 5", within="1:y1:"),
    S("bittorrent", UDP, "00 00 04 17 27 10 19 80 00 00 00 00", "BEP 15", opens=True),
    S("bittorrent", UDP, "'BT-SEARCH * HTTP/1.1'", "BEP 14", opens=True),
    # A connection's first packet: no delay measured yet, sequence 1, nothing acknowledged.
    S("bittorrent", UDP, "41 00-02 .. .. .. .. .. .. 00 00 00 00 @16 00 01 00 00", "BEP 29", opens=True, size=(20, 60)),
    S("bittorrent", UDP, "41 00-02", "BEP 29", needs=PEER, opens=True, size=(20, 30)),
    S("bittorrent", UDP, "21 00-02", "BEP 29", needs=PEER, size=(20, 60)),
    S("gnutella", TCP, "'GNUTELLA'", "Gnutella 0.6", opens=True),
    S("gnutella", UDP, "'GND'", "Gnutella 2 UDP", opens=True, size=(8, 1500)),
    S("gnutella", UDP, "@16 00|01|30|31|80|81 01-0a 00-0a", "Gnutella 0.6 2.2", opens=True, length=(19, -4, 23)),
    # LimeWire's distributed table, Mojito.
    S("gnutella", UDP, "@16 44 00 00", "gtk-gnutella, kademlia message", opens=True, length=(19, -4, 23)),
    S("edonkey", UDP, "e4 01|09|11|19|20-21|28-29|30|33|38|40-41|43-44|48|4b|50-53|58-62", "eMule Kademlia opcodes", needs=PEER, opens=True),
    S("edonkey", TCP, "e3|c5 .. .. 00 00 01 10", "eMule protocol, 2005", opens=True, length=(1, -4, 5)),
    S("edonkey", TCP, "e3|c5|d4", "eMule protocol, 2005", needs=PEER, length=(1, -4, 5)),
    S("dropbox-lansync", UDP, "7b 22", "Dropbox LAN sync", opens=True, within='"host_int"'),
    S("syncthing", UDP, "2e a7 d9 0b", "Syncthing local discovery 4", opens=True),
)

_STREAMS = (
    *(S("rtsp", TCP, f"'{v} '", "RFC 2326 10", opens=True, within=" rtsp/1.0") for v in _RTSP),
    S("rtsp", TCP, "'RTSP/' 31|32 2e 30 20", "RFC 2326 7.1"),
    S("rtmp", TCP, "03 .. .. .. .. 00 00 00 00", "Adobe RTMP 5.2", needs=PEER, opens=True),
    S("rtmp", TCP, "03 @5 09|0a|80 00 01-07 01-03", "Adobe RTMP 5.2", needs=PEER, opens=True),
    S("shoutcast", TCP, "'ICY 200 OK'", "SHOUTcast server replies"),
    # Four packets of 188 bytes, as most are sent seven at a time.
    S("mpeg-ts", UDP, "47 @188 47 @376 47 @564 47", "ISO/IEC 13818-1 2.4.3", opens=True, size=(752, 1504)),
    S("srt", UDP, "80 00 00 00 00 00 00 00 @12 00 00 00 00 00 00 00 04-05", "draft-sharabayko-srt 3.2.1", opens=True, size=(48, 1500)),
    S("apple-midi", UDP, "ff ff 49|4e|4f|42 4b|4e|4f|59 00 00 00 02", "RTP-MIDI session protocol, Apple", opens=True),
    S("flute", UDP, "10-13", "RFC 6726 3.4, RFC 5651 5.1", opens=True, within="<fdt-instance"),
    S("spotify", TCP, "00 04 00 00 .. .. 52", "librespot, client hello", opens=True, length=(2, 4, 0)),
    S("spotify-connect", UDP, "'SpotUdp0'", "Spotify local discovery", opens=True),
)

#: In the order in which they are compared.
INTERNET = (*_TLS, *_QUIC, *_VOICE, *_STREAMS, *_HTTP, *_MAIL, *_TALK, *_GAMES, *_REMOTE, *_FILES)

"""Signatures of what people use: web, mail, voice, messages, games, remote desks, files, streams.

Each names the document its bytes come from; the notation is that of ``patterns``.
"""

from classifier.detectors.applications.patterns import BOTH, PEER, PORT, TCP, UDP, Parser
from classifier.detectors.applications.patterns import Signature as S

__all__ = ["INTERNET"]

# One signature a line, as in the tables they come from.
# fmt: off

_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
_WEBDAV = ("PROPFIND", "PROPPATCH", "REPORT", "MKCOL", "SEARCH", "LOCK", "UNLOCK", "COPY", "MOVE")
_SIP = ("INVITE", "REGISTER", "OPTIONS", "ACK", "BYE", "CANCEL", "SUBSCRIBE", "NOTIFY", "MESSAGE")
_RTSP = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "ANNOUNCE", "GET_PARAMETER", "TEARDOWN")

_HTTP = (
    S("websocket", TCP, "'GET '", "RFC 6455 1.3", opens=True, within="\r\nupgrade: websocket"),
    *(S("http", TCP, f"'{verb} '", "RFC 9112 3", opens=True, within=" http/1.") for verb in (*_METHODS, *_WEBDAV)),
    # A request line longer than what was kept of the stream.
    *(S("http", TCP, f"'{v} /'", "RFC 9112 3", needs=PEER, opens=True) for v in ("GET", "POST")),
    S("http", TCP, "'HTTP/1.' 30|31 20 31-35 30-39 30-39", "RFC 9112 4"),
    S("http2", TCP, "'PRI * HTTP/2.0' 0d 0a 0d 0a 'SM' 0d 0a", "RFC 9113 3.4", opens=True),
)

_TLS = (
    S("tls", TCP, "16 03 00-04 .. .. 01", "RFC 8446 5.1", opens=True, parser=Parser.TLS),
    S("tls", TCP, "14-17 03 00-04", "RFC 8446 5.1", parser=Parser.TLS),
    # A client hello in the form of SSL 2.0 that offers a later version.
    S("tls", TCP, "80 .. 01 03 00-03 .. .. 00", "RFC 5246 E.2", opens=True, length=(1, 1, 2)),
    S("dtls", UDP, "16 fe fd|fe|ff 00 00 @13 01", "RFC 6347 4", opens=True, parser=Parser.DTLS),
    S("dtls", UDP, "14-17|19 fe fd|fe|ff", "RFC 6347 4.1", parser=Parser.DTLS),
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
    S("discord", UDP, "00 01 00 46", "Discord voice, IP discovery", opens=True, size=(74, 74)),
    S("discord", UDP, "00 02 00 46", "Discord voice, IP discovery", size=(74, 74)),
)

_TALK = (
    S("xmpp", TCP, "'<?xml '", "RFC 6120 4", opens=True, within="jabber:"),
    S("xmpp", TCP, "'<?xml '", "RFC 6120 4", opens=True, within="etherx.jabber.org/streams"),
    S("xmpp", TCP, "'<stream:stream'", "RFC 6120 4.2", opens=True),
    *(S("xmpp", TCP, f"'<{v} '", "RFC 6120 8", needs=PEER) for v in ("iq", "message", "presence")),
    S("irc", TCP, "'CAP LS'", "IRCv3 capability negotiation", opens=True),
    S("irc", TCP, "'NICK '", "RFC 2812 3.1.2", opens=True, within="\nuser "),
    S("irc", TCP, "'USER '", "RFC 2812 3.1.3", opens=True, within="\nnick "),
    S("irc", TCP, "'NOTICE AUTH'", "RFC 2812 3.3.2"),
    S("irc", TCP, "3a", "RFC 2812 2.3.1", needs=PEER, within=" notice "),
    S("irc", TCP, "3a", "RFC 2812 5.1", needs=PEER, within=" 001 "),
    S("irc", TCP, "'NICK '", "RFC 2812 3.1.2", needs=PEER, opens=True),
    S("whatsapp", TCP, "'ED' 00 01 @8 'WA' 01-0f", "nDPI whatsapp", opens=True),
    S("whatsapp", TCP, "'WA' 01-0f 00-0f", "nDPI whatsapp", needs=PORT, opens=True),
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
    S("teamviewer", TCP, "17 24", "nDPI teamviewer", needs=PORT, opens=True),
)

_FILES = (
    S("ftp", TCP, "'220' 20|2d", "RFC 959 4.2", opens=True, within="ftp"),
    S("ftp", TCP, "'220' 20|2d", "RFC 959 4.2", needs=PEER, opens=True),
    *(S("ftp", TCP, f"'{v}'", "RFC 959 4.1", needs=PEER) for v in ("USER ", "FEAT", "SYST", "AUTH TLS", "AUTH SSL")),
    S("tftp", UDP, "00 01|02 20-7e", "RFC 1350 5", opens=True, within="\0octet\0"),
    S("tftp", UDP, "00 01|02 20-7e", "RFC 1350 5", opens=True, within="\0netascii\0"),
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
    S("bittorrent", UDP, "41 00-02", "BEP 29", needs=PEER, opens=True, size=(20, 30)),
    S("bittorrent", UDP, "21 00-02", "BEP 29", needs=PEER, size=(20, 60)),
    S("gnutella", TCP, "'GNUTELLA'", "Gnutella 0.6", opens=True),
    S("gnutella", UDP, "'GND'", "Gnutella 2 UDP", opens=True, size=(8, 1500)),
    S("gnutella", UDP, "@16 00|01|30|31|80|81 01-0a 00-0a", "Gnutella 0.6 2.2", opens=True, length=(19, -4, 23)),
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
    S("spotify-connect", UDP, "'SpotUdp0'", "Spotify local discovery", opens=True),
)

#: In the order in which they are compared.
INTERNET = (*_TLS, *_QUIC, *_VOICE, *_STREAMS, *_HTTP, *_MAIL, *_TALK, *_GAMES, *_REMOTE, *_FILES)

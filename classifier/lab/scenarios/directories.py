"""Servers that an office has inside: files, directories, logins, keys, things, names, chat."""

import os
from collections.abc import Iterator

from classifier.lab.stage import TCP, UDP, Stage, Ways, scenario

PYTHON = "/usr/bin/python3"
SAMBA = """\
[global]
workgroup = LAB
smb encrypt = {crypt}
private dir = {folder}/private
lock directory = {folder}/lock
state directory = {folder}/state
cache directory = {folder}/cache
pid directory = {folder}/pid
ncalrpc dir = {folder}/rpc
log file = {folder}/log.smb
disable netbios = yes
smb ports = 445
load printers = no
[share]
path = {folder}/share
read only = no
force user = root
"""
KDC = """\
[kdcdefaults]
kdc_listen = {address}:88
kdc_tcp_listen = {address}:88
[realms]
LAB = {{
 database_name = {folder}/principal
 key_stash_file = {folder}/stash
}}
"""
KRB5 = """\
[libdefaults]
default_realm = LAB
dns_lookup_kdc = false
udp_preference_limit = {limit}
[realms]
LAB = {{
 kdc = {address}
}}
"""
SLAPD = """\
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
database mdb
suffix "dc=lab"
rootdn "cn=admin,dc=lab"
rootpw secret
directory {folder}/db
"""
IPMI = """\
name "lab"
set_working_mc 0x20
startlan 1
 addr {address} 623
 priv_limit admin
 allowed_auths_admin none md2 md5 straight
 guid a123456789abcdefa123456789abcdef
endlan
user 2 true "lab" "secret" admin 10 none md2 md5 straight
"""
BMC = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"
TALK = """
import os, socket, sys, time
server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
kind, count = sys.argv[3], int(sys.argv[4])
if kind == 'nats':
    server.recv(4096)
    server.sendall(b'CONNECT {"verbose":false,"lang":"lab","version":"1"}\\r\\nPING\\r\\nSUB a 1\\r\\n')
else:
    server.sendall(b'NICK lab\\r\\nUSER lab 0 * :lab\\r\\n')
    time.sleep(.5)
    server.sendall(b'JOIN #lab\\r\\n')
for i in range(count):
    text = os.urandom(10 * i + 1).hex().encode()
    said = b'PUB a %d\\r\\n' % len(text) if kind == 'nats' else b'PRIVMSG #lab :'
    server.sendall(said + text[:400 if kind == 'irc' else None] + b'\\r\\n')
    time.sleep(.05)
server.settimeout(.3)
server.recv(65536)
"""


@scenario("samba-files", "Files by SMB, encrypted or plain", "smbd:samba", "smbclient", ways=False)
def _samba(stage: Stage) -> Iterator[Ways]:
    server, client = stage.server, stage.client
    server.write("share/file", os.urandom(stage.number(20_000, 1_000, 300_000)), 0o644)
    for name in ("private", "lock", "state", "cache", "pid", "rpc"):
        (server.folder / name).mkdir()
    crypt = stage.pick("required", "required", "off")
    conf = server.write("smb.conf", SAMBA.format(crypt=crypt, folder=server.folder))
    server.run("smbpasswd", "-c", conf, "-s", "-a", "root", data="secret\nsecret\n")
    server.start("smbd", "-F", "--no-process-group", "-s", conf)
    server.wait_listen("tcp", 445)
    for port in (139, 445):
        stage.claim(TCP, port, "smb")
    up = client.write("up", os.urandom(stage.number(50_000, 1_000, 200_000)))
    yield None
    orders = f"ls; get file /dev/null; put {up} up; ls"
    client.run(
        *("smbclient", f"//{server.address}/share", "-p", "445", "-U", "root%secret"),
        *("-m", "SMB3", "-c", orders),
    )


@scenario("kerberos-tickets", "Tickets of Kerberos, over UDP or TCP", "krb5kdc:krb5-kdc",
          "kadmin.local:krb5-admin-server", "kinit:krb5-user", ways=False)  # fmt: skip
def _kerberos(stage: Stage) -> Iterator[Ways]:
    server, client = stage.server, stage.client
    facts = {"address": server.address, "folder": server.folder, "limit": stage.pick(1465, 1)}
    conf = KRB5.format(**facts)
    far = {
        "KRB5_KDC_PROFILE": server.write("kdc.conf", KDC.format(**facts)),
        "KRB5_CONFIG": server.write("krb5.conf", conf),
    }
    server.run("kdb5_util", "create", "-s", "-P", "master", "-r", "LAB", env=far)
    for order in ("addprinc -pw secret bob", "addprinc -randkey host/a"):
        server.run("kadmin.local", "-q", order, env=far)
    server.start("krb5kdc", "-n", env=far)
    server.wait_listen("udp", 88)
    for proto in (TCP, UDP):
        stage.claim(proto, 88, "kerberos")
    near = {
        "KRB5_CONFIG": client.write("krb5.conf", conf),
        "KRB5CCNAME": str(client.folder / "cache"),
    }
    yield None
    for _ in range(stage.number(4, 2, 10)):
        secret = stage.pick("secret\n", "secret\n", "wrong\n")
        client.run("kinit", "bob", data=secret, env=near, check=False)
        client.run("kvno", "host/a", env=near, check=False)


@scenario("ldap-entries", "Entries asked of OpenLDAP", "slapd", "ldapsearch:ldap-utils", ways=False)
def _ldap(stage: Stage) -> Iterator[Ways]:
    server = stage.server
    (server.folder / "db").mkdir()
    conf = server.write("slapd.conf", SLAPD.format(folder=server.folder))
    server.start("slapd", "-d", "0", "-f", conf, "-h", f"ldap://{server.address}")
    server.wait_listen("tcp", 389)
    stage.claim(TCP, 389, "ldap")
    root = "dn: dc=lab\nobjectClass: dcObject\nobjectClass: organization\no: lab\ndc: lab\n"
    who = ["-x", "-H", f"ldap://{server.address}", "-D", "cn=admin,dc=lab", "-w", "secret"]
    yield None
    stage.client.run("ldapadd", *who, data=root)
    for _ in range(stage.number(4, 2, 12)):
        wanted = stage.pick("(objectClass=*)", "(cn=x*)")
        stage.client.run("ldapsearch", *who, "-b", "dc=lab", wanted)


@scenario("etcd-keys", "Keys put into etcd and read, over gRPC", "etcd:etcd-server",
          "etcdctl:etcd-client", ways=False)  # fmt: skip
def _etcd(stage: Stage) -> Iterator[Ways]:
    server, port = stage.server, stage.port(2379)
    url = f"http://{server.address}:{port}"
    server.start(
        *("etcd", "--data-dir", str(server.folder / "etcd"), "--listen-client-urls", url),
        *("--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:2380"),
    )
    server.wait_listen("tcp", port)
    stage.claim(TCP, port, "http2")
    call, env = ["etcdctl", "--endpoints", url], {"ETCDCTL_API": "3"}
    yield None
    for i in range(stage.number(4, 2, 10)):
        stage.client.run(*call, "put", f"k{i}", os.urandom(200).hex(), env=env)
    stage.client.run(*call, "get", "--prefix", "k", env=env)


@scenario("radius-logins", "Logins asked of RADIUS", "freeradius", "radclient:freeradius-utils",
          ways=False)  # fmt: skip
def _radius(stage: Stage) -> Iterator[Ways]:
    server = stage.server
    conf = server.folder / "raddb"
    server.run("cp", "-a", "/etc/freeradius/3.0", str(conf))
    (conf / "clients.conf").write_text("client any {\n ipaddr = 0.0.0.0/0\n secret = testing\n}\n")
    (conf / "users").write_text('bob Cleartext-Password := "hello"\n Reply-Message := "hi"\n')
    server.sh(
        f"chown -R root:root {conf}; sed -i 's/user = freerad/user = root/;"
        f" s/group = freerad/group = root/' {conf}/radiusd.conf"
    )
    server.start("freeradius", "-f", "-l", "stdout", "-d", str(conf))
    server.wait_listen("udp", 1812)
    stage.claim(UDP, 1812, "radius")
    yield None
    for _ in range(stage.number(6, 3, 20)):
        asked = f'User-Name = "bob"\nUser-Password = "{stage.pick("hello", "wrong")}"\n'
        call = ("radclient", f"{server.address}:1812", "auth", "testing")
        stage.client.run(*call, data=asked, check=False)


@scenario("coap-things", "Resources asked by CoAP, plain or in DTLS with a key",
          "coap-server-openssl:libcoap3-bin", ways=False)  # fmt: skip
def _coap(stage: Stage) -> Iterator[Ways]:
    server, secure = stage.server, stage.pick(False, True)
    far, near = (
        (["-k", "secret", "-h", "hint"], ["-k", "secret", "-u", "me"]) if secure else ([], [])
    )
    server.start("coap-server-openssl", "-A", server.address, "-p", "5683", *far)
    server.wait_listen("udp", 5683)
    stage.claim(UDP, 5683, "coap")
    stage.claim(UDP, 5684, "dtls")
    url = f"coaps://{server.address}:5684" if secure else f"coap://{server.address}"
    yield None
    for _ in range(stage.number(5, 3, 15)):
        what = stage.pick("time", ".well-known/core", "async?1", "")
        call = ("coap-client-openssl", "-B", "3", "-m", "get", *near)
        stage.client.run(*call, f"{url}/{what}", check=False)


@scenario("bind-dnssec", "Names asked of BIND, with keys and signatures, and a zone handed over",
          "named:bind9", "dnssec-keygen:bind9-utils", ways=False)  # fmt: skip
def _bind(stage: Stage) -> Iterator[Ways]:
    server, zone = stage.server, "example.org"
    rows = "".join(
        f'h{i} IN A 192.0.2.{i}\nh{i} IN TXT "{os.urandom(90).hex()}"\n' for i in range(1, 40)
    )
    head = f"$TTL 60\n@ IN SOA ns root 1 60 60 60 60\n@ IN NS ns\nns IN A {server.address}\n"
    file, folder = server.write("db", head + rows), str(server.folder)
    for more in ([], ["-f", "KSK"]):
        key = ("dnssec-keygen", "-K", folder, "-a", "RSASHA256", "-b", "2048")
        server.run(*key, *more, zone)
    server.run("dnssec-signzone", "-S", "-K", folder, "-o", zone, "-d", folder, file)
    conf = server.write(
        "named.conf",
        f'options {{ directory "{folder}"; listen-on {{ {server.address}; }}; recursion no;\n'
        "allow-transfer { any; }; pid-file none; session-keyfile none; dnssec-validation no; };\n"
        f'controls {{ }};\nzone "{zone}" {{ type primary; file "{file}.signed"; }};\n',
    )
    server.start("named", "-g", "-u", "root", "-c", conf)
    server.wait_listen("udp", 53)
    for proto in (TCP, UDP):
        stage.claim(proto, 53, "dns")
    yield None
    for _ in range(stage.number(12, 5, 40)):
        host = f"h{stage.rng.randint(1, 60)}.{zone}"
        asked = stage.pick(
            f"{zone} DNSKEY", f"{host} TXT", f"{host} A", f"{os.urandom(20).hex()}.{zone}"
        )
        signed = stage.pick(["+dnssec"], [])
        stage.client.run("dig", f"@{server.address}", *asked.split(), *signed, check=False)
    stage.client.run("dig", f"@{server.address}", zone, "AXFR")


@scenario("ipmi-console", "A management controller asked by IPMI 2.0", "ipmi_sim:openipmi", "ipmitool",
          ways=False)  # fmt: skip
def _ipmi(stage: Stage) -> Iterator[Ways]:
    server = stage.server
    conf = server.write("lan.conf", IPMI.format(address=server.address))
    call = f"ipmi_sim -c {conf} -f {server.write('bmc', BMC)} -s {server.folder}/state -n"
    server.start("sh", "-c", f"sleep 600 | {call}")
    server.wait_listen("udp", 623)
    stage.claim(UDP, 623, "ipmi")
    yield None
    who = ("-H", server.address, "-U", "lab", "-P", "secret")
    for order in ("mc info", "sdr", "sel info", "chassis status", "lan print 1"):
        suite = ("-I", "lanplus", "-C", stage.pick("3", "17"))
        stage.client.run("ipmitool", *suite, *who, *order.split(), check=False)


def _talk(stage: Stage, kind: str, port: int) -> Iterator[Ways]:
    stage.server.wait_listen("tcp", port)
    stage.claim(TCP, port, kind)
    yield None
    count = str(stage.number(8, 2, 30))
    call = (PYTHON, "-c", TALK, stage.server.address, str(port), kind, count)
    stage.client.run(*call, check=False)


@scenario("nats-subjects", "Messages published to a NATS server", "nats-server", ways=False)
def _nats(stage: Stage) -> Iterator[Ways]:
    port = stage.port(4222)
    stage.server.start("nats-server", "-a", stage.server.address, "-p", str(port))
    yield from _talk(stage, "nats", port)


@scenario("ngircd-chat", "Lines in a channel of an IRC server", "ngircd", ways=False)
def _irc(stage: Stage) -> Iterator[Ways]:
    server = stage.server
    conf = f"[Global]\nName = irc.lab.net\nListen = {server.address}\nMotdPhrase = hi\n"
    conf += "ServerUID = 0\nServerGID = 0\n[Options]\nPAM = no\nIdent = no\nDNS = no\n"
    server.start("ngircd", "-n", "-f", server.write("ngircd.conf", conf))
    yield from _talk(stage, "irc", 6667)

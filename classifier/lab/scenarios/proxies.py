"""Proxies on one port: microsocks, dante (SOCKS), tinyproxy, squid (HTTP), stunnel (TLS)."""

from collections.abc import Iterator

from classifier.lab.stage import TCP, Stage, Way, Ways, scenario


@scenario(
    *("microsocks-socks5", "Connections through a SOCKS5 proxy", "microsocks"), ipv6=True, clients=3
)
def _socks(stage: Stage) -> Iterator[Ways]:
    port = stage.port(1080)
    stage.server.start("microsocks", "-i", stage.address, "-p", str(port))
    stage.claim(TCP, port, "socks", "socks")
    stage.server.wait_listen("tcp", port)
    yield None
    proxy = f"socks5://{stage.place}:{port}"
    yield [Way(one, stage.server, stage.inner, proxy=proxy, udp=False) for one in stage.clients]


@scenario(
    "tinyproxy-connect",
    "Connections through an HTTP proxy's CONNECT",
    "tinyproxy:tinyproxy-bin",
    ipv6=True,
    clients=3,
)
def _connect(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(8888, 3128, 8080)
    conf = f"Port {port}\nListen {stage.address}\nUser root\nMaxClients 200\n"
    stage.server.start("tinyproxy", "-d", "-c", stage.server.write("tinyproxy.conf", conf))
    stage.claim(TCP, port, "http-connect", "http-connect")
    stage.server.wait_listen("tcp", port)
    yield None
    proxy = f"http://{stage.place}:{port}"
    yield [Way(one, stage.server, stage.inner, proxy=proxy, udp=False) for one in stage.clients]


@scenario("microsocks-login", "A SOCKS5 proxy that asks for a password", "microsocks", ipv6=True)
def _login(stage: Stage) -> Iterator[Ways]:
    port, login = stage.port(1080), ("-u", "lab", "-P", "secret")
    stage.server.start("microsocks", "-i", stage.address, "-p", str(port), *login)
    stage.claim(TCP, port, "socks", "socks")
    stage.server.wait_listen("tcp", port)
    yield None
    proxy = f"socks5://lab:secret@{stage.place}:{port}"
    yield Way(stage.client, stage.server, stage.inner, proxy=proxy, udp=False)


@scenario("dante-socks5", "Connections through dante", "danted:dante-server", clients=3)
def _dante(stage: Stage) -> Iterator[Ways]:
    port = stage.port(1080)
    conf = (
        f"logoutput: stderr\ninternal: {stage.server.address} port = {port}\nexternal: lo\n"
        "clientmethod: none\nsocksmethod: none\nuser.privileged: root\nuser.unprivileged: root\n"
        "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n"
        "socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n"
    )
    target = stage.inner  # before the start: dante looks at the interface once
    stage.server.start("danted", "-N", "2", "-f", stage.server.write("danted.conf", conf))
    stage.claim(TCP, port, "socks", "socks")
    stage.server.wait_listen("tcp", port)
    yield None
    proxy = f"socks5://{stage.server.address}:{port}"
    yield [Way(one, stage.server, target, proxy=proxy, udp=False) for one in stage.clients]


@scenario("squid-connect", "Connections through squid's CONNECT", "squid", ipv6=True, clients=3)
def _squid(stage: Stage) -> Iterator[Ways]:
    port, folder = stage.pick(3128, 8080, 443), stage.server.folder
    conf = (
        f"http_port {stage.place}:{port}\nhttp_access allow all\ncache deny all\nmax_filedesc 1024\n"
        f"pid_filename {folder}/squid.pid\ncache_log {folder}/cache.log\naccess_log none\n"
        f"coredump_dir {folder}\nshutdown_lifetime 1 second\nvisible_hostname proxy.example.net\n"
        "pinger_enable off\nnetdb_filename none\n"
    )
    folder.chmod(0o777)  # squid gives up root
    stage.server.start("squid", "-N", "-f", stage.server.write("squid.conf", conf))
    stage.claim(TCP, port, "http-connect", "http-connect")
    stage.server.wait_listen("tcp", port)
    yield None
    proxy = f"http://{stage.place}:{port}"
    yield [Way(one, stage.server, stage.inner, proxy=proxy, udp=False) for one in stage.clients]


@scenario("stunnel-tls", "A port forwarded inside TLS", "stunnel4", ipv6=True)
def _stunnel(stage: Stage) -> Iterator[Ways]:
    port = stage.port(443)
    certificate, key = stage.authority.issue("www.example.net", "serverAuth")
    common = "foreground = yes\npid =\n[demo]\n"
    far = f"accept = {stage.address}:{port}\nconnect = {stage.inner}:80\ncert = {certificate}\n"
    near = f"client = yes\naccept = 127.0.0.1:8000\nconnect = {stage.address}:{port}\n"
    conf = stage.server.write("stunnel.conf", f"{common}{far}key = {key}\n")
    stage.server.start("stunnel4", conf)
    stage.client.start("stunnel4", stage.client.write("stunnel.conf", common + near))
    stage.claim(TCP, port, "tls", "stunnel")
    stage.server.wait_listen("tcp", port)
    stage.client.wait_listen("tcp", 8000)
    yield None
    yield Way(*(stage.client, stage.server, stage.inner), forwards={80: 8000}, udp=False, tls=False)

"""The web as several servers speak it: lighttpd, Apache, HAProxy, openssl; uploads to nginx."""

import os
from collections.abc import Iterator
from pathlib import Path

from classifier.lab import services
from classifier.lab.stage import TCP, Stage, Ways, scenario

NAME = "www.example.net"
OPTIONS: tuple[tuple[str, ...], ...] = ((), ("--http1.1",), ("--tls-max", "1.2"), ("--tlsv1.3",))


def _files(stage: Stage) -> str:
    folder = stage.server.folder / "www"
    folder.mkdir()
    (folder / "index.html").write_text("<p>a page</p>\n" * stage.number(60, 5, 900))
    for name, size in (("small", 900), ("file", stage.number(9_000, 200, 200_000))):
        (folder / name).write_bytes(os.urandom(size))
    stage.server.folder.chmod(0o755)
    return str(folder)


def _pem(stage: Stage) -> str:
    parts = stage.authority.issue(NAME, "serverAuth")
    return stage.server.write("both.pem", "".join(Path(part).read_text() for part in parts), 0o644)


def _visit(stage: Stage, port: int) -> None:
    stage.claim(TCP, port, "tls")
    stage.server.wait_listen("tcp", port)


def _fetch(stage: Stage, port: int) -> None:
    for _ in range(stage.number(3, 8, 45)):
        path = stage.rng.choice(("", "small", "file"))
        options = stage.rng.choice(OPTIONS)
        url = f"https://{NAME}:{port}/{path}"
        services.use_web(stage.client, stage.authority, stage.address, url, *options)


@scenario("lighttpd-http", "Pages from lighttpd, plain", "lighttpd", "curl", ways=False, ipv6=True)
def _lighttpd(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(80, 8080, 8000)
    conf = (
        f'server.document-root = "{_files(stage)}"\nserver.port = {port}\n'
        f'server.bind = "{stage.place}"\nindex-file.names = ("index.html")\n'
    )
    stage.server.start("lighttpd", "-D", "-f", stage.server.write("lighttpd.conf", conf))
    stage.claim(TCP, port, "http")
    stage.server.wait_listen("tcp", port)
    yield None
    for _ in range(stage.number(3, 8, 45)):
        path = stage.rng.choice(("", "small", "file"))
        url = f"http://{NAME}:{port}/{path}"
        services.use_web(stage.client, stage.authority, stage.address, url)


@scenario(
    "apache2-https",
    "Pages from Apache over TLS",
    "apache2:apache2-bin",
    "curl",
    ways=False,
    ipv6=True,
)
def _apache(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(443, 8443)
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    modules = ("mpm_event", "authz_core", "dir", "mime", "ssl", "http2", "socache_shmcb")
    lines = [f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules]
    lines += [
        *(f"ServerName {NAME}", f"Listen {stage.place}:{port}", "Protocols h2 http/1.1"),
        *(f"DocumentRoot {_files(stage)}", "DirectoryIndex index.html", "TypesConfig /dev/null"),
        *("ErrorLog /dev/stderr", "PidFile /run/apache.pid", "DefaultRuntimeDir /run"),
        *("SSLEngine on", f"SSLCertificateFile {certificate}", f"SSLCertificateKeyFile {key}"),
        *("User nobody", "Group nogroup"),
    ]
    conf = stage.server.write("apache.conf", "\n".join(lines) + "\n")
    stage.server.start("apache2", "-X" if stage.pick(0, 1) else "-DFOREGROUND", "-f", conf)
    _visit(stage, port)
    yield None
    _fetch(stage, port)


@scenario(
    "haproxy-https",
    "Pages through HAProxy, which ends TLS",
    "haproxy",
    "curl",
    "nginx:nginx-light",
    ways=False,
    ipv6=True,
)
def _haproxy(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(443, 8443)
    services.serve_web(stage.net, stage.authority, stage.server, "back.example.net", 8081, None)
    conf = (
        "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
        f"frontend front\n bind {stage.address}:{port} ssl crt {_pem(stage)} alpn h2,http/1.1\n"
        f" http-request set-path /file if {{ path /small }}\n default_backend back\n"
        f"backend back\n server one {stage.server.address}:8081\n"
    )
    stage.server.start("haproxy", "-db", "-f", stage.server.write("haproxy.cfg", conf))
    _visit(stage, port)
    yield None
    _fetch(stage, port)


@scenario(
    "openssl-https",
    "Pages from openssl s_server over TLS",
    "openssl",
    "curl",
    ways=False,
    ipv6=True,
)
def _openssl(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(443, 4433, 8443)
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    argv = ["openssl", "s_server", "-accept", f"{stage.place}:{port}", "-www", "-quiet"]
    stage.server.start(*argv, "-cert", certificate, "-key", key)
    _visit(stage, port)
    yield None
    for _ in range(stage.number(3, 8, 40)):
        options = stage.rng.choice((("--tls-max", "1.2"), ("--tlsv1.3",)))
        url = f"https://{NAME}:{port}/"
        services.use_web(stage.client, stage.authority, stage.address, url, *options)


@scenario(
    "nginx-upload",
    "Files of random bytes sent by HTTPS",
    "nginx:nginx-light",
    "curl",
    ways=False,
    ipv6=True,
)
def _upload(stage: Stage) -> Iterator[Ways]:
    port, folder = stage.pick(443, 8443), stage.server.folder
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    (folder / "www").mkdir()
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = (
        f"daemon off; pid {folder}/n.pid; error_log stderr; user root; events {{ }}\n"
        f"http {{ access_log off; client_max_body_size 20m; client_body_temp_path {folder}/b;\n"
        f"{temporary} server {{ listen {stage.place}:{port} ssl http2; root {folder}/www;\n"
        f"ssl_certificate {certificate}; ssl_certificate_key {key};\n"
        "ssl_protocols TLSv1.2 TLSv1.3;\n"
        "location / { dav_methods PUT; } } }\n"
    )
    stage.server.start("nginx", "-p", str(folder), "-c", stage.server.write("nginx.conf", conf))
    _visit(stage, port)
    yield None
    for number in range(stage.number(2, 3, 12)):
        path = stage.client.write("upload", os.urandom(stage.number(20_000, 2_000, 600_000)))
        options = (*stage.rng.choice(OPTIONS), "-T", path)
        url = f"https://{NAME}:{port}/{number}"
        services.use_web(stage.client, stage.authority, stage.address, url, *options)

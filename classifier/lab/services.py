"""Starts ordinary servers on a host of the lab, and drives their ordinary clients.

Each ``serve_*`` claims its transport address; each ``use_*`` fails where the exchange did not work.
"""

import os
from pathlib import Path

from classifier.errors import LabError
from classifier.lab.authority import Authority
from classifier.lab.host import Daemon, Host
from classifier.lab.labels import TCP, UDP
from classifier.lab.network import Network

__all__ = [
    "bracket",
    "serve_dns",
    "serve_iperf",
    "serve_ntp",
    "serve_ssh",
    "serve_web",
    "use_dns",
    "use_iperf",
    "use_ntp",
    "use_scp",
    "use_ssh",
    "use_web",
]

NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; user root;
events {{ worker_connections 64; }}
http {{
  access_log off; default_type text/html;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ {listen} server_name {name}; root {folder}/www; {tls} }}
}}
"""
TLS = "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;"


def bracket(address: str) -> str:
    """Return the address as a URL has it."""
    return f"[{address}]" if ":" in address else address


def serve_web(
    lab: Network,
    authority: Authority,
    host: Host,
    name: str,
    plain: int | None = 80,
    tls: int | None = 443,
    file_bytes: int = 12_000,
    files: dict[str, int] | None = None,
) -> Daemon:
    """Start nginx with one page and one file of random bytes (``/file``), and more by name."""
    folder = host.folder / f"web-{name}"
    (folder / "www").mkdir(parents=True)
    (folder / "www" / "index.html").write_text(f"<h1>{name}</h1>\n" + "<p>a page</p>\n" * 40)
    for file, size in {"file": file_bytes, **(files or {})}.items():
        (folder / "www" / file).write_bytes(os.urandom(size))
    listen = ""
    for address in host.addresses:
        listen += f"listen {bracket(address)}:{plain}; " if plain else ""
        listen += f"listen {bracket(address)}:{tls} ssl http2; " if tls else ""
        for port, application in ((plain, "http"), (tls, "tls")):
            if port:
                lab.claim(TCP, address, port, application)
    certificate = TLS.format(*authority.issue(name, "serverAuth")) if tls else ""
    conf = NGINX.format(folder=folder, listen=listen, name=name, tls=certificate)
    (folder / "nginx.conf").write_text(conf)
    daemon = host.start("nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"))
    for port in (plain, tls):
        if port:
            host.wait_listen("tcp", port)
    return daemon


def use_web(client: Host, authority: Authority, address: str, url: str, *options: str) -> None:
    """Fetch the URL from the server at the address."""
    scheme, _, rest = url.partition("://")
    name, _, port = rest.partition("/")[0].partition(":")
    port = port or ("443" if scheme == "https" else "80")
    client.run(
        *["curl", "-sS", "--fail", "--cacert", authority.certificate, "-o", "/dev/null"],
        *["--resolve", f"{name}:{port}:{bracket(address)}", "-m", "15", *options, url],
    )


def serve_dns(lab: Network, host: Host, port: int = 53) -> Daemon:
    """Start dnsmasq, which answers for example.net itself."""
    argv = ["dnsmasq", "-k", "-C", "/dev/null", "-R", "-h", "-p", str(port), "-u", "root"]
    argv += ["--bind-interfaces", "--pid-file", "--log-facility=-", "--local=/net/"]
    argv += ["--address=/example.net/192.0.2.80", "--address=/example.net/2001:db8:80::80"]
    argv += ["--txt-record=long.example.net," + ",".join(["v=demo " + "x" * 200] * 4)]
    for address in host.addresses:
        argv.append(f"--listen-address={address}")
        lab.claim(UDP, address, port, "dns")
        lab.claim(TCP, address, port, "dns")
    daemon = host.start(*argv)
    host.wait_listen("udp", port)
    return daemon


def use_dns(client: Host, address: str, name: str, *options: str, port: int = 53) -> None:
    """Ask for a name; fail without an answer."""
    argv = ["dig", f"@{address}", "-p", str(port), name, "+tries=1", "+time=3", *options]
    said = client.run(*argv)
    if "NOERROR" not in said and "NXDOMAIN" not in said:
        raise LabError(f"dig {name} @{address}: no answer")


def serve_ssh(lab: Network, host: Host, client: Host, port: int = 22) -> list[str]:
    """Start sshd; return the options with which the client logs in."""
    key, server_key = str(client.folder / "id"), str(host.folder / "hostkey")
    for path in (key, server_key):
        host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
    host.run("mkdir", "-p", "/run/sshd")
    authorized = host.write("authorized_keys", Path(f"{key}.pub").read_bytes())
    address = host.address
    conf = host.write(
        "sshd_config",
        f"ListenAddress {bracket(address)}:{port}\nHostKey {server_key}\nUsePAM no\n"
        f"AuthorizedKeysFile {authorized}\nStrictModes no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nPidFile none\nPrintMotd no\nPermitTunnel yes\n"
        "Subsystem sftp internal-sftp\n",
    )
    host.start("/usr/sbin/sshd", "-D", "-e", "-f", conf)
    lab.claim(TCP, address, port, "ssh")
    host.wait_listen("tcp", port)
    options = ["-F", "/dev/null", "-i", key, "-o", "StrictHostKeyChecking=no"]
    return [*options, "-o", "UserKnownHostsFile=/dev/null", "-o", f"Port={port}"]


def use_ssh(client: Host, address: str, options: list[str], keystrokes: int = 12) -> None:
    """Log in and type a few lines, one every 50 ms."""
    typed = "".join(f"echo line {i}; sleep 0.05\n" for i in range(keystrokes)) + "exit\n"
    client.run("ssh", "-tt", *options, f"root@{address}", data=typed)


def use_scp(client: Host, address: str, options: list[str], file_bytes: int = 8_000) -> None:
    """Copy a file of random bytes to the server."""
    path = client.write("upload", os.urandom(file_bytes))
    client.run("scp", "-q", *options, path, f"root@{bracket(address)}:/dev/null")


def serve_ntp(lab: Network, host: Host) -> Daemon:
    """Start chronyd as a server that leaves the clock alone."""
    conf = host.write("chrony.conf", "local stratum 8\nallow all\ncmdport 0\ndriftfile /dev/null\n")
    daemon = host.start("chronyd", "-x", "-d", "-U", "-u", "root", "-f", conf)
    for address in host.addresses:
        lab.claim(UDP, address, 123, "ntp")
    host.wait_listen("udp", 123)
    return daemon


def use_ntp(client: Host, address: str) -> None:
    """Ask the server for the time, four times; the clock is not set."""
    argv = ["chronyd", "-Q", "-U", "-u", "root", "-t", "8", "-f", "/dev/null"]
    client.run(*argv, f"server {address} iburst maxsamples 4", check=False, seconds=15)


def serve_iperf(lab: Network, host: Host, port: int = 5201, address: str = "") -> Daemon:
    """Start iperf3, whose test data are random bytes."""
    bound = address or host.address
    daemon = host.start("iperf3", "-s", "-B", bound, "-p", str(port))
    lab.claim(TCP, bound, port, "iperf3")
    lab.claim(UDP, bound, port, "iperf3")
    host.wait_listen("tcp", port)
    return daemon


def use_iperf(client: Host, address: str, port: int = 5201, *options: str) -> None:
    """Send 12 kB of random bytes, by UDP if not told otherwise; later options win."""
    chosen = options or ("-u", "-b", "400k", "-l", "600")
    client.run("iperf3", "-c", address, "-p", str(port), "-n", "12K", *chosen)

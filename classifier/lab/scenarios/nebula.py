"""Nebula: hosts with certificates of one authority, introduced by a lighthouse."""

from collections.abc import Iterator

from classifier.lab.stage import UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach

ANY = "[{port: any, proto: any, host: any}]"


@scenario("nebula-lighthouse", "Nebula: a lighthouse and one host", "nebula")
def _nebula(stage: Stage) -> Iterator[Ways]:
    folder = stage.net.folder / "nebula"
    folder.mkdir()
    ca = ["-ca-crt", f"{folder}/ca.crt", "-ca-key", f"{folder}/ca.key"]
    make = ["nebula-cert", "ca", "-name", "demo", "-out-crt", f"{folder}/ca.crt"]
    stage.server.run(*make, "-out-key", f"{folder}/ca.key")
    port = stage.pick(4242, 443, 51820)
    confs = []
    for number, host in enumerate((stage.server, stage.client), 1):
        names = ["-name", host.name, "-ip", f"10.78.0.{number}/24"]
        files = ["-out-crt", f"{folder}/{number}.crt", "-out-key", f"{folder}/{number}.key"]
        host.run("nebula-cert", "sign", *ca, *names, *files)
        lighthouse = "am_lighthouse: true" if number == 1 else "hosts: ['10.78.0.1']"
        pki = f"ca: {folder}/ca.crt, cert: {folder}/{number}.crt, key: {folder}/{number}.key"
        text = f"pki: {{{pki}}}\n" + (
            f"static_host_map: {{'10.78.0.1': ['{stage.server.address}:{port}']}}\n"
            f"lighthouse: {{{lighthouse}}}\n"
            f"listen: {{host: {host.address}, port: {port if number == 1 else 0}}}\n"
            f"firewall: {{outbound: {ANY}, inbound: {ANY}}}\n"
        )
        confs.append(host.write("nebula.yml", text))
    stage.claim(UDP, port, "nebula", "nebula")
    stage.server.start("nebula", "-config", confs[0])
    stage.server.wait_listen("udp", port)
    yield None
    stage.client.start("nebula", "-config", confs[1])
    reach(stage.client, "10.78.0.1")
    yield Way(stage.client, stage.server, "10.78.0.1", bind="10.78.0.2")

"""fastd: UDP with a key pair on each side."""

from collections.abc import Iterator

from classifier.lab.stage import UDP, Stage, Way, Ways, scenario
from classifier.lab.tunnel import reach


@scenario("fastd-udp", "fastd with a key pair on each side", "fastd", ipv6=True)
def _fastd(stage: Stage) -> Iterator[Ways]:
    port = stage.pick(10000, 443, 1194)
    method = stage.pick("salsa2012+umac", "null+salsa2012+umac", "aes128-ctr+umac")
    ends = (stage.server, stage.client)
    secrets, publics = [], []
    for host in ends:
        words = host.run("fastd", "--generate-key").split()
        secrets.append(words[words.index("Secret:") + 1])
        publics.append(words[words.index("Public:") + 1])
    stage.claim(UDP, port, "fastd", "fastd")
    yield None
    for number, host in enumerate(ends):
        remote = f"remote {stage.place}:{port};" if number else "float yes;"
        own = f"[{stage.of(host)}]" if stage.conditions.ipv6 else stage.of(host)
        conf = host.write(
            "fastd.conf",
            f'interface "fd0"; mode tun; mtu 1300; method "{method}"; '
            f'secret "{secrets[number]}"; bind {own}:{0 if number else port};\n'
            f'peer "other" {{ key "{publics[1 - number]}"; {remote} }}\n'
            f'on up "ip addr add 10.79.0.{number + 1}/24 dev fd0; ip link set fd0 up";\n',
        )
        host.start("fastd", "--config", conf)
        if number == 0:
            host.wait_listen("udp", port)
    reach(stage.client, "10.79.0.1")
    yield Way(stage.client, stage.server, "10.79.0.1", bind="10.79.0.2")

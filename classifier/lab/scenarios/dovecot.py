"""Mail fetched by IMAP: in the clear, and inside TLS."""

from collections.abc import Iterator

from classifier.lab.stage import TCP, Stage, Ways, scenario

NAME = "mail.example.net"
MESSAGE = "From: a@example.net\r\nSubject: message {}\r\n\r\n"


def _imap(stage: Stage, tls: bool) -> Iterator[Ways]:
    address, folder = stage.server.address, stage.server.folder
    port = 993 if tls else 143
    certificate, key = stage.authority.issue(NAME, "serverAuth")
    count = stage.number(3, 2, 25)
    box = folder / "mail" / "new"
    for part in ("new", "cur", "tmp"):
        (folder / "mail" / part).mkdir(parents=True)
    for number in range(count):
        text = MESSAGE.format(number) + "a line of text\r\n" * stage.number(40, 5, 1500)
        (box / f"{number}.lab").write_text(text)
    stage.server.run("chown", "-R", "mail:mail", f"{folder}/mail")
    users = stage.server.write("users", f"lab:{{PLAIN}}secret:8:8::{folder}/mail\n", 0o644)
    listener = f"inet_listener imap{'s' if tls else ''} {{\n address = {address}\n port = {port}\n"
    other = f"inet_listener imap{'' if tls else 's'} {{\n port = 0\n }}\n"
    conf = (
        f"protocols = imap\nbase_dir = /run/dovecot\nlog_path = /dev/stderr\n"
        f"state_dir = {folder}\nmail_location = maildir:{folder}/mail\n"
        f"disable_plaintext_auth = no\nfirst_valid_uid = 8\nfirst_valid_gid = 8\n"
        f"ssl = {'required' if tls else 'no'}\nssl_cert = <{certificate}\nssl_key = <{key}\n"
        f"passdb {{\n driver = passwd-file\n args = {users}\n}}\n"
        f"userdb {{\n driver = passwd-file\n args = {users}\n}}\n"
        f"service imap-login {{\n {listener} {'ssl = yes' if tls else ''}\n }}\n {other}}}\n"
    )
    stage.server.start("dovecot", "-F", "-c", stage.server.write("dovecot.conf", conf, 0o644))
    stage.claim(TCP, port, "tls" if tls else "imap")
    stage.server.wait_listen("tcp", port)
    yield None
    url = f"imap{'s' if tls else ''}://{NAME}:{port}"
    known = ["--resolve", f"{NAME}:{port}:{address}", "--cacert", stage.authority.certificate]
    for _ in range(stage.number(2, 2, 12)):
        path = f"INBOX;MAILINDEX={stage.rng.randint(1, count)}"
        argv = ["curl", "-sS", "-m", "15", "-o", "/dev/null", "-u", "lab:secret", *known]
        stage.client.run(*argv, f"{url}/{stage.rng.choice(('', path, path, path))}")


@scenario("dovecot-imap", "Mail by IMAP", "dovecot:dovecot-imapd", "curl", ways=False)
def _plain(stage: Stage) -> Iterator[Ways]:
    yield from _imap(stage, False)


@scenario("dovecot-imaps", "Mail by IMAP inside TLS", "dovecot:dovecot-imapd", "curl", ways=False)
def _tls(stage: Stage) -> Iterator[Ways]:
    yield from _imap(stage, True)

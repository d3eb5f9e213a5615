"""SSH as a tunnel: what is asked for first, by the sizes that the ciphers leave."""

import pytest
from build import TCP, F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors._ssh import key_exchange, sizes
from classifier.detectors.ssh_tunnel import DETECTOR
from classifier.tables import Strength

# Of OpenSSH 9.2's first key exchange, Debian 12, made by our lab: cookie and two lists cut to a name
KEXINIT = bytes.fromhex(
    "000005fc"  # length
    "07"  # padding
    "14"  # SSH_MSG_KEXINIT
    "c06be0ee0b8aa06f4b47e5ca7b2a6c4e"
)
CIPHERS = (
    b"chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,"
    b"aes128-gcm@openssh.com,aes256-gcm@openssh.com"
)
MACS = (
    b"umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,"
    b"hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-64@openssh.com,"
    b"umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1"
)
COMPRESSION = b"none,zlib@openssh.com,zlib"


def key(ciphers: bytes = CIPHERS, macs: bytes = MACS, compression: bytes = COMPRESSION) -> bytes:
    lists = [b"curve25519-sha256", b"ssh-ed25519", *[ciphers] * 2, *[macs] * 2]
    lists += [*[compression] * 2, b"", b""]
    named = b"".join(len(names).to_bytes(4) + names for names in lists)
    return b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" + KEXINIT + named + bytes(5 + 7)


# What our lab's captures show of the default ciphers, from the login's service to its success
LOGIN = [(0, 44), (1, 44), (0, 60), (1, 68), (0, 140), (1, 100), (0, 308), (1, 28)]
GCM = [(0, 52), (1, 52), (0, 68), (1, 68), (0, 148), (1, 100), (0, 308), (1, 36)]
PLAIN_MAC = [(0, 64), (1, 64), (0, 80), (1, 80), (0, 160), (1, 112), (0, 320), (1, 48)]


def flow(said: list[tuple[int, int]], mine: bytes | None = None, **how: bool) -> F:
    mine = key() if mine is None else mine
    said = [(0, 48), (1, 564), (0, 16), *said]  # of these the sizes alone are looked at
    return F(TCP, [P(0, mine), P(1, key()), *(P(side, b"", wire=n) for side, n in said)], **how)


def found(said: list[tuple[int, int]], mine: bytes | None = None, **how: bool):
    return run_detectors(batch(flow(said, mine, **how)), [DETECTOR])


@pytest.mark.parametrize(
    "asked", [60, 68, 92, 128, 152], ids=["-N -D", "-R", "-L", "-w and no more", "-J and no more"]
)
def test_what_is_no_session_is_weak_and_names_the_login_and_the_request(asked):
    (e,) = found([*LOGIN, (0, asked), (1, 428)])
    assert (e.strength, e.family, e.packet) == (Strength.WEAK, "ssh-tunnel", 13)
    assert e.detail.endswith("bytes, where a session is opened by 52, packets 13 and 14")
    assert e.starts


@pytest.mark.parametrize("asked", [52, 112, 104], ids=["session", "and no more", "two sessions"])
def test_a_session_is_nothing(asked):
    assert found([*LOGIN, (0, asked), (1, 428), (0, 92)]) == []


def test_a_session_after_another_request_is_nothing():
    assert found([*LOGIN, (0, 60), (1, 428), (0, 52)]) == []
    assert found([*LOGIN, (0, 68), (1, 428), (0, 112)]) == []


def test_what_is_smaller_than_a_session_s_opening_is_passed_over():
    assert found([*LOGIN, (0, 44), (0, 52)]) == []
    assert len(found([*LOGIN, (0, 44), (0, 92)])) == 1


def test_sizes_follow_from_the_cipher_and_the_mac():
    gcm = key(ciphers=b"aes256-gcm@openssh.com")
    assert len(found([*GCM, (0, 68)], gcm)) == 1
    assert found([*GCM, (0, 52)], gcm) == []
    assert found([*GCM, (0, 120)], gcm) == [], "a session and no more of them"
    plain = key(ciphers=b"aes128-ctr", macs=b"hmac-sha2-256")
    assert len(found([*PLAIN_MAC, (0, 112)], plain)) == 1
    assert found([*PLAIN_MAC, (0, 80)], plain) == [], "a session, or no more of them"
    assert found([*PLAIN_MAC, (0, 160)], plain) == [], "both"


def test_compression_and_unknown_ciphers_say_nothing():
    assert found([*LOGIN, (0, 60)], key(compression=b"zlib@openssh.com,none")) == []
    assert found([*LOGIN, (0, 60)], key(ciphers=b"arcfour,rijndael")) == []


def test_other_sizes_before_the_login_say_nothing():
    for place in (0, 1, 7):
        said = list(LOGIN)
        said[place] = (said[place][0], said[place][1] + 8)
        assert found([*said, (0, 60)]) == []
    assert found(LOGIN) == []
    assert found([(0, 60)]) == []


def test_a_flow_without_its_syn_or_of_one_side_is_nothing():
    assert found([*LOGIN, (0, 60)], start_seen=False) == []
    said = [(side, size) for side, size in [*LOGIN, (0, 60)] if side == 0]
    assert found(said) == []


def test_messages_sent_again_are_counted_once():
    packets = list(flow([*LOGIN, (0, 60)]).packets)
    packets[3:3] = [P(1, key(), seq=2000), P(0, key(), seq=1000)]
    assert len(run_detectors(batch(F(TCP, packets)), [DETECTOR])) == 1


def test_every_truncation_of_the_key_exchange_is_nothing():
    mine = key()
    needed = len(mine) - 12 - 8 - 4 - len(COMPRESSION)  # not what follows the client's compression
    for kept in range(needed):
        packets = [P(0, mine[:kept], wire=len(mine)), *flow([*LOGIN, (0, 60)]).packets[1:]]
        assert run_detectors(batch(F(TCP, packets)), [DETECTOR]) == [], f"{kept} bytes kept"
        assert key_exchange(mine[:kept]) == ()
    packets = [P(0, mine[:needed], wire=len(mine)), *flow([*LOGIN, (0, 60)]).packets[1:]]
    assert len(run_detectors(batch(F(TCP, packets)), [DETECTOR])) == 1


def test_a_length_beyond_the_end_is_no_key_exchange():
    mine = bytearray(key())
    at = mine.index(KEXINIT) + len(KEXINIT)
    mine[at : at + 4] = b"\xff" * 4
    assert key_exchange(bytes(mine)) == ()
    assert len(key_exchange(key())) == 10


@pytest.mark.parametrize(
    ("cipher", "mac", "payloads"),
    [  # bytes of one, 17 and 24 of payload, as OpenSSH and paramiko sent them in our lab
        ("chacha20-poly1305@openssh.com", "umac-64-etm@openssh.com", (28, 44, 52)),
        ("aes256-gcm@openssh.com", "hmac-sha2-256", (36, 52, 52)),
        ("aes128-ctr", "umac-64-etm@openssh.com", (28, 44, 44)),
        ("aes128-ctr", "hmac-sha2-256", (48, 64, 80)),
        ("aes256-ctr", "hmac-sha2-512-etm@openssh.com", (84, 100, 100)),
        ("3des-cbc", "hmac-sha1", (36, 52, 60)),
    ],
)
def test_a_packet_is_as_long_as_its_cipher_makes_it(cipher, mac, payloads):
    lists = key_exchange(key(cipher.encode(), mac.encode(), b"none"))
    made = sizes(lists, lists, 0)
    assert made is not None
    assert tuple(made.packet(payload) for payload in (1, 17, 24)) == payloads
    assert all(made.is_one(size) for size in payloads)
    assert not made.is_one(payloads[0] - made.block)
    assert not made.is_one(payloads[1] + 1)

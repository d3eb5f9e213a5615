"""VTun: greetings in blocks of fifty bytes."""

import pytest
from build import TCP, F, P, batch
from overlay_messages import vtun

from classifier.detectors import run_detectors
from classifier.detectors.vtun import DETECTOR
from classifier.tables import Strength

SERVER, CLIENT = vtun(b"VTUN server ver 3.X 01/01/2013"), vtun(b"HOST: office")


def found(*packets: P, **flow):
    return run_detectors(batch(F(TCP, list(packets), **flow)), [DETECTOR])


@pytest.mark.parametrize("client", [CLIENT, vtun(b"HOS2: office")])
def test_both_greetings_are_proof(client):
    (e,) = found(P(1, SERVER), P(0, client), resp_port=9999)
    assert (e.strength, e.packet, e.starts, e.family) == (Strength.PROOF, 1, True, "vtun")


def test_a_server_that_opened_the_flow_where_the_syn_was_not_seen_is_proof_too():
    assert found(P(0, SERVER), P(1, CLIENT))[0].strength is Strength.PROOF


def test_the_servers_greeting_alone_is_strong():
    assert found(P(1, SERVER))[0].strength is Strength.STRONG


def test_a_banner_without_its_block_is_nothing():
    assert found(P(1, SERVER.rstrip(b"\0")), P(0, CLIENT)) == []
    assert found(P(1, SERVER[:-1] + b"x"), P(0, CLIENT)) == []


def test_the_clients_greeting_alone_is_nothing():
    assert found(P(0, CLIENT), P(1, b"HTTP/1.1 400 Bad Request\r\n\r\n")) == []


def test_every_truncation_is_nothing():
    for n in range(1, 50):
        assert found(P(1, SERVER[:n])) == []

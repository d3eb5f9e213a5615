"""Running detectors, and choosing them by name."""

import numpy as np
import pytest
from build import TCP, UDP, F, P, batch
from vpn_messages import wg_initiation, wg_response

from classifier.detectors import DETECTORS, run_detectors, select
from classifier.detectors.interface import Detector
from classifier.errors import ClassifierError
from classifier.tables import FAMILIES, FLOW, SERIES, FlowBatch

SECTIONS = ("Sources", "Strength", "Mistaken for", "Blind to")


def never(_: FlowBatch) -> list:
    raise AssertionError("called without a flow of its transport")


def test_a_detector_without_a_flow_of_its_transport_is_not_called():
    mine = Detector("mine", "", (47,), 1, never)
    assert run_detectors(batch(F(UDP, [P(0, b"x")])), [mine]) == []


def test_evidence_of_all_detectors_comes_together():
    flow = F(UDP, [P(0, wg_initiation(7)), P(1, wg_response(9, 7))])
    (e,) = run_detectors(batch(F(TCP, []), flow))
    assert (e.flow, e.detector, e.family) == (1, "wireguard", "wireguard")


def test_an_empty_batch_has_no_evidence():
    nothing = FlowBatch(np.zeros(0, FLOW), np.zeros(0, SERIES), np.zeros(0, np.uint8))
    assert run_detectors(nothing) == []
    assert [d.detect(nothing) for d in DETECTORS] == [[]] * len(DETECTORS)


def test_flows_without_packets_have_no_evidence():
    assert run_detectors(batch(*[F(proto, []) for proto in range(256)])) == []


def test_none_selects_all_and_names_ignore_case_and_dashes():
    assert select(None) == DETECTORS
    assert [d.name for d in select(["WireGuard", "ipsec_esp", "wireguard"])] == [
        "wireguard",
        "ipsec-esp",
    ]
    assert [d.name for d in select("openvpn")] == ["openvpn"]


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ClassifierError, match=r"no detector is called 'wiregaurd'.*'wireguard'"):
        select(["wiregaurd"])
    with pytest.raises(ClassifierError, match="choose from wireguard, openvpn"):
        select(["zzz"])


def test_own_detectors_are_taken_unless_two_share_a_name():
    mine = Detector("mine", "", (UDP,), 1, never)
    assert select([mine, "gre"])[0] is mine
    with pytest.raises(ClassifierError, match="two detectors are called 'Mine'"):
        select([mine, Detector("Mine", "", (TCP,), 1, never)])


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.name)
def test_every_detector_says_what_it_relies_on(detector):
    assert all(detector.section(title) for title in SECTIONS)
    assert detector.family == "" or detector.family in FAMILIES

"""What every detector of a first request and its answer must hold to; a test file names the bytes."""

from typing import ClassVar

from build import TCP, UDP, F, P, batch

from classifier.detectors import run_detectors
from classifier.detectors.interface import Detector
from classifier.tables import Evidence, Strength

REFUSAL = b"HTTP/1.1 404 Not Found\r\n\r\n"


class ExchangeTests:
    """Inherit from it and name the detector, the request, its answer and another request."""

    detector: ClassVar[Detector]
    request: ClassVar[bytes]
    answer: ClassVar[bytes]
    near_miss: ClassVar[bytes]

    def found(self, *packets: P, proto: int = TCP) -> list[Evidence]:
        return run_detectors(batch(F(proto, list(packets))), [self.detector])

    def test_request_and_answer_are_proof_and_name_both_packets(self):
        (e,) = self.found(P(0, self.request), P(1, self.answer), P(0, b"more"))
        family = self.detector.family
        assert (e.strength, e.family, e.packet, e.starts) == (Strength.PROOF, family, 1, True)
        assert e.detail.endswith("packets 1 and 2")

    def test_a_request_whose_answer_was_not_captured_is_strong(self):
        assert self.found(P(0, self.request))[0].strength is Strength.STRONG

    def test_a_scan_that_a_web_server_refuses_is_weak(self):
        assert self.found(P(0, self.request), P(1, REFUSAL))[0].strength is Strength.WEAK

    def test_another_request_is_nothing(self):
        assert self.found(P(0, self.near_miss), P(1, self.answer)) == []

    def test_the_request_over_udp_is_nothing(self):
        assert self.found(P(0, self.request), P(1, self.answer), proto=UDP) == []

    def test_a_request_cut_inside_its_first_line_is_nothing(self):
        for kept in range(self.request.index(b"\r\n") - 8):
            cut = P(0, self.request[:kept], wire=len(self.request))
            assert self.found(cut, P(1, self.answer)) == [], f"{kept} bytes kept"

    def test_a_cut_answer_is_weak_until_what_is_kept_proves_it(self):
        seen = []
        for kept in range(len(self.answer) + 1):
            cut = P(1, self.answer[:kept], wire=len(self.answer))
            (e,) = self.found(P(0, self.request), cut)
            seen.append(e.strength)
        assert seen[:2] == [Strength.STRONG, Strength.WEAK], "nothing kept, one byte kept"
        assert seen[1:] == sorted(seen[1:])
        assert seen[-1] is Strength.PROOF

"""SSTP behind a server that ends TLS."""

from exchanges import ExchangeTests

from classifier.detectors.sstp import DETECTOR


class TestSstp(ExchangeTests):
    detector = DETECTOR
    request = b"SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\nHost: vpn\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\n\r\n"
    near_miss = b"SSTP_DUPLEX_POST /sra_{00000000-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\n\r\n"

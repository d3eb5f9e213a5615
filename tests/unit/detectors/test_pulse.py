"""Pulse Connect Secure behind a server that ends TLS."""

from exchanges import ExchangeTests

from classifier.detectors.pulse import DETECTOR


class TestPulse(ExchangeTests):
    detector = DETECTOR
    request = b"GET / HTTP/1.1\r\nHost: vpn\r\nUpgrade: IF-T/TLS 1.0\r\n\r\n"
    answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    near_miss = b"GET / HTTP/1.1\r\nHost: vpn\r\nUpgrade: websocket\r\n\r\n"

"""FortiGate's tunnel behind a server that ends TLS."""

from exchanges import ExchangeTests

from classifier.detectors.fortinet import DETECTOR


class TestFortinet(ExchangeTests):
    detector = DETECTOR
    request = b"GET /remote/sslvpn-tunnel HTTP/1.1\r\nHost: vpn\r\n\r\n"
    answer = bytes.fromhex("00145050000ec0210101000a") + bytes(8)
    near_miss = b"GET /remote/sslvpn-tunnelling HTTP/1.1\r\n\r\n"

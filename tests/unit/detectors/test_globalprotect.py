"""GlobalProtect behind a server that ends TLS."""

from exchanges import ExchangeTests

from classifier.detectors.globalprotect import DETECTOR


class TestGlobalProtect(ExchangeTests):
    detector = DETECTOR
    request = b"GET /ssl-tunnel-connect.sslvpn?user=a&authcookie=b HTTP/1.1\r\n\r\n"
    answer = b"START_TUNNEL"
    near_miss = b"GET /ssl-tunnel-connect.sslvpn.html HTTP/1.1\r\n\r\n"

"""SoftEther behind a server that ends TLS."""

from exchanges import ExchangeTests

from classifier.detectors.softether import DETECTOR


class TestSoftEther(ExchangeTests):
    detector = DETECTOR
    request = b"POST /vpnsvc/connect.cgi HTTP/1.1\r\nContent-Length: 10\r\n\r\nVPNCONNECT"
    answer = b"HTTP/1.1 200 OK\r\n\r\n\0\0\0\2\0\0\0\6hello\0\0\0\2\0\0\0\7random\0\0\0\1"
    near_miss = b"POST /vpnsvc/other.cgi HTTP/1.1\r\n\r\n"

"""Names of ordinary applications: what a flow is, apart from any VPN.

``catalogue`` lists the names. ``signatures_internet``, ``signatures_infrastructure`` and
``signatures_devices`` hold a row for each message by which one is known: a new application is a line
in the first, one in one of the others, and an example among the tests. What takes more than bytes at
fixed places is in ``_parsers``, what takes several packets in ``_kernels.name_runs``.

Client hellos are found by ``places``, put together by ``hellos`` where they lie in pieces, decrypted
by ``quic``, and read by ``tls``. What a flow says beyond its name is made on request:
``fingerprints`` (JA3, JA4, HASSH, banners, requests) and ``server_certificate_names``.
"""

from classifier.detectors.applications._fingerprints import fingerprints
from classifier.detectors.applications.catalogue import APPLICATIONS, SERVICES
from classifier.detectors.applications.certificates import server_certificate_names
from classifier.detectors.applications.naming import name_applications

__all__ = [
    "APPLICATIONS",
    "SERVICES",
    "fingerprints",
    "name_applications",
    "server_certificate_names",
]

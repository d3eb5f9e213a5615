"""Names of ordinary applications: what a flow is, apart from any VPN.

``catalogue`` lists the names. ``signatures_internet`` and ``signatures_infrastructure`` hold a row
for each message by which one is known: a new application is a line in the first, one in one of the
others, and an example among the tests. What takes more than bytes at fixed places is in
``_parsers``, what takes several packets in ``_kernels.name_runs``; client hellos are in ``tls``.

Names of servers inside QUIC are encrypted with keys that anyone can derive (RFC 9001 5.2); they are
not read here. Decrypted hellos would go through ``tls.describe_hellos`` with ``transport=2``.
"""

from classifier.detectors.applications.catalogue import APPLICATIONS, SERVICES
from classifier.detectors.applications.naming import name_applications

__all__ = ["APPLICATIONS", "SERVICES", "name_applications"]

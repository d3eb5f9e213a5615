"""Names of ordinary applications: what a flow is, apart from any VPN.

``catalogue`` lists the names, ``signatures_internet`` and ``signatures_infrastructure`` one row per
message by which one is known; a new application is a line in the first and one in one of the others.
"""

from classifier.detectors.applications.catalogue import APPLICATIONS, SERVICES
from classifier.detectors.applications.naming import name_applications

__all__ = ["APPLICATIONS", "SERVICES", "name_applications"]

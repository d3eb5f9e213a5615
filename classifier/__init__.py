"""Find VPN flows in recorded traffic and report what a policy would have done about them."""

__version__ = "0.1.0"

"""What a run's network is like, drawn from its seed.

Delays, jitter, loss and reordering are those of the whole path in each direction; the tap lies
somewhere on it, with the share ``near`` of them on the clients' side.
"""

import random
from dataclasses import asdict, dataclass

__all__ = ["Allowed", "Conditions", "Leg", "draw", "legs", "netem"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a scenario's software can cope with; conditions outside are never drawn."""

    ipv6: bool = False
    nat: bool = True
    vlan: bool = True
    late: bool = False
    loss: bool = True
    small_mtu: bool = True
    clients: int = 1


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions of one run; the default is a clean, fast link."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    rate_kbit: int = 0
    """0: not limited."""
    near: float = 0.5
    """Share of the impairments between the clients and the tap."""
    mtu: int = 1500
    vlan: int = 0
    """0: no tag."""
    nat: bool = False
    ipv6: bool = False
    """The outer packets travel over IPv6."""
    late: bool = False
    """The capture is started in mid-session."""
    snaplen: int = 0
    """Bytes kept of each packet; 0: all."""
    clients: int = 1

    @property
    def impaired(self) -> bool:
        """Whether packets must be delayed, lost, reordered or held back on the path."""
        return bool(self.delay_ms or self.jitter_ms or self.loss or self.reorder or self.rate_kbit)

    def facts(self) -> dict[str, object]:
        """Return all fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Leg:
    """What happens to frames in one direction on one side of the tap."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    rate_bytes: float = 0.0
    """Bytes per second; 0: not limited."""


def draw(rng: random.Random, allowed: Allowed) -> Conditions:
    """Draw the conditions of one run.

    Parameters
    ----------
    rng : random.Random
        Where the choices come from; always the same number of draws is taken from it.
    allowed : Allowed
        What the scenario's software can cope with.

    Returns
    -------
    Conditions
        About one run in four has a clean link; every fifth that may is joined in mid-session.
    """
    chance = {name: rng.random() for name in ("path", "loss", "order", "rate", "mtu", "vlan")}
    chance |= {name: rng.random() for name in ("nat", "ipv6", "late", "snaplen")}
    delay = round(rng.choice((1.0, 4.0, 10.0, 20.0, 40.0, 80.0)) * rng.uniform(0.5, 1.5), 2)
    jitter = round(delay * rng.choice((0.0, 0.02, 0.1, 0.25)), 2)
    loss = round(rng.uniform(0.001, 0.015), 4)
    reorder = round(rng.uniform(0.001, 0.01), 4)
    rate = rng.choice((4_000, 10_000, 20_000, 50_000))
    mtu = rng.choice((1400, 1420, 1454, 1480, 1492))
    vlan = rng.randint(2, 4000)
    snaplen = rng.choice((96, 128, 160, 256))
    near = round(rng.uniform(0.1, 0.9), 2)
    clients = rng.randint(1, max(1, allowed.clients))
    path = chance["path"] < 0.75
    ipv6 = allowed.ipv6 and chance["ipv6"] < 0.3
    return Conditions(
        delay_ms=delay if path else 0.0,
        jitter_ms=jitter if path else 0.0,
        loss=loss if path and allowed.loss and chance["loss"] < 0.35 else 0.0,
        reorder=reorder if path and allowed.loss and chance["order"] < 0.2 else 0.0,
        rate_kbit=rate if path and chance["rate"] < 0.4 else 0,
        near=near,
        mtu=mtu if allowed.small_mtu and chance["mtu"] < 0.2 else 1500,
        vlan=vlan if allowed.vlan and chance["vlan"] < 0.12 else 0,
        nat=allowed.nat and not ipv6 and chance["nat"] < 0.35,
        ipv6=ipv6,
        late=allowed.late and chance["late"] < 0.2,
        snaplen=snaplen if chance["snaplen"] < 0.1 else 0,
        clients=clients,
    )


def legs(conditions: Conditions) -> tuple[Leg, Leg]:
    """Split the conditions into what happens on the clients' side of the tap, and beyond it.

    The rate limits the side that has the larger share, as a bottleneck is in one place.
    """
    near, far = conditions.near, 1 - conditions.near
    rate = conditions.rate_kbit * 125.0
    return tuple(  # type: ignore[return-value]
        Leg(
            delay_s=conditions.delay_ms * share / 1000,
            jitter_s=conditions.jitter_ms * share / 1000,
            loss=1 - (1 - conditions.loss) ** share,
            reorder=1 - (1 - conditions.reorder) ** share,
            rate_bytes=rate if narrow else 0.0,
        )
        for share, narrow in ((near, near >= far), (far, near < far))
    )


def netem(conditions: Conditions) -> list[str]:
    """Return the arguments of ``tc qdisc add dev DEV root ...`` for a kernel that has netem."""
    argv = ["netem", "limit", "1000"]
    if conditions.delay_ms:
        argv += ["delay", f"{conditions.delay_ms}ms"]
        argv += [f"{conditions.jitter_ms}ms"] if conditions.jitter_ms else []
    if conditions.loss:
        argv += ["loss", f"{conditions.loss * 100:.3f}%"]
    if conditions.reorder and conditions.delay_ms:  # netem reorders by sending without the delay
        argv += ["reorder", f"{conditions.reorder * 100:.3f}%"]
    if conditions.rate_kbit:
        argv += ["rate", f"{conditions.rate_kbit}kbit"]
    return argv

"""What a simulation found: delay, loss and goodput by sort of traffic, completion times, load."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier.report.text import columns_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from classifier.simulate.box import Box
    from classifier.simulate.model import Packets

__all__ = ["LOST", "Simulation"]

#: What became of a packet, by the number in ``Simulation.lost``.
LOST = ("delivered", "buffer", "link", "throttled", "blocked")

_QUANTILES = (0.5, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Simulation:
    """The cost of a box, as `simulate` found it.

    Attributes
    ----------
    traffic : pandas.DataFrame
        A row each for ``all``, ``ordinary`` and ``vpn`` packets: counts, shares lost to the box's
        ``buffer``, the ``link``, the throttle, and blocked; added delay (median, 99th and 99.9th
        percentile, microseconds); payload offered and delivered (bit/s).
    web : pandas.DataFrame
        Completion times of ordinary web flows (milliseconds), a row without and a row with the box.
    curve : pandas.DataFrame
        Delay and loss in the cores' queues by load (share of what the cores can do).
    utilisation : float
        Work that arrives, as a share of what the cores can do.
    collapse_load, collapse_speed_up : float
        Least load found at which more than 1 % of packets are lost or the 99th percentile of
        the delay is over 100 ms, and the speed-up of the capture that brings it; NaN where none.
    added_delay_ns : ndarray of float64, shape (n_packets,)
        With the box less without it; NaN where a packet was lost.
    lost : ndarray of uint8, shape (n_packets,)
        Index into ``LOST``.
    settings : dict
        The box and the speed-up.
    """

    traffic: "pd.DataFrame"
    web: "pd.DataFrame"
    curve: "pd.DataFrame"
    utilisation: float
    collapse_load: float
    collapse_speed_up: float
    added_delay_ns: NDArray[np.float64] = field(repr=False)
    lost: NDArray[np.uint8] = field(repr=False)
    settings: dict[str, Any] = field(repr=False)

    @classmethod
    def of(
        cls,
        packets: "Packets",
        flows: "pa.Table",
        box: "Box",
        *,
        arrive: NDArray[np.float64],
        delay_ns: NDArray[np.float64],
        delay_without_ns: NDArray[np.float64],
        lost: NDArray[np.uint8],
        utilisation: float,
        curve: NDArray[np.void],
        speed_up: float,
    ) -> "Simulation":
        """Sum up what became of each packet."""
        import pandas as pd

        added = delay_ns - delay_without_ns
        is_vpn = flows.column("is_vpn").to_numpy(zero_copy_only=False)
        vpn = is_vpn[packets.flow]
        seconds = max(float(arrive[-1]), 1.0) / 1e9
        traffic = pd.DataFrame(
            [
                _traffic_row(name, rows, packets.payload_bytes, added, lost, seconds)
                for name, rows in (
                    ("all", np.ones(vpn.size, bool)),
                    ("ordinary", ~vpn),
                    ("vpn", vpn),
                )
            ]
        ).set_index("traffic")
        web_flows = (flows.column("service").to_numpy(zero_copy_only=False) == "web") & ~is_vpn
        web = pd.DataFrame(
            [
                _completion_row(name, packets, arrive, delay, web_flows)
                for name, delay in (("without", delay_without_ns), ("with", delay_ns))
            ]
        ).set_index("box")
        broken = curve[curve["collapsed"]]
        return cls(
            traffic=traffic,
            web=web,
            curve=pd.DataFrame(curve),
            utilisation=utilisation,
            collapse_load=float(broken["load"].min(initial=np.inf)) if broken.size else np.nan,
            collapse_speed_up=float(broken["speed_up"].min()) if broken.size else np.nan,
            added_delay_ns=added,
            lost=lost,
            settings=_settings(box, speed_up),
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything but the columns over packets as plain values; NaN as None."""
        return {
            "settings": self.settings,
            "utilisation": _plain(self.utilisation),
            "collapse_load": _plain(self.collapse_load),
            "collapse_speed_up": _plain(self.collapse_speed_up),
            "traffic": _records(self.traffic),
            "web_completion": _records(self.web),
            "load_curve": _records(self.curve),
        }

    def text(self) -> str:
        """Return it for a terminal."""
        box = self.settings
        busy = f"busy {self.utilisation:.2%} of the time at {box['speed_up']:g} times the capture's rate"
        behind = f"buffer {box['buffer']}; link {box['link']}; throttle {box['throttle']}"
        blocks = [
            f"{box['cores']} core{'s' * (box['cores'] > 1)}, {box['service']}, {busy}\n{behind}",
            _table(
                ("traffic", "packets", *LOST, "offered", "goodput"),
                [
                    (
                        str(name),
                        f"{int(row['packets']):,}",
                        *(_share(row[key]) for key in LOST),
                        _rate(row["offered_bps"]),
                        _rate(row["goodput_bps"]),
                    )
                    for name, row in self.traffic.iterrows()
                ],
            ),
            _table(
                ("added delay", "median", "99 %", "99.9 %"),
                [
                    (
                        str(name),
                        *(_microseconds(row[f"delay_{q}_us"]) for q in ("p50", "p99", "p999")),
                    )
                    for name, row in self.traffic.iterrows()
                ],
            ),
            _table(
                ("ordinary web flows", "complete", "broken", "median", "95 %", "99 %"),
                [
                    (
                        f"{name} the box",
                        f"{int(row['complete']):,}",
                        f"{int(row['broken']):,}",
                        *(_microseconds(row[f"{q}_ms"] * 1e3) for q in ("p50", "p95", "p99")),
                    )
                    for name, row in self.web.iterrows()
                ],
            ),
        ]
        if np.isfinite(self.collapse_load):
            blocks.append(
                f"It collapses (over 1 % lost, or one packet in a hundred over 100 ms late) at a load of "
                f"{self.collapse_load:.3g}, {self.collapse_speed_up:,.4g} times the capture's rate.\n"
            )
        else:
            blocks.append(
                "It does not collapse up to a load of 1.2: the capture is too short for it.\n"
            )
        return "\n".join(block if block.endswith("\n") else block + "\n" for block in blocks)

    def _repr_html_(self) -> str:
        return "".join(
            f"<h4>{title}</h4>{table.to_html(float_format='{:.4g}'.format)}"
            for title, table in (
                ("Traffic", self.traffic),
                ("Completion of ordinary web flows, ms", self.web),
            )
        )


def _traffic_row(
    name: str,
    rows: NDArray[np.bool_],
    payload: NDArray[np.int64],
    added: NDArray[np.float64],
    lost: NDArray[np.uint8],
    seconds: float,
) -> dict[str, Any]:
    n = int(rows.sum())
    counts = np.bincount(lost[rows], minlength=len(LOST))
    delays = added[rows & (lost == 0)]
    delays = delays[np.isfinite(delays)]
    quantiles = np.quantile(delays, _QUANTILES) / 1e3 if delays.size else np.full(3, np.nan)
    delivered = int(payload[rows & (lost == 0)].sum())
    return {
        "traffic": name,
        "packets": n,
        **{key: counts[i] / n if n else np.nan for i, key in enumerate(LOST)},
        "delay_p50_us": quantiles[0],
        "delay_p99_us": quantiles[1],
        "delay_p999_us": quantiles[2],
        "offered_bps": int(payload[rows].sum()) * 8 / seconds,
        "goodput_bps": delivered * 8 / seconds,
    }


def _completion_row(
    name: str,
    packets: "Packets",
    arrive: NDArray[np.float64],
    delay: NDArray[np.float64],
    wanted: NDArray[np.bool_],
) -> dict[str, Any]:
    """Sum up completion times: from a flow's first arrival to its last departure.

    A packet that the other side answered holds up all that follows: its delay is added, as is that
    of the last packet. Flows that lost a packet are counted as broken; how their senders would
    have mended that is not modelled.
    """
    rows = np.flatnonzero(wanted[packets.flow])
    rows = rows[np.argsort(packets.flow[rows], kind="stable")]
    flow = packets.flow[rows]
    if not rows.size:
        return {
            "box": name,
            "complete": 0,
            "broken": 0,
            "p50_ms": np.nan,
            "p95_ms": np.nan,
            "p99_ms": np.nan,
        }
    starts = np.flatnonzero(np.diff(flow, prepend=-1))
    last = np.append(starts[1:], rows.size) - 1
    answered = np.zeros(rows.size, bool)
    sender = packets.sender[rows]
    answered[:-1] = (sender[:-1] != sender[1:]) & (flow[:-1] == flow[1:])
    answered[last] = True
    held_up = np.add.reduceat(np.where(answered, delay[rows], 0.0), starts)
    whole = ~np.logical_or.reduceat(np.isnan(delay[rows]), starts)
    took = (arrive[rows[last]] - arrive[rows[starts]] + held_up)[whole] / 1e6
    p50, p95, p99 = np.quantile(took, [0.5, 0.95, 0.99]) if took.size else (np.nan,) * 3
    return {
        "box": name,
        "complete": int(whole.sum()),
        "broken": int((~whole).sum()),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
    }


def _settings(box: "Box", speed_up: float) -> dict[str, Any]:
    return {
        "cores": box.cores,
        "dispatch": box.dispatch,
        "service": str(box.service),
        "link": "unlimited" if box.link_bps is None else _rate(box.link_bps),
        "buffer": "unlimited" if box.buffer is None else f"{box.buffer:,} packets",
        "throttle": "none"
        if box.throttle is None
        else "{rate} per {per}, burst {burst_bytes:,} bytes".format(
            rate=_rate(box.throttle.rate_bps), **asdict(box.throttle)
        ),
        "speed_up": speed_up,
    }


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return columns_text(header, rows, width=200, right=header[1:])


def _share(value: float) -> str:
    return f"{value:.2%}" if np.isfinite(value) else "-"


def _rate(bps: float) -> str:
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bps >= factor:
            return f"{bps / factor:,.4g} {unit}"
    return f"{bps:,.4g} bit/s"


def _microseconds(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    for unit, factor in (("s", 1e6), ("ms", 1e3)):
        if abs(value) >= factor:
            return f"{value / factor:,.3f} {unit}"
    return f"{value:,.2f} us"


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    named = table.reset_index() if table.index.name is not None else table
    rows = named.to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]

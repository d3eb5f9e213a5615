"""What of a run needs its packets: the captures are read again."""

import ipaddress
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifier.errors import CaptureError, ClassifierError, ResourceError, must_be
from classifier.pipeline import Options, Reading
from classifier.report.endpoints import endpoints
from classifier.run._flows import FlowRows
from classifier.tables import PACKET_LIMIT

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from classifier.report.text import Explanation

__all__ = ["FlowPackets"]

MOST_DISSECTED = 1000
PACKETS_OF_SEQUENCES = 30


class FlowPackets(FlowRows):
    """Flows whose packets can be looked at, where the captures can be read again."""

    @cached_property
    def features(self) -> "pd.DataFrame":
        """Features of the flows by ``flow_id``: ``classifier.model.FEATURES``; NaN where undefined.

        The captures are read again.

        Raises
        ------
        CaptureError
            If the captures cannot be read a second time.
        """
        import pandas as pd

        from classifier.featuring import feature_matrix
        from classifier.model import FEATURE_NAMES

        self._must_have_packets()
        matrix = feature_matrix(self._reading(), self.table)
        index = pd.Index(self.table.column("flow_id").to_numpy(), name="flow_id")
        return pd.DataFrame(matrix, index=index, columns=list(FEATURE_NAMES), copy=False)

    def xy(self) -> "tuple[pd.DataFrame, NDArray[np.int8], NDArray[np.object_]]":
        """Return what scikit-learn takes, of the flows that have a label.

        Returns
        -------
        X : pandas.DataFrame
            Rows of ``features``. One that no flow of these captures has is a column of NaN, which
            scikit-learn's histogram boosting refuses: ``X.dropna(axis="columns", how="all")``.
        y : ndarray of int8, shape (n,)
            1 where the label says VPN.
        groups : ndarray of object (str), shape (n,)
            Name of the capture: a split that puts one capture on both sides flatters the model.

        Raises
        ------
        ClassifierError
            If the run has no labels.
        CaptureError
            If the captures cannot be read a second time.
        """
        import numpy as np

        if "label_is_vpn" not in self.table.schema.names:
            raise ClassifierError(
                "this run has no labels", remedy="give labels= to classify to learn from it"
            )
        labels = self.table.column("label_is_vpn")
        known = labels.is_valid().to_numpy()
        y = labels.fill_null(False).to_numpy().astype(np.int8)
        groups = np.array(self.table.column("capture").to_pylist(), object)
        return self.features[known], y[known], groups[known]

    def sequences(self, n: int = 30) -> "NDArray[np.float32]":
        """Return the first packets with payload of each flow; the captures are read again.

        Parameters
        ----------
        n : int
            Packets for each flow, 1 to 30.

        Returns
        -------
        ndarray of float32, shape (n_flows, n, 3)
            Payload bytes, direction (1 from the originator, -1 from the responder) and seconds since
            the packet before; NaN beyond the flow's last packet.

        Raises
        ------
        CaptureError
            If the captures cannot be read a second time.
        """
        import numpy as np

        from classifier.featuring import sequence_array

        wanted = f"a number of packets from 1 to {PACKETS_OF_SEQUENCES}"
        must_be("n", n, (int, np.integer), wanted, "sequences", none=False)
        if not 1 <= n <= PACKETS_OF_SEQUENCES:
            raise ClassifierError(
                f"n={n} is no number of packets",
                remedy=f"give one from 1 to {PACKETS_OF_SEQUENCES}",
            )
        self._must_have_packets()
        return sequence_array(self._reading(), self.table.num_rows, int(n))

    def explain(self, flow_id: int) -> "Explanation":
        """Return why a flow got its verdict, with the packets behind it.

        Parameters
        ----------
        flow_id : int

        Returns
        -------
        Explanation
            Prints as text; evidence names packets as Wireshark counts them.

        Raises
        ------
        ClassifierError
            If there is no such flow.
        """
        from classifier.report.text import Explanation

        row = self._row(flow_id)
        frames = [item["packet"] for item in row["evidence"]]
        packets: list[dict[str, Any]] = []
        if frames and self._readable():
            packets = self._packet_rows(row, set(frames), with_payload=True)
        policy = self._options.policy if self._options else None
        return Explanation(row, packets, policy, self._registrations_around(row))

    def _registrations_around(self, row: Mapping[str, Any]) -> list[str]:
        """Return what the register says about a flow's endpoints beside what matched."""
        table = self._options.registry if self._options else None
        if table is None or self._options is None:
            return []
        from classifier.registry import client_is_orig, covering
        from classifier.report.register_text import covering_lines

        index = self.table.column("flow_id").index(row["flow_id"]).as_py()
        flows = endpoints(self.table.slice(index, 1).combine_chunks().to_batches()[0])
        client = "orig" if client_is_orig(flows, self._options.local)[0] else "resp"
        server = "resp" if client == "orig" else "orig"
        at = self._options.at_ns if self._options.at_ns is not None else row["first_ns"]
        lines = []
        for side, end in (("server", server), ("client", client)):
            around = covering(
                table,
                row[f"{end}_ip"],
                at=at,
                side=side,
                proto=row["proto"],
                port=row[f"{server}_port"],
                most=4,
            )
            lines += [f"{side} {row[f'{end}_ip']}: {line}" for line in covering_lines(around)]
        return lines

    def packets(self, flow_id: int) -> "pd.DataFrame":
        """Return a flow's packets; the captures are read again.

        Columns: frame, capture, ts_ns, direction (``orig`` or ``resp``), ip_bytes, payload_bytes,
        tcp_flags, seq.

        Raises
        ------
        ClassifierError
            If there is no such flow, or the captures cannot be read a second time.
        """
        import pandas as pd

        row = self._row(flow_id)
        self._must_be_readable()
        columns = ["frame", "capture", "ts_ns", "direction", "ip_bytes", "payload_bytes"]
        columns += ["tcp_flags", "seq"]
        return pd.DataFrame(self._packet_rows(row, None), columns=columns)

    def dissect(self, flow_id: int) -> list[Any]:
        """Return a flow's first 1,000 packets as pyshark packets (needs the tshark program).

        Raises
        ------
        ResourceError
            If tshark is not installed.
        ClassifierError
            If there is no such flow, or its capture is not a file.
        """
        from classifier.report.dissect import dissect_frames

        row = self._row(flow_id)
        self._must_be_readable()
        wanted: dict[str | Path, list[int]] = {}
        for packet in self._packet_rows(row, None)[:MOST_DISSECTED]:
            source = packet["source"]
            if not isinstance(source, str | Path):
                raise ResourceError(
                    "only captures that are files can be dissected",
                    path=packet["capture"],
                    remedy="write it to a file first",
                )
            wanted.setdefault(source, []).append(packet["frame"])
        found: list[Any] = []
        for source, frames in wanted.items():
            found += dissect_frames(Path(source), frames)
        return found

    def _readable(self) -> bool:
        return bool(self._sources) and all(
            isinstance(s, bytes | bytearray | memoryview)
            or (isinstance(s, str | Path) and Path(s).is_file())
            for s in self._sources
        )

    def _must_be_readable(self) -> None:
        if not self._readable():
            raise CaptureError(
                "the captures of this run cannot be read a second time",
                remedy="classify files, not streams, to look at packets",
            )

    def _must_have_packets(self) -> None:
        if not self._sources:
            raise CaptureError(
                "features are made from packets, and this run holds flows alone",
                remedy="classify the captures again",
            )
        self._must_be_readable()

    def _reading(self) -> Reading:
        return Reading(list(self._sources), self._options or Options())

    def _packet_rows(
        self, row: dict[str, Any], frames: set[int] | None, *, with_payload: bool = False
    ) -> list[dict[str, Any]]:
        """Read the captures again and pick a flow's packets, or of its first those frames.

        Of a flow that crosses captures two packets can have one number, and evidence is in the
        first packets alone.
        """
        reading = self._reading()
        left = row["orig_packets"] + row["resp_packets"]
        if frames is not None:
            left = min(left, PACKET_LIMIT)
        found: list[dict[str, Any]] = []
        orig_ip, orig_port = int(ipaddress.ip_address(row["orig_ip"])), row["orig_port"]
        for packets, buffer in reading.packets():
            for p in packets[packets["flow_id"] == row["flow_id"]]:
                left -= 1
                frame = int(p["frame"])
                if left < 0:
                    break
                if frames is not None and frame not in frames:
                    continue
                source_ip = int(p["src_hi"]) << 64 | int(p["src_lo"])
                from_orig = source_ip == orig_ip and int(p["src_port"]) == orig_port
                item: dict[str, Any] = {
                    "frame": frame,
                    "capture": reading.captures[int(p["capture"])],
                    "source": reading.opened[int(p["capture"])],
                    "ts_ns": int(p["ts_ns"]),
                    "direction": "orig" if from_orig else "resp",
                }
                for name in ("ip_bytes", "payload_bytes", "tcp_flags", "seq"):
                    item[name] = int(p[name])
                if with_payload:
                    item["payload"] = buffer[p["payload_start"] : p["payload_stop"]].tobytes()
                found.append(item)
            if left <= 0:
                break
        return found

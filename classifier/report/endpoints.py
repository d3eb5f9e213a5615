"""Endpoints of written flow rows as numbers again."""

import ipaddress
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.errors import ClassifierError
from classifier.tables import FLOW, protocol_number

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["endpoints"]


def endpoints(batch: "pa.RecordBatch") -> Any:
    """Return the FLOW rows that the written columns of a batch stand for.

    Returns
    -------
    ndarray of FLOW, shape (n_flows,)
        Addresses, ports, ``ip_version``, ``proto`` and ``first_ns`` alone are set.

    Raises
    ------
    ClassifierError
        If an address or protocol is none.
    """
    flows = np.zeros(batch.num_rows, FLOW)
    for side in ("orig", "resp"):
        column = batch.column(f"{side}_ip").dictionary_encode()
        try:
            words = [ipaddress.ip_address(text) for text in column.dictionary.to_pylist()]
        except ValueError as error:
            raise ClassifierError(
                str(error), path=f"{side}_ip", remedy="write the flows again"
            ) from error
        numbers = [int(word) for word in words]
        index = column.indices.to_numpy(zero_copy_only=False)
        flows[f"{side}_hi"] = np.array([n >> 64 for n in numbers], np.uint64)[index]
        flows[f"{side}_lo"] = np.array([n & (1 << 64) - 1 for n in numbers], np.uint64)[index]
        flows["ip_version"] = np.array([w.version for w in words], np.uint8)[index]
        flows[f"{side}_port"] = batch.column(f"{side}_port").to_numpy()
    proto = batch.column("proto").dictionary_encode()
    try:
        numbers = [protocol_number(name) for name in proto.dictionary.to_pylist()]
    except ValueError as error:
        raise ClassifierError(str(error), path="proto", remedy="write the flows again") from error
    flows["proto"] = np.array(numbers, np.uint8)[proto.indices.to_numpy(zero_copy_only=False)]
    flows["first_ns"] = batch.column("first_ns").to_numpy()
    return flows

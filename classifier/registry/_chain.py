"""The chain of digests over a register's history: each change's digest covers the one before.

How this works: the digest of a change is SHA-256 over the digest of the change before it, what the
change says (JSON), and the rows it wrote: their entry numbers and, column by column, the sizes of
the texts and the texts. Whoever edits, removes or inserts a row or a change breaks all digests from
there on; whoever recomputes them all changes the last one, which is why the last one is worth
writing down elsewhere (`registry verify` prints it and compares it with one that is given).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["CHANGE_COLUMNS", "Chain"]

#: What a change says, in the order in which it is digested.
CHANGE_COLUMNS = (
    "recorded_at",
    "effective",
    "action",
    "registration_id",
    "actor",
    "reason",
    "details",
    "n_rows",
)


class Chain:
    """Digests of changes, one after the other.

    Parameters
    ----------
    digest : str
        Of the last change there is; empty before the first.
    """

    def __init__(self, digest: str = "") -> None:
        self.digest = digest

    def add(
        self,
        number: int,
        said: Mapping[str, Any],
        entries: NDArray[np.int64],
        columns: Sequence[pa.BinaryArray],
        start: int,
    ) -> str:
        """Return the digest of the next change.

        Parameters
        ----------
        number : int
        said : mapping
            `CHANGE_COLUMNS`.
        entries : ndarray of int64
            Entry of each row it wrote.
        columns : sequence of pyarrow.BinaryArray
            Texts of rows; ``start`` is the first one of the change.
        start : int
        """
        digest = hashlib.sha256(self.digest.encode("utf-8", "surrogateescape"))
        facts = [number, *(said[name] for name in CHANGE_COLUMNS)]
        digest.update(json.dumps(facts, separators=(",", ":")).encode())
        digest.update(entries.astype("<i8").tobytes())
        for column in columns if entries.size else ():
            buffers: list[Any] = column.buffers()
            first = column.offset + start
            bounds = np.frombuffer(buffers[1], np.int32, entries.size + 1, 4 * first)
            digest.update(np.diff(bounds).astype("<i4").tobytes())
            if buffers[2] is not None:
                digest.update(memoryview(buffers[2])[bounds[0] : bounds[-1]])
        self.digest = digest.hexdigest()
        return self.digest

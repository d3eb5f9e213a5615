"""A compiled prefix table as one file that is mapped into memory.

Layout: 8 bytes magic, the last of them the layout's version, the size of the header as 8 bytes
little-endian, the header (JSON: arrays by name with shape and offset; content hash; digest of all
that follows), then the arrays, each at a multiple of 64 bytes. Nothing in the file is trusted: sizes, types and digest are checked before
an array is made, and every index in the arrays before one is used.
"""

import hashlib
import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import RegistryError
from classifier.registry._files import replacing

__all__ = ["read_arrays", "write_arrays"]

_KIND, _VERSION = b"VPNTBL\x00", b"\x02"
_MAGIC = _KIND + _VERSION
_ALIGNMENT = 64
_HEADER_LIMIT = 1 << 20
_REMEDY = "compile the register again"


def write_arrays(path: Path, facts: dict[str, str], arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays and a few texts; the file appears all at once."""
    layout: dict[str, dict[str, Any]] = {}
    offset = 0
    digest = hashlib.sha256()
    parts: list[bytes] = []
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        padding = bytes(-len(data) % _ALIGNMENT)
        layout[name] = {"shape": list(array.shape), "offset": offset}
        offset += len(data) + len(padding)
        for part in (data, padding):
            digest.update(part)
            parts.append(part)
    header = json.dumps({"facts": facts, "arrays": layout, "sha256": digest.hexdigest()}).encode()
    header += b" " * (-(len(header) + 16) % _ALIGNMENT)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
        file.writelines(parts)


def read_arrays(
    path: Path, dtypes: dict[str, np.dtype[Any]], optional: frozenset[str] = frozenset()
) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Map a file written by `write_arrays`; ``dtypes`` says which arrays it has to have.

    Those in ``optional`` may be missing.

    Raises
    ------
    RegistryError
        If the file is missing, of another kind, or damaged.
    """
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise RegistryError("cannot be read", path=path.name, remedy=_REMEDY) from error
    size = int.from_bytes(data[8:16], "little")
    if bytes(data[:7]) == _KIND and bytes(data[7:8]) != _VERSION:
        problem = "was compiled by another version"
        raise RegistryError(problem, path=path.name, remedy=_REMEDY)
    if bytes(data[:8]) != _MAGIC or size > min(_HEADER_LIMIT, len(data) - 16) or size % 8:
        raise RegistryError("is not a compiled register", path=path.name, remedy=_REMEDY)
    try:
        header = json.loads(bytes(data[16 : 16 + size]))
        facts = {str(key): str(value) for key, value in header["facts"].items()}
        body = data[16 + size :]
        if hashlib.sha256(body).hexdigest() != header["sha256"]:
            raise ValueError("digest")
        arrays = {
            name: _array(body, dtype, header["arrays"][name])
            for name, dtype in dtypes.items()
            if name in header["arrays"] or name not in optional
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RegistryError("is damaged", path=path.name, remedy=_REMEDY) from error
    return facts, arrays


def _array(body: memoryview, dtype: np.dtype[Any], layout: dict[str, Any]) -> NDArray[Any]:
    """Return one array, or raise ValueError or TypeError if it does not lie in the file."""
    shape = [int(extent) for extent in layout["shape"]]
    offset = int(layout["offset"])
    count = 1
    for extent in shape:
        count *= extent
    inside = 0 <= offset <= len(body) and min(shape, default=-1) >= 0
    if not inside or offset % _ALIGNMENT or count * dtype.itemsize > len(body) - offset:
        raise ValueError("an array lies outside the file")
    return np.frombuffer(body, dtype, count, offset).reshape(shape)

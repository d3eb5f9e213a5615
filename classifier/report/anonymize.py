"""Addresses and names of flow rows -> stand-ins that a key decides.

How this works: Crypto-PAn (Xu, Fan, Ammar and Moon, "Prefix-preserving IP address anonymization",
ICNP 2002). Bit i of an address is exchanged where the first bit of AES over *its first i bits, filled
up with a secret pad* is 1. So two addresses that share their first k bits share exactly the first k
bits of their stand-ins. All bits of many addresses are one call of AES in ECB mode: 32 blocks for an
IPv4 address, 128 for one of IPv6, each distinct address once.

A key file holds 32 bytes, as they are or as 64 hexadecimal digits: the first 16 are AES's key, the
other 16, encrypted, the pad; as in the authors' program, whose published trace is a test.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classifier.errors import ResourceError
from classifier.report.addresses import address_column, community_id_column
from classifier.report.endpoints import endpoints

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Anonymizer"]

KEY_BYTES = 32
_BLOCK = 16
# Addresses whose blocks are made at once: 4 MiB of them for IPv6
_STEP = 2048

#: Text columns that may name a person, and what their stand-ins are called.
_NAMES = {"server_name": "name", "registration_id": "registration", "organisation": "holder"}
_KEPT_LABELS = {"label_family"}
#: Words that answer a question, as the columns ``label_legitimate`` and ``label_holder`` do.
_ANSWERS = {"0", "1", "yes", "no", "true", "false", "y", "n", "t", "f"}

# ICMP types and codes that flows begin with, the common ones first. Their Community ID depends on
# these, which rows do not hold. https://www.iana.org/assignments/icmp-parameters, icmpv6-parameters
_ICMP_COMMON = ((8, 0), (128, 0), (3, 1), (3, 3), (135, 0), (133, 0), (0, 0))
_ICMP_OTHERS = (
    *((kind, 0) for kind in (4, 6, 9, 10, 13, 14, 15, 16, 17, 18, 30, 31, 35, 36, 37, 38, 39, 41)),
    *((3, code) for code in range(16)),
    *((kind, code) for kind in (5, 11, 12, 40) for code in range(6)),
    *((1, code) for code in range(9)),
    (2, 0),
    *((4, code) for code in range(1, 11)),
    *((kind, 0) for kind in range(100, 102)),
    *((kind, 0) for kind in range(129, 162)),
    (138, 1),
    (138, 255),
)


@dataclass(frozen=True, slots=True)
class Anonymizer:
    """Maps addresses prefix-preservingly and names to keyed digests.

    Parameters
    ----------
    key : bytes
        32 bytes; whoever has it can find the addresses again.

    Raises
    ------
    ResourceError
        If the key has another length.

    Examples
    --------
    >>> Anonymizer(bytes(range(32))).address("192.0.2.1")
    '2.90.93.17'
    """

    key: bytes = field(repr=False)
    _pad: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the pad."""
        if len(self.key) != KEY_BYTES:
            raise ResourceError(
                f"a key for addresses is {KEY_BYTES} bytes",
                remedy=_REMEDY,
            )
        object.__setattr__(self, "_pad", self._encrypted(self.key[_BLOCK:]))

    @classmethod
    def open(cls, key: "Anonymizer | bytes | str | os.PathLike[str]") -> "Anonymizer":
        """Return what a key, or the path of a key file, stands for.

        Raises
        ------
        ResourceError
            If the file cannot be read or is no key.
        """
        if isinstance(key, Anonymizer):
            return key
        if isinstance(key, bytes):
            return cls(key)
        if not isinstance(key, str | os.PathLike):
            raise ResourceError(
                f"a key is of type {type(key).__name__}",
                remedy="give the path of a key file, or 32 bytes",
            )
        place = os.fspath(key)
        try:
            with Path(place).open("rb") as file:
                data = file.read(1024)
        except (OSError, ValueError) as error:
            code = error.errno if isinstance(error, OSError) else None
            reason = os.strerror(code) if code else str(error)
            problem = f"the key cannot be read ({reason})"
            raise ResourceError(problem, path=place, remedy=_REMEDY) from error
        if len(data) != KEY_BYTES:
            digits = b"".join(data.split())
            if len(digits) != 2 * KEY_BYTES or digits.strip(b"0123456789abcdefABCDEF"):
                problem = f"is no key: it holds neither {KEY_BYTES} bytes nor {2 * KEY_BYTES} "
                raise ResourceError(problem + "hexadecimal digits", path=place, remedy=_REMEDY)
            data = bytes.fromhex(digits.decode("ascii"))
        return cls(data)

    def addresses(
        self, hi: NDArray[np.uint64], lo: NDArray[np.uint64], version: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Map addresses.

        Parameters
        ----------
        hi, lo : ndarray of uint64, shape (n,)
            Upper and lower half; an IPv4 address is the low 32 bits of ``lo``.
        version : ndarray of uint8, shape (n,)
            4 or 6.

        Returns
        -------
        hi, lo : ndarray of uint64, shape (n,)
        """
        hi, lo = np.array(hi, np.uint64), np.array(lo, np.uint64)
        four = np.flatnonzero(version == 4)
        six = np.flatnonzero(version != 4)
        words, rows = np.unique(lo[four], return_inverse=True)
        lo[four] = (self._mapped(words << np.uint64(32), np.zeros_like(words), 32)[0] >> 32)[rows]
        pairs, rows = np.unique(np.stack([hi[six], lo[six]]), axis=1, return_inverse=True)
        upper, lower = self._mapped(pairs[0], pairs[1], 128)
        hi[six], lo[six] = upper[rows.ravel()], lower[rows.ravel()]
        return hi, lo

    def address(self, text: str) -> str:
        """Map one address, as text.

        Raises
        ------
        ValueError
            If it is none.
        """
        import ipaddress

        given = ipaddress.ip_address(text)
        number, shift = int(given), 96 if given.version == 4 else 0
        words = [np.array([(number << shift) >> at & (1 << 64) - 1], np.uint64) for at in (64, 0)]
        hi, lo = self._mapped(words[0], words[1], 128 - shift)
        mapped = (int(hi[0]) << 64 | int(lo[0])) >> shift
        return str(type(given)(mapped))

    def prefix(self, text: str) -> str:
        """Map a prefix: the stand-ins of its addresses are those of the mapped prefix.

        Raises
        ------
        ValueError
            If it is none.
        """
        import ipaddress

        network = ipaddress.ip_network(text, strict=False)
        address = self.address(str(network.network_address))
        return str(ipaddress.ip_network(f"{address}/{network.prefixlen}", strict=False))

    def name(self, text: str, kind: str = "name") -> str:
        """Return the stand-in of a name: ``kind-`` and 16 digits; of nothing, nothing."""
        if not text:
            return ""
        message = f"classifier\0{kind}\0{text}".encode("utf-8", "surrogatepass")
        return f"{kind}-{hmac.new(self.key, message, hashlib.sha256).hexdigest()[:16]}"

    def rows(self, rows: "pa.RecordBatch") -> "pa.RecordBatch":
        """Map the addresses and names of flow rows, and make their Community IDs again.

        Words of evidence are left out, and text in label columns, but for families and yes or no, is
        mapped as a name. An ICMP flow has no Community ID where its type cannot be found from the one it had.

        Raises
        ------
        ClassifierError
            If an address of a row is none.
        """
        import pyarrow as pa

        flows = endpoints(rows)
        icmp = _icmp_of(rows, flows)
        changed: dict[str, Any] = {}
        for side in ("orig", "resp"):
            hi, lo = self.addresses(flows[f"{side}_hi"], flows[f"{side}_lo"], flows["ip_version"])
            flows[f"{side}_hi"], flows[f"{side}_lo"] = hi, lo
            changed[f"{side}_ip"] = address_column(hi, lo, flows["ip_version"])
        flows["icmp"] = np.maximum(icmp, 0)
        ids = community_id_column(flows)
        changed["community_id"] = pa.array(
            ["" if lost else text for text, lost in zip(ids.to_pylist(), icmp < 0, strict=True)],
            pa.string(),
        )
        changed["evidence"] = _without_words(rows.column("evidence"))
        for column in rows.schema:
            label = column.name.startswith("label_") and column.name not in _KEPT_LABELS
            if column.name in _NAMES or (label and pa.types.is_string(column.type)):
                kind = _NAMES.get(column.name, column.name.removeprefix("label_"))
                kept = _ANSWERS if label else set()
                changed[column.name] = self._named(rows.column(column.name), kind, kept)
        arrays = [
            changed[c.name].cast(c.type) if c.name in changed else rows.column(c.name)
            for c in rows.schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=rows.schema)

    def table(self, table: "pa.Table") -> "pa.Table":
        """Map a table of flow rows; as `rows`."""
        import pyarrow as pa

        batches = [self.rows(batch) for batch in table.combine_chunks().to_batches()]
        return pa.Table.from_batches(batches, schema=table.schema)

    def meta(self, meta: dict[str, Any], default_local: Sequence[str]) -> dict[str, Any]:
        """Return ``Run.meta`` of mapped rows: the inside prefixes are mapped as well."""
        options = dict(meta.get("options") or {})
        local = options.get("local")
        prefixes = local if isinstance(local, list) else list(default_local)
        options["local"] = [self.prefix(text) for text in prefixes]
        return meta | {"options": options, "anonymized": True}

    def _named(self, texts: "pa.Array", kind: str, kept: set[str]) -> "pa.Array":
        import pyarrow as pa

        encoded = texts.dictionary_encode()
        names = [
            text if text.strip().lower() in kept else self.name(text, kind)
            for text in encoded.dictionary.to_pylist()
        ]
        return pa.array(names, pa.string()).take(encoded.indices)

    def _encrypted(self, blocks: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        # ECB is what the scheme asks for: each block is one question to a pseudo-random function
        cipher = Cipher(algorithms.AES(self.key[:_BLOCK]), modes.ECB())
        return bytes(cipher.encryptor().update(blocks))

    def _mapped(
        self, hi: NDArray[np.uint64], lo: NDArray[np.uint64], bits: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Map the upper ``bits`` of 128-bit words, given as halves."""
        out_hi, out_lo = hi.copy(), lo.copy()
        for start in range(0, hi.size, _STEP):
            chunk = slice(start, start + _STEP)
            flips = self._flips(hi[chunk], lo[chunk], bits)
            out_hi[chunk] ^= flips[0]
            out_lo[chunk] ^= flips[1]
        return out_hi, out_lo

    def _flips(self, hi: Any, lo: Any, bits: int) -> tuple[Any, Any]:
        pad_hi, pad_lo = (int.from_bytes(self._pad[at : at + 8], "big") for at in (0, 8))
        masks = [(1 << 128) - (1 << 128 - bit) for bit in range(bits)]
        blocks = np.empty((hi.size, bits, 2), ">u8")
        for half, (words, pad, shift) in enumerate(((hi, pad_hi, 64), (lo, pad_lo, 0))):
            mask = np.array([m >> shift & (1 << 64) - 1 for m in masks], np.uint64)
            blocks[:, :, half] = (words[:, None] & mask) | (np.uint64(pad) & ~mask)
        answers = np.frombuffer(self._encrypted(blocks.tobytes()), np.uint8)
        first = answers.reshape(hi.size, bits, _BLOCK)[:, :, 0] >> 7
        packed = np.zeros((hi.size, _BLOCK), np.uint8)
        packed[:, : bits // 8] = np.packbits(first, axis=1)
        halves = packed.view(">u8").astype(np.uint64)
        return halves[:, 0], halves[:, 1]


_REMEDY = "make one with: head -c 32 /dev/urandom > key.bin"


def _without_words(evidence: "pa.Array") -> "pa.Array":
    """Empty the field ``detail``, which may quote what a packet says."""
    import pyarrow as pa

    items = evidence.flatten()
    fields = [
        pa.array([""] * len(items), pa.string()) if kind.name == "detail" else items.field(i)
        for i, kind in enumerate(evidence.type.value_type)
    ]
    made = pa.StructArray.from_arrays(fields, fields=list(evidence.type.value_type))
    offsets = evidence.offsets.to_numpy()
    return pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), made, type=evidence.type)


def _icmp_of(rows: "pa.RecordBatch", flows: NDArray[np.void]) -> NDArray[np.int64]:
    """Find the type and code that Community IDs were made of; 0 for other protocols, -1 if lost."""
    icmp = np.zeros(flows.size, np.int64)
    open_ = np.flatnonzero((flows["proto"] == 1) | (flows["proto"] == 58))
    icmp[open_] = -1
    known = np.array(rows.column("community_id").to_pylist(), object)
    for candidates in (_ICMP_COMMON, _ICMP_OTHERS):
        if not open_.size:
            break
        codes = np.array([kind << 8 | code for kind, code in candidates], np.int64)
        tried = np.repeat(flows[open_], codes.size)
        tried["icmp"] = np.tile(codes, open_.size)
        ids = np.array(community_id_column(tried).to_pylist(), object).reshape(-1, codes.size)
        same = ids == known[open_, None]
        found = same.any(axis=1)
        icmp[open_[found]] = codes[same.argmax(axis=1)[found]]
        open_ = open_[~found]
    return icmp

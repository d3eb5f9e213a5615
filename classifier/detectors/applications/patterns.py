"""What a signature is, how its pattern is written, and the arrays that the kernel reads.

How this works
--------------
A pattern is written as in a wire table, one token a byte::

    16       this byte                 30-39    a byte of this range
    ..       any byte                  20/e0    a byte with these bits under this mask
    'text'   these characters          01|02    either (the signature is written twice)
    @236     go on at this offset

``compile_signatures`` turns each byte that matters into an atom ``offset, mask, least, greatest``
and sorts the signatures into 256 buckets by the first byte of the message, for TCP and for UDP:
a message is compared with the ten or so signatures of its bucket only.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.detectors.applications.catalogue import APPLICATIONS

__all__ = [
    "BOTH",
    "NOTHING",
    "PEER",
    "PORT",
    "TCP",
    "UDP",
    "Parser",
    "Signature",
    "SignatureTable",
    "compile_signatures",
]

TCP, UDP, BOTH = 1, 2, 3

# What else must agree before a match names the application.
NOTHING = 0
PEER = 1  # a message of the same application in the other direction, or a registered port
PORT = 2  # a registered port


class Parser(IntEnum):
    """A check beyond bytes at fixed places, made by a kernel of its own."""

    NONE = 0
    TLS = 1  # records that follow each other
    DTLS = 2
    DNS = 3
    DNS_TCP = 4  # the same after a 16-bit length
    RTCP = 5


class Signature(NamedTuple):
    """Bytes by which a message of an application is known.

    Parameters
    ----------
    application : str
    transport : int
        ``TCP``, ``UDP`` or ``BOTH``. A TCP message is the head of one direction's stream.
    pattern : str
    source : str
        Document, section.
    needs : int
        ``NOTHING``: the match alone names the application (24 bits or more that are not chance).
        ``PEER`` or ``PORT``: that must agree.
    opens : bool
        A conversation starts with this message.
    size : tuple of int
        Least and greatest payload bytes on the wire.
    length : tuple of int
        ``(offset, width, add)``: the number there plus ``add`` equals the payload bytes on the
        wire. A negative width is least significant byte first; width 0 is no such field.
    within : str
        Characters, of either case, that follow somewhere in the first ``WITHIN_BYTES``.
    parser : Parser
        A further check; it may ask for ``PEER``.
    """

    application: str
    transport: int
    pattern: str
    source: str
    needs: int = NOTHING
    opens: bool = False
    size: tuple[int, int] = (1, 65535)
    length: tuple[int, int, int] = (0, 0, 0)
    within: str = ""
    parser: Parser = Parser.NONE


class SignatureTable(NamedTuple):
    """Compiled signatures.

    Attributes
    ----------
    rows : ndarray of int64, shape (n_rows, 14)
        Application code, needs, opens, least size, greatest size, length offset, width, addend,
        parser, first and last atom (half-open), first and last byte of ``words`` (half-open), row
        of ``skips``.
    atoms : ndarray of int64, shape (n_atoms, 4)
        Offset, mask, least, greatest.
    words : ndarray of uint8
        Lower-cased characters of all ``within``, each once.
    skips : ndarray of uint8, shape (n_words, 256)
        How far behind a place that ends in a byte the next one is where the word may stand.
    bucket_offsets : ndarray of int64, shape (513,)
        Buckets of TCP by first byte, then those of UDP.
    bucket_rows : ndarray of int32, shape (n, 5)
        Row numbers, in the order of the table, each with the atom that fewest messages meet: most
        rows of a bucket are ruled out without a look at them.
    """

    rows: NDArray[np.int64]
    atoms: NDArray[np.int64]
    words: NDArray[np.uint8]
    skips: NDArray[np.uint8]
    bucket_offsets: NDArray[np.int64]
    bucket_rows: NDArray[np.int32]


_BYTES = np.arange(256)
Atom = tuple[int, int, int, int]

_TOKEN = re.compile(r"'[^']*'|[^\s']+")


@functools.cache
def _byte(text: str) -> tuple[int, int, int]:
    """Return mask, least and greatest of one alternative."""
    if "/" in text:
        value, mask = (int(part, 16) for part in text.split("/"))
        return mask, value, value
    least, _, greatest = text.partition("-")
    return 0xFF, int(least, 16), int(greatest or least, 16)


def parse_pattern(pattern: str) -> list[list[Atom]]:
    """Return the atoms of each way in which a pattern can be met.

    Raises
    ------
    ValueError
        If a token is none of those above.
    """
    offset = 0
    choices: list[list[list[Atom]]] = []
    for token in _TOKEN.findall(pattern):
        if token.startswith("@"):
            offset = int(token[1:])
        elif token.startswith("'"):
            text = token[1:-1].encode("latin-1")
            choices.append([[(offset + i, 0xFF, b, b) for i, b in enumerate(text)]])
            offset += len(text)
        else:
            if token != "..":
                choices.append([[(offset, *_byte(part))] for part in token.split("|")])
            offset += 1
    return [list(itertools.chain(*way)) for way in itertools.product(*choices)]


def _first_bytes(atoms: list[Atom]) -> Sequence[int]:
    """Return the first bytes that a message with these atoms can have."""
    here = next((a for a in atoms if a[0] == 0), None)
    if here is None:
        return range(256)
    _, mask, least, most = here
    if mask == 0xFF:
        return range(least, most + 1)
    return [b for b in range(256) if least <= b & mask <= most]


@functools.cache
def _commonness(mask: int, least: int, most: int) -> int:
    """Return how many bytes meet an atom; zeros are common, whatever a message is."""
    masked = _BYTES & mask
    met = int(np.count_nonzero((masked >= least) & (masked <= most)))
    return met * (32 if least == 0 else 1)


def _rarest(atoms: list[Atom]) -> Atom:
    """Return the atom that fewest messages meet, but not the first byte's: the bucket asked for it."""
    beyond = [atom for atom in atoms if atom[0] > 0]
    return min(beyond, key=lambda atom: (_commonness(*atom[1:]), atom[0]), default=(0, 0, 0, 0))


def _skips(word: bytes) -> list[int]:
    """Return for each byte how far from a word's end it stands before it; else the whole length."""
    found = [len(word)] * 256
    for i, byte in enumerate(word[:-1]):
        for either in {byte, *bytes([byte]).upper()}:
            found[either] = len(word) - 1 - i
    return found


def compile_signatures(signatures: tuple[Signature, ...]) -> SignatureTable:
    """Turn signatures into the arrays that ``match_message`` reads.

    Raises
    ------
    ValueError
        If a pattern cannot be read, or an application is not in the catalogue.
    """
    rows: list[tuple[int, ...]] = []
    atoms: list[Atom] = []
    words: dict[bytes, tuple[int, int, int]] = {b"": (0, 0, 0)}
    length_of_words = 0
    buckets: list[list[tuple[int, ...]]] = [[] for _ in range(512)]
    for signature in signatures:
        code = APPLICATIONS.index(signature.application)
        word = signature.within.lower().encode("latin-1")
        if word not in words:
            span = (length_of_words, length_of_words + len(word))
            words[word] = (*span, len(words))
            length_of_words += len(word)
        offset, width, add = signature.length
        for way in parse_pattern(signature.pattern):
            entry = (len(rows), *_rarest(way))
            least = max([signature.size[0], offset + abs(width), *(a[0] + 1 for a in way)])
            for transport, base in ((TCP, 0), (UDP, 256)):
                if signature.transport & transport:
                    for byte in _first_bytes(way):
                        buckets[base + byte].append(entry)
            span = (len(atoms), len(atoms) + len(way))
            facts = (code, signature.needs, int(signature.opens), least, signature.size[1])
            rows.append((*facts, offset, width, add, int(signature.parser), *span, *words[word]))
            atoms += way
    return SignatureTable(
        np.array(rows, np.int64).reshape(-1, 14),
        np.array(atoms, np.int64).reshape(-1, 4),
        np.frombuffer(bytearray(b"".join(words) or b"\0"), np.uint8),
        np.array([_skips(word) for word in words], np.uint8),
        np.cumsum([0, *map(len, buckets)]).astype(np.int64),
        np.array(list(itertools.chain(*buckets)), np.int32).reshape(-1, 5),
    )

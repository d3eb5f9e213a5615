"""How signatures are written and compiled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.detectors.applications._kernels import contains
from classifier.detectors.applications.patterns import (
    BOTH,
    PORT,
    TCP,
    UDP,
    Signature,
    compile_signatures,
    parse_pattern,
)
from classifier.detectors.applications.signatures_infrastructure import INFRASTRUCTURE
from classifier.detectors.applications.signatures_internet import INTERNET


def test_each_token_is_one_byte_and_text_as_many_as_it_has() -> None:
    assert parse_pattern("16 .. 30-39 20/e0 'ab' @9 ff") == [
        [
            (0, 255, 0x16, 0x16),
            (2, 255, 0x30, 0x39),
            (3, 0xE0, 0x20, 0x20),
            (4, 255, 97, 97),
            (5, 255, 98, 98),
            (9, 255, 255, 255),
        ]
    ]


def test_alternatives_multiply() -> None:
    ways = parse_pattern("01|02 10|20-2f")
    assert [way[0][2:] + way[1][2:] for way in ways] == [
        (1, 1, 0x10, 0x10),
        (1, 1, 0x20, 0x2F),
        (2, 2, 0x10, 0x10),
        (2, 2, 0x20, 0x2F),
    ]


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_pattern("16 xyz")


def test_an_application_that_is_not_in_the_catalogue_is_refused() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        compile_signatures((Signature("no-such", TCP, "00", "nowhere"),))


def test_signatures_lie_in_the_buckets_of_their_first_byte_only() -> None:
    table = compile_signatures(
        (Signature("dns", UDP, "@2 00", "x"), Signature("tls", BOTH, "14-17 03", "x"))
    )
    sizes = np.diff(table.bucket_offsets)
    assert sizes[:256].sum() == 4
    assert sizes[256:].sum() == 256 + 4
    rows = table.bucket_rows[table.bucket_offsets[256 + 0x16] : table.bucket_offsets[256 + 0x17]]
    assert rows[:, 0].tolist() == [0, 1]


def test_buckets_ask_first_for_the_byte_that_is_rarest_and_not_the_first() -> None:
    patterns = ("01 00 20-7e 07 @9 00", "02 @4 00", "03", "@3 10/f0 40-4f")
    table = compile_signatures(tuple(Signature("dns", UDP, p, "x") for p in patterns))
    asked = {row[0]: tuple(row[1:]) for row in table.bucket_rows.tolist()}
    assert asked == {0: (3, 255, 7, 7), 1: (4, 255, 0, 0), 2: (0, 0, 0, 0), 3: (3, 0xF0, 16, 16)}


@given(st.text("aAbBzZ @{", max_size=60), st.text("aAbBzZ @{", min_size=1, max_size=5))
def test_a_word_is_found_wherever_it_is_in_either_case(text: str, word: str) -> None:
    others = (Signature("dns", UDP, "00", "x", within=some) for some in ("other", word, "other"))
    table = compile_signatures(tuple(others))
    first, last, number = table.rows[1, 11:14].tolist()
    assert table.rows[0, 11:14].tolist() == table.rows[2, 11:14].tolist()
    data = b"<" + text.encode() + b">"
    found = contains(data, 1, len(data) - 1, table.words, first, last, table.skips, number)
    assert found == (word.lower() in text.lower())


def test_the_least_size_covers_every_byte_that_is_read() -> None:
    table = compile_signatures(
        (
            Signature("dns", UDP, "00 @30 01", "x", length=(40, 4, 0)),
            Signature("ntp", UDP, "1b", "x"),
        )
    )
    assert list(table.rows[:, 3]) == [44, 1]


def test_every_signature_names_its_source_and_compiles() -> None:
    signatures = INTERNET + INFRASTRUCTURE
    assert all(s.source for s in signatures)
    table = compile_signatures(signatures)
    assert table.rows.shape[0] >= len(signatures)
    assert table.bucket_rows.max() < table.rows.shape[0]


def bits(atom: tuple[int, int, int, int]) -> float:
    """Return how many bits of chance an atom takes away."""
    _, mask, least, most = atom
    fitting = sum(least <= b & mask <= most for b in range(256))
    return float(8 - np.log2(fitting))


@pytest.mark.parametrize(
    "signature", [s for s in INTERNET + INFRASTRUCTURE if not s.needs and not s.parser], ids=str
)
def test_a_signature_that_names_alone_is_no_chance(signature: Signature) -> None:
    ways = parse_pattern(signature.pattern)
    chance = sum(2.0 ** -sum(bits(atom) for atom in way) for way in ways)
    length = 8 * abs(signature.length[1])
    within = 5 * len(signature.within)  # letters of either case, in up to a thousand places
    fixed = 6 if signature.size[0] == signature.size[1] else 0
    assert -np.log2(chance) + length + max(0, within - 10) + fixed >= 23


def test_ports_are_asked_for_where_content_is_short() -> None:
    assert {s.needs for s in INFRASTRUCTURE if s.application in ("coap", "ntp", "rip")} == {PORT}

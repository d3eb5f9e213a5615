"""ARFF tables are read as declared; what is wrong in them is named with its line."""

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.datasets._arff import parse, unpack
from classifier.errors import ResourceError

GOOD = """% a comment
@RELATION <flows>,,
,,
@ATTRIBUTE duration NUMERIC,,
@attribute 'mean iat' real
@ATTRIBUTE note string
@ATTRIBUTE class1 {Non-VPN,VPN},,
@DATA,,,
12,-1.5e3,'a, b',VPN
?,.25,plain,Non-VPN,,
% another

7,?,?,?
"""


def test_columns_are_read_by_their_declarations() -> None:
    table = parse(GOOD.encode(), "flows.arff")
    assert list(table) == ["duration", "mean iat", "note", "class1"]
    np.testing.assert_array_equal(table["duration"], [12.0, np.nan, 7.0])
    np.testing.assert_array_equal(table["mean iat"], [-1500.0, 0.25, np.nan])
    assert table["note"].tolist()[:2] == ["a, b", "plain"]
    assert table["class1"].tolist()[:2] == ["VPN", "Non-VPN"]
    assert table["class1"].cat.categories.tolist() == ["Non-VPN", "VPN"]
    assert table["note"].isna().tolist() == table["class1"].isna().tolist() == [False, False, True]


def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing() -> None:
    other = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    assert parse(other, "x").equals(parse(GOOD.encode(), "x"))


@pytest.mark.parametrize(
    ("before", "after", "line", "problem"),
    [
        ("12,-1.5e3", "12", 9, "3 values, but 4 columns"),
        ("7,?,?,?", "7,?,?,?,1", 13, "5 values, but 4 columns"),
        ("12,-1.5e3", "1_2,0", 9, "duration: '1_2' is not a number"),
        (".25", "nan", 10, "mean iat: 'nan' is not a number"),
        ("plain,Non-VPN", "plain,Tor", 10, "class1: 'Tor' is not a declared value"),
        ("real", "quaternion", 5, "type 'quaternion' is not known"),
        ("@attribute 'mean iat' real", "@attribute duration real", 5, "declared twice"),
        ("@attribute 'mean iat' real", "@attribute alone", 5, "lacks a name or a type"),
        ("@RELATION <flows>,,", "hello", 2, "'hello' is no declaration"),
        ("12,-1.5e3,'a, b',VPN", "{0 12}", 9, "sparse rows"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    before: str, after: str, line: int, problem: str
) -> None:
    assert before in GOOD
    with pytest.raises(ResourceError, match=problem) as caught:
        parse(GOOD.replace(before, after, 1).encode(), "flows.arff")
    assert caught.value.line == line
    assert str(caught.value).startswith(f"flows.arff:{line}: ")


@pytest.mark.parametrize("text", ["", "@relation x\n@attribute a real\n"])
def test_table_without_data_line_is_refused(text: str) -> None:
    with pytest.raises(ResourceError, match="no @data line"):
        parse(text.encode(), "x.arff")


def test_data_without_columns_is_refused() -> None:
    with pytest.raises(ResourceError, match="no column was declared"):
        parse(b"@data\n1\n", "x.arff")


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_give_a_table_or_an_error_of_ours(rest: bytes) -> None:
    try:
        table = parse(b"@relation r\n@attribute a real\n@attribute b {x,y}\n@data\n" + rest, "x")
    except ResourceError as error:
        assert error.line is not None
    else:
        assert list(table) == ["a", "b"]


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.booleans())))
def test_what_was_written_is_read_again(rows: list[tuple[float, bool]]) -> None:
    head = "@relation r\n@attribute a real\n@attribute b {x,y}\n@data\n"
    lines = "".join(f"{number!r},{'x' if flag else 'y'}\n" for number, flag in rows)
    table = parse((head + lines).encode(), "x")
    assert table["a"].tolist() == [number for number, _ in rows]
    assert (table["b"] == "x").tolist() == [flag for _, flag in rows]


def test_packed_files_are_unpacked_by_their_first_bytes(tmp_path: Path) -> None:
    for name, content in (
        ("plain", b"table"),
        ("xz", lzma.compress(b"table")),
        ("gz", gzip.compress(b"table")),
    ):
        (tmp_path / name).write_bytes(content)
        assert unpack(tmp_path / name) == b"table"


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress])
def test_packed_file_that_ends_early_is_refused(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    (tmp_path / "cut").write_bytes(pack(b"table" * 100)[:-9])
    with pytest.raises(ResourceError, match="cannot be read"):
        unpack(tmp_path / "cut")

"""A database with bytes changed is read, or refused with a remedy; nothing else happens."""

import random

import pytest

from classifier.errors import ClassifierError
from classifier.registry import Registry, Window, import_rows, verify

SAID = {"by": "board", "reason": "decided"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the bytes of a register with a history, and what it holds as CSV."""
    folder = tmp_path_factory.mktemp("whole")
    window = Window(folder / "r.db")
    window.init(require={"bank": ["licence"]}, **SAID)
    for k in range(3):
        window.add("Holder", "ngo", [f"9.9.{k}.0/24"], **SAID)
        window.approve(f"R-00000{k + 1}", **SAID)
    window.revoke("R-000002", **SAID)
    Registry.open(folder / "r.db").save(folder / "list.csv")
    return (folder / "r.db").read_bytes(), folder / "list.csv"


@pytest.mark.parametrize("seed", range(12))
def test_a_mutated_database_is_read_or_refused(whole, tmp_path, seed):
    content, source = whole
    draw = random.Random(seed)
    path = tmp_path / "m.db"
    uses = (
        lambda: verify(path),
        lambda: Registry.open(path, skip_bad_rows=True).history("R-000002"),
        lambda: Registry.open(path, skip_bad_rows=True).save(tmp_path / "out.db"),
        lambda: Window(path).amend("R-000003", contact="x", **SAID),
        lambda: Window(path).add("Holder", "ngo", ["1.1.1.1"], **SAID),
        lambda: import_rows(source, path),
    )
    for _ in range(3):
        mutated = bytearray(content)
        for _ in range(draw.choice([1, 2, 5, 20])):
            byte = draw.choice([0, 255, draw.randrange(256), draw.choice(content)])
            mutated[draw.randrange(len(mutated))] = byte
        if draw.random() < 0.1:
            del mutated[draw.randrange(len(mutated)) :]
        path.write_bytes(mutated)
        for use in uses:
            try:
                use()
            except ClassifierError as error:
                assert error.remedy
        for left in tmp_path.glob("m.db*"):
            left.unlink()

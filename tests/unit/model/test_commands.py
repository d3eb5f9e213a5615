"""The verbs that train a model, show its card and write limits into it; what training is given."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from classifier import classify, cli, datasets, load_model
from classifier.learning import card_text, examples_of, note_limits
from classifier.model import FEATURE_NAMES, model_names
from classifier.model.learned import BASE_PROBABILITY, unasked
from classifier.resources import locate

DEMO = datasets.demo()


@pytest.mark.slow
def test_one_command_makes_a_model_with_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = locate("datasets/lab/labels.csv")
    notes = tmp_path / "limits.txt"
    notes.write_text("Twelve captures.\n\n  Made to be read.\n", encoding="utf-8")
    folder = tmp_path / "mine"
    told = ["--source", "a test", "--notes", str(notes)]
    assert cli.main(["train", "--labels", str(labels), "--out", str(folder), *told]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "card.md", "model.npz"]
    card = json.loads((folder / "card.json").read_text())
    assert card["limits"] == ["Twelve captures.", "Made to be read."]
    text = (folder / "card.md").read_text()
    assert text.endswith("## Limits\n\n- Twelve captures.\n- Made to be read.\n")
    assert "on a test." in text
    capsys.readouterr()
    assert cli.main(["models", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == text.strip()


def test_limits_found_later_are_written_into_the_card_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(locate("models/lab"), tmp_path / "lab")
    before = {path.name: path.read_bytes() for path in (tmp_path / "lab").iterdir()}
    (tmp_path / "new.txt").write_text("It was raining.\n")
    assert cli.main(["models", str(tmp_path / "lab"), "--notes", str(tmp_path / "new.txt")]) == 0
    assert "- It was raining." in capsys.readouterr().out
    assert load_model(tmp_path / "lab").card["limits"] == ["It was raining."]
    assert (tmp_path / "lab" / "model.npz").read_bytes() == before["model.npz"]
    note_limits(tmp_path / "lab", tmp_path / "lab" / "limits.txt")
    assert {path.name: path.read_bytes() for path in (tmp_path / "lab").iterdir()} == before


@pytest.mark.parametrize("arguments", [["--notes", "x"], [".", "--notes", "x"]])
def test_limits_without_a_model_or_a_file_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["models", *arguments]) == 2
    assert "give" in capsys.readouterr().err


@pytest.mark.parametrize("name", model_names())
def test_the_card_of_a_shipped_model_is_made_of_its_parts(name: str) -> None:
    folder = locate(f"models/{name}")
    model = load_model(name)
    assert (folder / "card.md").read_text(encoding="utf-8") == card_text(model)
    limits = (folder / "limits.txt").read_text(encoding="utf-8").splitlines()
    assert model.card["limits"] == limits


def test_what_no_detector_saw_leaves_the_word_to_the_model() -> None:
    """A flow with a name gets less from a model than one that nothing is known of."""
    examples = examples_of([DEMO.capture], DEMO.labels)
    run = classify(DEMO.capture, labels=DEMO.labels, progress=False)
    model = load_model("lab")
    columns = [FEATURE_NAMES.index(name) for name in model.features]
    said = unasked(examples.applications, model.applications)
    asked = examples.in_scope
    said[asked] = model.score(np.ascontiguousarray(examples.features[asked][:, columns]))
    together = np.maximum(said, examples.by_detectors)
    assert together == pytest.approx(run.table.column("vpn_probability").to_numpy())
    assert together.min() < BASE_PROBABILITY

"""Training on made-up flows: what is split, what is left out, what is written and read again."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

import classifier
from classifier.errors import ClassifierError, ModelError, ModelMismatchError
from classifier.learning import _precision, card_text, write_plots
from classifier.model import FEATURE_NAMES
from classifier.model.bench import KINDS, SHARES, kind_of
from classifier.model.files import load_model, save_model
from classifier.model.learned import BASE_PROBABILITY, NAMED_PROBABILITY, shrunk, unasked
from classifier.model.measures import measure
from classifier.model.novelty import BEYOND
from classifier.model.training import Examples, Outcome, capture_weights, evaluate, train
from classifier.report.plots import have_matplotlib, label_of

SIZE, ONES = FEATURE_NAMES.index("orig_size_mean"), FEATURE_NAMES.index("orig_seg1_ones")


def examples(*, captures: int = 12, each: int = 30, seed: int = 1, tor: int = 0) -> Examples:
    """Flows whose tunnels are larger; each capture shifts all of its flows a little."""
    rng = np.random.default_rng(seed)
    n = captures * each
    features = rng.normal(size=(n, len(FEATURE_NAMES))).astype(np.float32)
    features[:, 3] = np.nan
    labels = (rng.random(n) < 0.3).astype(np.int8)
    groups = np.repeat([f"c{i}.pcap" for i in range(captures)], each).astype(object)
    features[:, SIZE] += 4 * labels + np.repeat(rng.normal(size=captures), each) / 4
    families = np.where(labels == 1, np.where(rng.random(n) < 0.5, "openvpn", "stunnel"), "")
    families = families.astype(object)
    families[np.flatnonzero(labels)[:tor]] = "tor"
    applications = np.full(n, "unknown", object)
    return Examples(features, labels, families, applications, groups, np.full(n, 20))


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    small = RandomForestClassifier(10, min_samples_leaf=3, random_state=1)
    return train(examples(tor=6), estimator=small)


def test_a_model_finds_what_there_is_to_find(outcome: Outcome) -> None:
    assert outcome.report["in_scope"]["auc"] > 0.9
    assert "orig_size_mean" in outcome.model.features
    unseen = evaluate(outcome.model, examples(seed=9))["in_scope"]
    assert unseen.auc > 0.85


def test_features_of_the_path_and_of_other_flows_are_not_chosen(outcome: Outcome) -> None:
    assert not [n for n in outcome.model.features if "iat" in n or n.startswith("pair_")]
    assert len(outcome.model.features) > 100


def test_circumvention_tools_are_reported_apart_and_not_trained_on(outcome: Outcome) -> None:
    assert outcome.report["tunnels"] == int((examples(tor=6).labels == 1).sum()) - 6
    assert outcome.report["circumvention"]["families"]["tor"]["flows"] == 6
    assert "tor" not in outcome.report["all_tunnels"]["families"]


def test_baselines_and_left_out_families_stand_beside_the_model(outcome: Outcome) -> None:
    assert set(outcome.report["baselines"]) == {"majority", "nearest neighbour", "single tree"}
    assert outcome.report["baselines"]["majority"]["auc"] < 0.7
    assert set(outcome.report["left_out_families"]) <= {"openvpn", "stunnel"}


def test_more_captures_find_more_and_intervals_hold_the_figures(outcome: Outcome) -> None:
    points = outcome.report["learning_curve"]
    assert [p["captures"] for p in points] == sorted(p["captures"] for p in points)
    assert points[-1]["captures"] == pytest.approx(12 * 4 / 5, abs=0.5)
    assert points[-1]["auc"] > points[0]["auc"]
    assert points[-1]["auc"] == pytest.approx(outcome.report["in_scope"]["auc"], abs=0.02)
    for point in points:
        low, high = point["auc_interval"]
        assert low <= point["auc"] <= high
        assert high - low > 0


def test_the_kind_that_tells_is_the_most_important_and_noise_is_not(outcome: Outcome) -> None:
    rows = outcome.report["importance"]
    assert rows[0]["kind"] == kind_of("orig_size_mean") == "sizes"
    assert rows[0]["auc_lost"] > 0.2
    assert all(abs(row["auc_lost"]) < 0.1 for row in rows[1:])
    assert sum(row["columns"] for row in rows) == len(outcome.model.features)


def test_every_feature_is_of_a_kind() -> None:
    assert {kind_of(name) for name in FEATURE_NAMES} == set(KINDS)


def test_reliability_has_every_flow_that_is_asked_about(outcome: Outcome) -> None:
    bins = outcome.report["scenario_reliability"]
    assert sum(n for _, _, n in bins) == outcome.report["scenario_in_scope"]["flows"]
    error = sum(abs(said - true) * n for said, true, n in bins) / sum(n for _, _, n in bins)
    assert error == pytest.approx(outcome.report["scenario_in_scope"]["calibration_error"])


def test_a_card_says_what_was_measured_and_plots_are_drawn(
    outcome: Outcome, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    paths = write_plots(outcome, tmp_path)
    assert [path.name for path in paths] == [
        "reliability.svg",
        "learning_curve.svg",
        "importance.svg",
    ]
    for path in paths:
        ElementTree.parse(path)
    assert "\\" not in label_of("sizes of the first packets, all together")
    drawn = paths[2].read_bytes()
    write_plots(outcome, tmp_path)
    assert paths[2].read_bytes() == drawn


def test_no_false_call_among_few_flows_is_not_sold_as_certainty() -> None:
    row = measure(np.repeat([1, 0], [100, 900]), np.repeat([0.9, 0.1], [100, 900])).to_json()
    said = _precision(row, 0.0001)
    assert said.startswith("100.0% (")
    worst = float(said.split("(")[1].split("%")[0])
    # 0 of 900 is up to 0.425 %, 100 of 100 no less than 96.3 %
    assert worst == pytest.approx(100 * 0.963e-4 / (0.963e-4 + 0.00425), abs=0.1)


def test_a_capture_specific_mark_fools_a_random_split_and_not_a_grouped_one() -> None:
    """Each capture is all tunnels or none, and has marks of its own."""
    rng = np.random.default_rng(3)
    base = examples(captures=20, each=20)
    kind = np.repeat([0, 1] * 10, 20).astype(np.int8)
    features = rng.normal(size=base.features.shape).astype(np.float32)
    marks = np.arange(ONES, ONES + 10)
    features[:, marks] = np.repeat(rng.normal(size=(20, 10)) * 50, 20, axis=0)
    families = np.where(kind == 1, "openvpn", "").astype(object)
    marked = Examples(features, kind, families, base.applications, base.groups, base.packets)
    small = RandomForestClassifier(10, max_features=None, min_samples_leaf=3, random_state=1)
    areas = {
        split: train(marked, estimator=small, split=split).report["baselines"]["single tree"]["auc"]
        for split in ("random", "grouped")
    }
    assert areas["random"] > 0.95
    assert areas["grouped"] < 0.8


def test_runs_of_one_scenario_are_told_by_their_names() -> None:
    base = examples(captures=4, each=2)
    names = ["stunnel-tls-1.pcapng", "stunnel-tls-12.pcapng", "ssh-3.pcap.gz", "office.pcapng"]
    runs = replace(base, groups=np.repeat(names, 2).astype(object))
    assert runs.scenarios[::2].tolist() == ["stunnel-tls", "stunnel-tls", "ssh", "office.pcapng"]


def test_a_mark_of_the_scenario_helps_on_its_other_runs_and_not_without_it() -> None:
    """Each scenario has marks of its own, and no tunnel looks like those of another."""
    rng = np.random.default_rng(5)
    base = examples(captures=40, each=20)
    kind = np.repeat([0, 1] * 10, 40).astype(np.int8)
    features = rng.normal(size=base.features.shape).astype(np.float32)
    marks = np.arange(ONES, ONES + 10)
    features[:, marks] = np.repeat(rng.normal(size=(20, 10)) * 50, 40, axis=0)
    names = np.repeat([f"software{i // 2}-{i % 2}.pcap" for i in range(40)], 20).astype(object)
    families = np.where(kind == 1, "openvpn", "").astype(object)
    marked = replace(base, features=features, labels=kind, families=families, groups=names)
    small = RandomForestClassifier(10, max_features=None, min_samples_leaf=3, random_state=1)
    report = train(marked, estimator=small).report
    assert report["in_scope"]["auc"] > 0.85
    assert report["scenario_in_scope"]["auc"] < report["in_scope"]["auc"] - 0.15


def test_detectors_and_model_together_count_what_no_detector_is_sure_of(outcome: Outcome) -> None:
    base = examples(tor=6)
    detected = np.where((base.labels == 1) & (np.arange(base.labels.size) % 2 == 0), 0.999, 0.005)
    small = RandomForestClassifier(10, min_samples_leaf=3, random_state=1)
    report = train(replace(base, detected=detected), estimator=small).report["together"]
    counted = base.families != "tor"
    assert report["all"]["flows"] == counted.sum()
    assert report["hidden"]["tunnels"] == (counted & (base.labels == 1) & (detected < 0.5)).sum()
    assert report["all"]["auc"] > outcome.report["together"]["all"]["auc"]
    assert report["hidden_captures"] <= 12


def test_a_feature_that_few_captures_have_is_no_obstacle() -> None:
    base = examples()
    features = base.features.copy()
    rare = FEATURE_NAMES.index("quic_dcid_bytes")
    features[base.groups != "c0.pcap", rare] = np.nan
    few = HistGradientBoostingClassifier(max_iter=5, early_stopping=False)
    report = train(replace(base, features=features), estimator=few).report
    assert len(report["learning_curve"]) == len(SHARES)
    assert report["in_scope"]["auc"] > 0.9


def test_tunnels_that_all_have_names_leave_nothing_to_measure_and_a_report_of_plain_values(
    tmp_path: Path,
) -> None:
    base = examples(captures=8)
    applications = np.where(base.labels == 1, "openvpn", "tls").astype(object)
    small = RandomForestClassifier(5, min_samples_leaf=3, random_state=1)
    made = train(replace(base, applications=applications), estimator=small)
    assert made.report["importance"] == []
    assert {point["auc"] for point in made.report["learning_curve"]} == {None}
    json.dumps(made.report, allow_nan=False)
    if have_matplotlib():
        write_plots(made, tmp_path)


def test_each_capture_weighs_alike_in_either_class() -> None:
    base = examples(captures=6, each=20)
    weights = capture_weights(base)
    for label in (0, 1):
        mine = base.labels == label
        sums = [weights[mine & (base.groups == name)].sum() for name in np.unique(base.groups)]
        assert max(sums) == pytest.approx(min(sums))
        assert weights[mine].sum() == pytest.approx(mine.sum())


def test_one_seed_gives_one_model(tmp_path: Path) -> None:
    small = RandomForestClassifier(5, random_state=1)
    files = []
    for name in ("a", "b"):
        made = train(examples(), estimator=small, name="m")
        files.append((save_model(made.model, tmp_path / name) / "model.npz").read_bytes())
    assert files[0] == files[1]


def test_a_written_model_is_read_as_it_was(outcome: Outcome, tmp_path: Path) -> None:
    again = load_model(save_model(outcome.model, tmp_path / "mine"))
    columns = [FEATURE_NAMES.index(name) for name in again.features]
    matrix = np.ascontiguousarray(examples(seed=4).features[:, columns])
    assert again.score(matrix).tolist() == outcome.model.score(matrix).tolist()
    assert again.name == "mine"


def test_flows_unlike_all_that_was_seen_are_ranked_but_never_called(outcome: Outcome) -> None:
    columns = [FEATURE_NAMES.index(name) for name in outcome.model.features]
    rng = np.random.default_rng(1)
    strange = rng.choice([-1e6, 1e6], (500, len(columns))).astype(np.float32)
    assert (outcome.model.novelty.trust(strange) < 1).all()
    said = outcome.model.score(strange)
    assert said.max() < 0.5
    assert (np.diff(said[np.argsort(outcome.model.trees.score(strange))]) >= 0).all()
    assert np.unique(said).size > 20


@given(st.floats(-60, 60), st.floats(-60, 60), st.sampled_from([BEYOND, 1.0]))
def test_less_trust_keeps_the_order_and_draws_towards_the_base(
    a: float, b: float, trust: float
) -> None:
    some, full = (shrunk(np.array([a, b]), np.full(2, t)) for t in (trust, 1.0))
    assert (some[0] - some[1]) * (a - b) >= 0
    assert (np.abs(some - BASE_PROBABILITY) <= np.abs(full - BASE_PROBABILITY) + 1e-12).all()
    assert trust == 1 or some.max() < 0.5


def test_a_flow_that_has_a_name_is_the_least_likely_of_those_that_are_not_asked_about() -> None:
    said = unasked(np.array(["dns", "tls", "unknown"], object), ("tls", "unknown"))
    assert said.tolist() == [NAMED_PROBABILITY, BASE_PROBABILITY, BASE_PROBABILITY]


def damaged(folder: Path, **changes: Any) -> Path:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"sha256": "0" * 64}, ModelMismatchError),
        ({"feature_schema": "other"}, ModelMismatchError),
        ({"format": "pickle"}, ModelMismatchError),
        ({"calibration": {"slope": -1.0, "intercept": 0.0}}, ModelError),
        ({"calibration": {}}, ModelError),
        ({"features": ["orig_port"]}, ModelError),
        ({"scope": None}, ModelError),
        ({"novelty": {"limit": "x"}}, ModelError),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    outcome: Outcome, tmp_path: Path, changes: dict[str, Any], kind: type[ModelError]
) -> None:
    folder = damaged(save_model(outcome.model, tmp_path / "m"), **changes)
    with pytest.raises(kind):
        load_model(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04K\x01.", b"x" * 100])
def test_what_is_no_file_of_arrays_is_refused(
    outcome: Outcome, tmp_path: Path, content: bytes
) -> None:
    folder = save_model(outcome.model, tmp_path / "m")
    with pytest.raises(ModelError):
        load_model(rewritten(folder, content))


def test_objects_in_arrays_are_never_loaded(outcome: Outcome, tmp_path: Path) -> None:
    folder = save_model(outcome.model, tmp_path / "m")
    with np.load(folder / "model.npz") as stored:
        arrays = dict(stored)
    arrays["values"] = np.array([object()], object)
    np.savez(folder / "model.npz", **arrays)
    digest = hashlib.sha256((folder / "model.npz").read_bytes()).hexdigest()
    with pytest.raises(ModelError, match="cannot be understood"):
        load_model(damaged(folder, sha256=digest))


def rewritten(folder: Path, content: bytes) -> Path:
    (folder / "model.npz").write_bytes(content)
    return damaged(folder, sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("shape", ["(1 << 40,)", "(1000000000000,)", "(-1,)", "(", "(9,) * 9"])
def test_a_header_that_lies_is_refused(outcome: Outcome, tmp_path: Path, shape: str) -> None:
    folder = save_model(outcome.model, tmp_path / "m")
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    buffer = io.BytesIO()
    with zipfile.ZipFile(folder / "model.npz") as kept, zipfile.ZipFile(buffer, "w") as archive:
        for name in kept.namelist():
            archive.writestr(name, header + bytes(64) if name == "values.npy" else kept.read(name))
    with pytest.raises(ModelError, match="cannot be understood"):
        load_model(rewritten(folder, buffer.getvalue()))


def test_damaged_arrays_are_refused_or_sound(outcome: Outcome, tmp_path: Path) -> None:
    """Bytes changed anywhere, most in the directory of the archive and in headers."""
    folder = save_model(outcome.model, tmp_path / "m")
    content = (folder / "model.npz").read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        where = rng.integers(0, [200, 700, len(content)]) * [1, -1, 1] - [0, 1, 0]
        for at in rng.choice(where, rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        try:
            load_model(rewritten(folder, bytes(changed)))
        except ModelError:
            refused += 1
    assert refused > 100


def test_a_card_of_other_things_is_refused(outcome: Outcome, tmp_path: Path) -> None:
    folder = save_model(outcome.model, tmp_path / "m")
    with pytest.raises(ModelError, match="cannot be shown"):
        card_text(load_model(folder))
    (folder / "card.json").write_text('{"format": ' + "9" * 5000 + "}")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)
    for nothing in (None, 5):
        with pytest.raises(ClassifierError, match="is of type"):
            load_model(nothing)  # type: ignore[arg-type]


def test_too_few_captures_are_refused() -> None:
    with pytest.raises(ModelError, match="too few"):
        train(examples(captures=3))


def test_an_estimator_of_ones_own_judges_a_run() -> None:
    demo = classifier.datasets.demo()
    run = classifier.classify(demo.capture, labels=demo.labels, model=None)
    x, y, _ = run.xy()
    fitted = RandomForestClassifier(20, random_state=1).fit(x.fillna(-1), y)
    by_model = classifier.classify(demo.capture, detectors=[], model=_Filled(fitted))
    assert (by_model.flows["is_vpn"].astype(int) == y).mean() > 0.9
    said = by_model.flows[by_model.flows["is_vpn"]]
    assert set(said["family"]) == {"generic-vpn"}
    assert set(said["method"]) == {"model"}
    assert (said["decided_packet"] > 0).all()


class _Filled:
    """An estimator that fills what is missing."""

    def __init__(self, fitted: RandomForestClassifier) -> None:
        self.fitted, self.classes_ = fitted, fitted.classes_
        self.feature_names_in_ = fitted.feature_names_in_

    def predict_proba(self, table: Any) -> Any:
        return self.fitted.predict_proba(table.fillna(-1))


def test_an_estimator_for_other_features_is_refused() -> None:
    fitted = RandomForestClassifier(2).fit(np.zeros((4, 3)), [0, 1, 0, 1])
    with pytest.raises(ModelMismatchError, match="other features"):
        classifier.classify(classifier.datasets.demo().capture, model=fitted)


def test_a_model_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="is no model"):
        classifier.classify(classifier.datasets.demo().capture, model="no-such-model")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda model, some: train(3), "examples is of type int"),
        (lambda model, some: train(some, seed="1"), "seed is of type str"),
        (lambda model, some: train(some, estimator=3), "the estimator is of type int"),
        (lambda model, some: train(some, name=None), "name is of type NoneType"),
        (lambda model, some: evaluate(3, some), "the model is of type int"),
        (lambda model, some: evaluate(model, None), "examples is of type NoneType"),
    ],
)
def test_an_argument_of_another_type_is_named(call: Any, said: str) -> None:
    with pytest.raises(ClassifierError) as error:
        call(load_model("lab"), examples())
    assert said in str(error.value)

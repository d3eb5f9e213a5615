"""``run.features``, ``run.xy`` and ``run.sequences``: rows where they belong."""

import io
from pathlib import Path

import numpy as np
import pytest

import classifier
from classifier.model import FEATURE_NAMES
from classifier.pipeline import Reading, make_options
from classifier.run import Run

DEMO = classifier.datasets.demo()
CASES = Path(__file__).parents[2] / "conformance" / "default"


@pytest.fixture(scope="module")
def run() -> Run:
    return classifier.classify(DEMO.capture, labels=DEMO.labels)


def test_features_have_a_row_for_each_flow_in_its_place(run: Run) -> None:
    frame = run.features
    assert frame.index.name == "flow_id"
    assert frame.index.tolist() == run.flows["flow_id"].tolist()
    assert frame.columns.tolist() == list(FEATURE_NAMES)
    assert (frame["orig_packets"] == run.flows["orig_packets"]).all()
    assert (frame["resp_bytes"] == run.flows["resp_bytes"]).all()
    assert ((frame["is_tcp"] == 1) == (run.flows["proto"] == "tcp")).all()


def test_features_of_hellos_come_from_the_columns(run: Run) -> None:
    named = run.flows["ja4"] != ""
    assert run.features["ja4_ciphers"].notna().eq(named).all()
    lengths = run.flows["server_name"].str.len()[named]
    assert (run.features["name_characters"][named] == lengths).all()


def test_sequences_are_the_columns_of_the_matrix(run: Run) -> None:
    sequences = run.sequences()
    assert sequences.shape == (len(run.flows), 30, 3)
    assert sequences.dtype == np.float32
    sizes = run.features[[f"ppi_size_{k:02d}" for k in range(1, 31)]].to_numpy()
    np.testing.assert_array_equal(sequences[:, :, 0], sizes)
    np.testing.assert_array_equal(run.sequences(np.int64(5)), sequences[:, :5])
    some = ~np.isnan(sequences[:, :, 1])
    assert set(np.unique(sequences[:, :, 1][some])) == {-1.0, 1.0}
    assert (sequences[:, 0, 2][some[:, 0]] == 0).all()


@pytest.mark.parametrize("n", [0, 31])
def test_sequences_of_a_length_that_is_not_kept_are_refused(run: Run, n: int) -> None:
    with pytest.raises(classifier.ClassifierError, match="no number of packets"):
        run.sequences(n)


def test_xy_are_the_flows_with_a_label(run: Run) -> None:
    features, y, groups = run.xy()
    known = run.flows["label_is_vpn"].notna()
    assert len(features) == known.sum() == y.size == groups.size
    assert y.tolist() == run.flows["label_is_vpn"][known].astype(int).tolist()
    assert set(groups) == {Path(DEMO.capture).name}


def test_xy_without_labels_says_what_to_do() -> None:
    with pytest.raises(classifier.ClassifierError, match="give labels"):
        classifier.classify(DEMO.capture).xy()


def test_run_from_a_file_of_flows_says_that_packets_are_needed(run: Run, tmp_path: Path) -> None:
    run.write(tmp_path / "run.parquet")
    opened = classifier.open_run(tmp_path / "run.parquet")
    with pytest.raises(classifier.CaptureError, match="classify the captures again"):
        opened.features  # noqa: B018


def test_run_from_a_stream_says_that_it_cannot_be_read_again() -> None:
    stream = io.BytesIO(Path(DEMO.capture).read_bytes())
    with pytest.raises(classifier.CaptureError, match="second time"):
        classifier.classify(stream).sequences()


def test_capture_that_has_changed_is_noticed(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pcapng"
    copy.write_bytes(Path(DEMO.capture).read_bytes())
    changed = classifier.classify(copy)
    copy.write_bytes((CASES / "ftp" / "capture.pcap").read_bytes())
    with pytest.raises(classifier.CaptureError, match="have changed"):
        changed.features  # noqa: B018


def test_pairs_reach_over_batches(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    from classifier.flows import table

    monkeypatch.setattr(table, "BATCH_FLOWS", 7)
    assert len(list(Reading([DEMO.capture], make_options()).batches())) > 3
    again = classifier.classify(DEMO.capture)
    np.testing.assert_array_equal(again.features, run.features)

"""Names for what a run finds: learnt from categories, cross-fitted, "other" when unsure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.labels import Label
from vad.stages.extract.records import unseen_record
from vad.stages.infer.evaluation.run import _tell_unknown_kinds
from vad.stages.infer.stream.window import RecentKinds
from vad.stages.train.kinds import KindOfEvent, Kinds
from vad.stages.train.naming import (
    FILE,
    Naming,
    _least,
    describe,
    highest,
    learn_names,
    undirected,
)
from vad.stages.train.run import Run
from vad.store import FeatureStore, Provenance

N_CELLS, DIM = 6, 8
Scores = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Naming, FeatureStore, Scores]:
    """24 videos of 12 snippets: in snippets 4 to 7 of abnormal ones, a cell has another feature."""
    store = FeatureStore.create(tmp_path_factory.mktemp("naming") / "features.zarr")
    random = np.random.default_rng(0)
    labels, scores = [], {}
    for index in range(24):
        video, kind = f"v{index}", ["", "fire", "fight"][index % 3]
        rows = random.normal(size=(12, N_CELLS, DIM)) + 3 * random.normal(size=(1, N_CELLS, DIM))
        if kind:
            rows[4:8, index % N_CELLS, ["fire", "fight"].index(kind)] += 25
        draft = store.draft(video)
        draft.append("places/x", rows.astype(np.float32))
        record = unseen_record(Path(video), 192, 25.0, "repeat-last", decoder="none")
        draft.commit(record, np.arange(192) / 25, {"places/x": Provenance.of({"backbone": "x"})})
        labels.append(Label(video, int(bool(kind)), kind))
        scores[video] = np.full(12, 0.27)
        if kind:
            scores[video][4:8] = 0.73
    labels[1] = Label("v1", 1, "flood")  # one of its kind: not told
    folds = [labels[i::4] for i in range(4)]
    naming = learn_names(store, "places/x", labels, scores, folds)
    assert naming is not None
    return naming, store, scores


def test_kinds_of_held_out_videos_are_named(
    learnt: tuple[Naming, FeatureStore, Scores],
) -> None:
    naming, store, scores = learnt
    assert naming.names == ("fight", "fire")
    # the flood is a fire by its features: wrongly named if it is named at all
    assert naming.n_right >= 14
    assert naming.n_videos == 16
    chances = scores["v2"]
    kinds = naming.of(store.read("v2", "places/x"), chances)
    assert kinds.names == ("normal", "fight", "fire")
    np.testing.assert_allclose(kinds.shares.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(kinds.shares[:, 0], 1 - chances, atol=1e-6)
    kind, share = kinds.of(4, 8)
    assert kind == "fight"
    assert share > 0.5


def test_the_file_of_a_run_holds_the_classifier(
    learnt: tuple[Naming, FeatureStore, Scores], tmp_path: Path
) -> None:
    naming, store, _ = learnt
    naming.save(tmp_path)
    again = Naming.load(tmp_path)
    assert (again.array, again.names, again.least) == ("places/x", naming.names, naming.least)
    rows, scores = store.read("v2", "places/x"), np.linspace(0, 1, 12)
    np.testing.assert_array_equal(again.of(rows, scores).shares, naming.of(rows, scores).shares)
    with pytest.raises(UsageError, match="places/x has another width than in the training videos"):
        again.of(rows[..., :4], scores)
    (tmp_path / FILE).write_bytes(b"no")
    with pytest.raises(UsageError, match="cannot be read as safetensors"):
        Naming.load(tmp_path)


def test_a_stream_names_its_newest_snippet_as_if_the_recent_ones_were_the_video(
    learnt: tuple[Naming, FeatureStore, Scores],
) -> None:
    naming, store, scores = learnt
    rows = store.read("v2", "places/x")
    chances = scores["v2"].astype(np.float32)
    recent = RecentKinds(naming, 5)
    for snippet in range(7):
        arrays = {"places/x": rows[snippet : snippet + 1]}
        recent.add(recent.rows_of(arrays), float(chances[snippet]))
    newest = recent.newest()
    assert newest is not None
    expected = naming.of(rows[2:7], chances[2:7])
    np.testing.assert_allclose(newest.shares[0], expected.shares[-1], rtol=1e-6)
    assert newest.of(0, 1)[0] == "fight"
    recent.clear()
    assert recent.newest() is None
    assert RecentKinds(None, 5).rows_of(arrays) is None


def test_the_kind_of_an_event_under_way_is_that_of_its_snippets() -> None:
    shares = np.array([[0.2, 0.8, 0], [0.6, 0.1, 0.3], [0.1, 0, 0.9]], np.float32)
    kinds = Kinds(("normal", "a", "b"), shares, 0.55)
    event = KindOfEvent()
    assert event.told == ("", None)
    told: list[tuple[str, float | None]] = []
    for snippet in range(3):
        event.add(kinds.at(snippet))
        told.append(event.told)
    # odds against the normal class: 4 and 0; 1/6 and 1/2; 0 and 9
    assert told == [("a", 1.0), ("a", 0.8929), ("b", 0.6951)]
    kind, share = kinds.of(0, 3)
    assert kind == "b"
    assert share == pytest.approx(0.6951, abs=1e-4)


def test_clear_moments_of_an_event_decide_its_kind() -> None:
    shares = np.array([[0.05, 0.9, 0.05], *[[0.6, 0.1, 0.3]] * 5], np.float32)
    assert Kinds(("normal", "a", "b"), shares).of(0, 6)[0] == "a"  # the sums of shares say b
    certain = np.array([[0.0, 1.0, 0.0], *[[0.02, 0.0, 0.98]] * 2], np.float32)
    assert Kinds(("normal", "a", "b"), certain).of(0, 3)[0] == "b"  # no moment decides alone


def test_the_direction_in_which_people_go_tells_no_kind() -> None:
    rows = np.array([[[1.0, 3.0, 2.0, 9.0]], [[3.0, 1.0, 2.0, 9.0]]])
    found = undirected(rows, [(0, 3)])
    assert found.tolist() == [[[3, 2, 1, 9]], [[3, 2, 1, 9]]]
    assert rows[0, 0].tolist() == [1, 3, 2, 9]  # unchanged
    assert undirected(rows, []).tolist() == rows.tolist()


def test_without_two_kinds_nothing_is_learnt_and_rare_ones_are_told(
    learnt: tuple[Naming, FeatureStore, Scores], caplog: pytest.LogCaptureFixture
) -> None:
    _, store, scores = learnt
    labels = [Label(f"v{i}", int(i % 3 > 0), "fire" if i % 3 else "") for i in range(12)]
    labels[1] = Label("v1", 1, "flood+fire")
    with caplog.at_level("INFO", logger="vad"):
        assert learn_names(store, "places/x", labels, scores, [labels[:6], labels[6:]]) is None
    assert "kinds with fewer than 3 videos are not told: flood" in caplog.text
    assert "events are told no kind: no two categories have 3 videos" in caplog.text


def test_kinds_that_a_run_does_not_know_are_told(
    naming_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.open(naming_run)
    assert run.kinds == ("fight", "fire")
    _tell_unknown_kinds(run, ["fire", "", "flood+fight", "riot"])
    assert "tells fight, fire, and not flood, riot: figures of kinds leave these out" in caplog.text
    caplog.clear()
    _tell_unknown_kinds(run, ["fire+fight"])
    assert caplog.text == ""


def test_a_moment_is_described_by_the_cells_that_differ_from_the_ordinary_state() -> None:
    rows = np.zeros((4, 3, 2))
    rows[:, 0] = 5.0  # always so: ordinary
    rows[3, 1, 0], rows[3, 2, 0] = 4.0, 2.0
    found = describe(rows, np.array([0.1, 0.2, 0.3, 0.9]), np.zeros(2), np.ones(2))
    assert found[3].tolist() == [3.0, 0.0, 3.0, 0.0]  # the means over both cells, and the changes
    assert highest(np.array([0.1, 0.9, 0.2, 0.8])).tolist() == [1, 3]


def test_what_is_unsure_is_called_other() -> None:
    shares = np.array([[0.0, 0.55, 0.45]], np.float32)
    assert Kinds(("normal", "a", "b"), shares, 0.5).of(0, 1)[0] == "a"
    assert Kinds(("normal", "a", "b"), shares, 0.6).of(0, 1)[0] == "other"
    # shares and whether they are right: from 0.7 on most is gained, from 0.6 on within one error
    wrong = [(share, False) for share in (0.6, 0.5, 0.4, 0.3)]
    assert _least([(0.9, True), (0.7, True), *wrong]) == 0.6
    assert _least([(0.9, True), (0.7, True), *wrong[:1]]) == 0.0  # one wrong name shows nothing
    assert _least([(0.9, True), (0.4, True)]) == 0.0

"""Training from a person's verdicts on events: reviews.csv."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vad.errors import UsageError
from vad.labels import Label, Review, read_reviews
from vad.stages.extract.records import unseen_record
from vad.stages.infer.scoring import score_stored
from vad.stages.train.bags import Bag, load_bags
from vad.stages.train.reviewed import relabelled, reviewed_bags
from vad.stages.train.training import train
from vad.store import FeatureStore, Provenance

N_SNIPPETS = 10
ANOMALY, LORRY = 2, 7  # snippets in which a fight, or a lorry, is seen
HEADER = "video,start_frame,end_frame,start_s,end_s,verdict\n"


def add_video(store, name, random, *, fight, lorry):
    visual = random.normal(size=(N_SNIPPETS, 1, 8))
    visual[ANOMALY : ANOMALY + 2, 0, 1] += 3 * fight
    visual[LORRY : LORRY + 2, 0, 5] += 4 * lorry
    draft = store.draft(name)
    draft.append("visual/test", visual.astype(np.float16))
    record = unseen_record(Path(name), N_SNIPPETS * 16, 25.0, "repeat-last", decoder="none")
    made = Provenance.of({"backbone": "test", "weights": {"name": "none"}})
    draft.commit(
        replace(record, width=320, height=240),
        np.arange(N_SNIPPETS * 16) / 25,
        {"visual/test": made},
    )


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Labelled videos, in which lorries pass only where there is a fight, and quiet later ones."""
    folder = tmp_path_factory.mktemp("street")
    store, random = FeatureStore.create(folder / "f.zarr"), np.random.default_rng(0)
    rows = ["video,label,split"]
    for i in range(20):
        add_video(store, f"v{i}", random, fight=i % 2, lorry=i % 2)
        rows.append(f"v{i},{i % 2},{'test' if i > 17 else 'train'}")
    for i in range(8):
        add_video(store, f"later{i}", random, fight=False, lorry=True)
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder, store


def review(video, start, stop, verdict):
    """A line of reviews.csv about snippets [start, stop)."""
    return f"{video},{16 * start},{16 * stop},{0.64 * start},{0.64 * stop},{verdict}\n"


def trained(street, tmp_path, lines, **settings):
    folder, store = street
    (tmp_path / "reviews.csv").write_text(HEADER + "".join(lines))
    return train(
        store.path,
        folder / "labels.csv",
        tmp_path / "run",
        reviews=tmp_path / "reviews.csv",
        quiet=True,
        overwrite=True,
        **settings,
    )


def means(run, store):
    """The mean score of lorries that nobody reviewed, and of the fights of the training videos."""
    scores = {s.video: s.snippets for s in score_stored(store, run)}
    lorries = [scores[f"later{i}"][LORRY : LORRY + 2].mean() for i in range(4, 8)]
    fights = [scores[f"v{i}"][ANOMALY : ANOMALY + 2].mean() for i in range(1, 18, 2)]
    return float(np.mean(lorries)), float(np.mean(fights))


@pytest.mark.parametrize("settings", [{}, {"detector": "mil", "validation": 0.25}])
def test_dismissed_false_alarms_lower_the_score_of_others_of_their_kind(street, tmp_path, settings):
    _, store = street
    dismissed = [review(f"later{i}", LORRY, LORRY + 2, "dismissed") for i in range(4)]
    dismissed += [review(f"v{i}", LORRY, LORRY + 2, "dismissed") for i in range(1, 18, 2)]
    before, fights_before = means(trained(street, tmp_path, [], **settings), store)
    run = trained(street, tmp_path, dismissed, **settings)
    after, fights_after = means(run, store)
    assert before > 0.6
    assert after < before - 0.2
    assert fights_after > fights_before - 0.05
    assert run.card.reviews["dismissed"] >= 4
    assert f"{run.card.reviews['dismissed']} dismissed" in run.facts()["reviews"]


def test_dismissed_events_leave_the_bag_of_their_video_and_become_one(street):
    _, store = street
    labels = [Label("v0", 0), Label("v1", 1), Label("v3", 1)]
    reviews = [Review("v1", 30, 64, "dismissed"), Review("later0", 0, 16, "confirmed")]
    bags = reviewed_bags(store, labels, reviews)
    assert bags == [
        Bag("v0", 0),
        Bag("v1", 1, ((0, 1), (4, 10))),
        Bag("v3", 1),
        Bag("v1", 0, ((1, 4),)),
        Bag("later0", 1, ((0, 1),)),
    ]
    packed = load_bags(store, {"visual": "visual/test"}, bags, 10, stretch=False, quiet=True)
    assert packed.lengths.tolist() == [10, 7, 10, 3, 1]
    assert packed.labels.tolist() == [0, 1, 1, 0, 1]
    rows = store.read("v1", "visual/test").astype(np.float32)
    np.testing.assert_array_equal(packed.streams["visual"][1, 0, :7], rows[[0, *range(4, 10)], 0])
    np.testing.assert_array_equal(packed.streams["visual"][3, 0, :3], rows[1:4, 0])


def test_reviews_correct_the_labels_that_they_contradict(street, caplog):
    _, store = street
    labels = [Label("v0", 0), Label("v2", 0), Label("v1", 1), Label("v3", 1)]
    reviews = [Review("v0", 0, 16, "confirmed"), Review("v1", 0, 160, "dismissed")]
    assert [x.label for x in relabelled(store, labels, reviews)] == [1, 0, 0, 1]
    assert "v0: labelled normal, but an event is confirmed" in caplog.text
    with pytest.raises(UsageError, match="no abnormal training video is left"):
        relabelled(store, [Label("v2", 0), Label("v1", 1)], reviews[1:])


def test_a_review_of_a_test_video_is_refused_by_name(street, tmp_path):
    with pytest.raises(UsageError, match="'v19' is a test video"):
        trained(street, tmp_path, [review("v19", 0, 2, "dismissed")])


def test_a_review_beyond_the_end_of_its_video_is_refused(street, tmp_path):
    with pytest.raises(UsageError, match="'later0' has 160 frames, but a review ends at 176"):
        trained(street, tmp_path, [review("later0", 9, 11, "dismissed")])


def test_reviews_of_videos_that_validate_are_left_out(street, tmp_path, caplog):
    _, store = street
    caplog.set_level("INFO")
    labels = {f"v{i}": i % 2 for i in range(18)}
    rows = [f"{v},{x},{'val' if v in ('v0', 'v1') else 'train'}" for v, x in labels.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label,split", *rows]))
    (tmp_path / "reviews.csv").write_text(
        HEADER + review("v1", 7, 9, "dismissed") + review("v3", 7, 9, "dismissed")
    )
    run = train(
        store.path,
        tmp_path / "labels.csv",
        tmp_path / "run",
        detector="mil",
        epochs=1,
        reviews=tmp_path / "reviews.csv",
        quiet=True,
    )
    assert run.card.reviews == {"dismissed": 1}
    assert "1 reviews of videos that validate are not trained on" in caplog.text


def test_the_command_line_reads_the_reviews_beside_the_labels(vad, street, tmp_path, monkeypatch):
    folder, store = street
    monkeypatch.chdir(tmp_path)
    Path("labels.csv").write_text((folder / "labels.csv").read_text())
    Path("reviews.csv").write_text(HEADER + review("later0", 7, 9, "dismissed"))
    code, out, _ = vad("train", store.path, "--detector", "mil", "--epochs", 1, "--out", "run")
    assert code == 0
    assert "reviews    1 dismissed" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("v1,0,16,0,0.6,maybe", "line 2: verdict is 'maybe'; write confirmed or dismissed"),
        ("v1,16,16,0,0.6,dismissed", r"line 2: \[16, 16\) is no interval"),
        ("v1,x,16,0,0.6,dismissed", "line 2: start_frame and end_frame are whole numbers"),
    ],
)
def test_a_mistake_in_reviews_is_told_by_its_line(tmp_path, line, said):
    (tmp_path / "reviews.csv").write_text(HEADER + line)
    with pytest.raises(UsageError, match=said):
        read_reviews(tmp_path / "reviews.csv")


def test_the_last_verdict_on_an_event_counts(tmp_path):
    lines = [review("v1", 0, 1, "confirmed"), review("v1", 0, 1, "dismissed")]
    (tmp_path / "reviews.csv").write_text(HEADER + "".join(lines))
    assert read_reviews(tmp_path / "reviews.csv") == [Review("v1", 0, 16, "dismissed")]

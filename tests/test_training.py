"""From a store and video labels to a run: learns, resumes, refuses."""

import csv
import json
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from vad.config import options
from vad.errors import UsageError
from vad.labels import read_labels
from vad.stages.extract.layouts import import_features
from vad.stages.extract.records import unseen_record
from vad.stages.infer.evaluation.files import save
from vad.stages.infer.evaluation.run import evaluate
from vad.stages.infer.scoring import score_stored
from vad.stages.train.bags import segment_mean
from vad.stages.train.detectors.table import DETECTORS
from vad.stages.train.fit import balanced_batches, mixed, seed_random
from vad.stages.train.run import Run, smooth
from vad.stages.train.training import train
from vad.store import FeatureStore, Provenance
from vad.store.metadata import add_checksums

DIM = 8
QUICK = {
    "detector": "rtfm",
    "epochs": 20,
    "width": 8,
    "lr": 0.01,
    "dropout": 0.2,
    "batch": 4,
    "quiet": True,
}
QUICK["components"] = 6
MADE_BY = {"backbone": "test", "weights": {"name": "none"}, "crops": ["center"], "vad": "0"}
SAID_BY = {"encoder": "test", "vad": "0"}


def write_video(store, name, n_snippets, anomalous, random, kinds=("visual", "text")):
    """Two crops and one text, of noise; anomalous snippets are shifted."""
    features = random.normal(size=(n_snippets, 3, DIM))
    features[anomalous] += 3
    features = features.astype(np.float16)
    n_frames = n_snippets * 16 - 5
    record = unseen_record(Path(name), n_frames, 25.0, "repeat-last", decoder="none")
    draft = store.draft(name)
    if "visual" in kinds:
        draft.append("visual/test", features[:, :2])
    if "text" in kinds:
        draft.append("text/said", features[:, 2])
    provenance = {"visual/test": Provenance.of(MADE_BY), "text/said": Provenance.of(SAID_BY)}
    draft.commit(record, np.arange(n_frames) / 25, provenance)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store, its labels and segments: 24 training and 8 test videos of different lengths."""
    folder = tmp_path_factory.mktemp("data")
    store = FeatureStore.create(folder / "features.zarr")
    random = np.random.default_rng(0)
    labels, segments = ["video,label,split"], ["video,start_frame,end_frame"]
    for index in range(32):
        name, abnormal = f"v{index:02d}", index % 2
        n_snippets = int(random.integers(3, 40))
        start = int(random.integers(0, n_snippets - 2))
        anomalous = slice(start, start + 2) if abnormal else slice(0, 0)
        write_video(store, name, n_snippets, anomalous, random)
        labels.append(f"{name},{abnormal},{'train' if index < 24 else 'test'}")
        if abnormal:
            segments.append(f"{name},{start * 16},{(start + 2) * 16}")
    (folder / "labels.csv").write_text("\n".join(labels))
    (folder / "segments.csv").write_text("\n".join(segments))
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "rtfm"
    return train(data / "features.zarr", data / "labels.csv", out, **QUICK)


@pytest.mark.parametrize(
    ("n", "means"),
    [
        (2, [0, 0, 1, 1]),  # fewer snippets than segments: each edge pair that coincides repeats
        (4, [0, 1, 2, 3]),
        (5, [0, 1, 2, 3.5]),  # edges 0 1 2 3 5
        (13, [1, 4, 7, 10.5]),  # edges 0 3 6 9 13
    ],
)
def test_segments_are_means_of_nearly_equal_stretches(n, means):
    assert segment_mean(np.arange(n, dtype=np.float16).reshape(n, 1), 4).ravel().tolist() == means


def test_scores_are_averaged_with_their_neighbours():
    scores = np.array([0, 3, 6, 0], np.float32)
    assert smooth(scores, 0).tolist() == [0, 3, 6, 0]
    assert smooth(scores, 1).tolist() == [1, 3, 3.75, 2]
    assert smooth(scores[:1], 2).tolist() == [0]


def test_sorted_videos_are_mixed_for_validation():
    order = mixed(np.array([1, 1, 1, 0, 0, 0, 0, 0, 0], np.float32))
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0])[order]
    assert sorted(order.tolist()) == list(range(9))
    assert [labels[i : i + 3].sum() for i in (0, 3, 6)] == [1, 1, 1]
    assert mixed(np.ones(3, np.float32)).tolist() == [0, 1, 2]


def test_every_batch_is_balanced_and_every_video_of_the_larger_class_is_seen_once():
    labels = np.array([0] * 10 + [1] * 3, np.float32)
    batches = list(balanced_batches(labels, 5, np.random.default_rng(0)))
    assert [labels[b].tolist() for b in batches] == [[0] * 3 + [1] * 3] * 4
    normal = np.concatenate([b[:3] for b in batches])
    assert set(normal) == set(range(10))


def test_seeding_gives_the_random_numbers_of_torch():
    seed_random(5, torch.device("cpu"))
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


def test_training_on_video_labels_finds_the_anomalous_frames(data, run):
    figures = evaluate(run.path, data / "segments.csv", store=data / "features.zarr").figures
    assert figures.frame.auc > 0.9
    assert figures.abnormal_only.auc > 0.9
    assert figures.counts.n_videos == 8


def test_a_run_holds_all_that_is_needed_to_use_it(run):
    card = json.loads((run.path / "card.json").read_text())
    assert card["schema"] == "vad.run/2"
    assert card["training"]["seed"] == 0
    assert card["members"][0]["streams"][0]["provenance"] == MADE_BY
    assert card["selection"]["on"] == "validation"
    parts = {part: {x["video"] for x in videos} for part, videos in card["videos"].items()}
    assert {part: len(videos) for part, videos in parts.items()} == {
        "train": 20,
        "validation": 4,
        "test": 8,
    }
    assert not parts["train"] & parts["validation"]
    assert card["selection"]["videos"] == {"normal": 2, "abnormal": 2}
    assert card["selection"]["doubt"].startswith("only 2 normal and 2 abnormal videos")
    assert 0 < card["threshold"] < 1
    assert sorted(p.name for p in run.path.iterdir()) == [
        "card.json",
        "history.csv",
        "members",
    ]
    assert (run.path / "members" / "0" / "detector.safetensors").is_file()


def test_the_chosen_epoch_is_the_best_on_validation(run):
    with (run.path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["epoch"]) for r in rows] == list(range(1, QUICK["epochs"] + 1))
    ripe = rows[QUICK["epochs"] // 2 :]
    best = max(float(r["validation/video_auc"]) for r in ripe)
    latest = max(int(r["epoch"]) for r in ripe if float(r["validation/video_auc"]) == best)
    assert run.card.selection.epoch == latest


def scores_alike(store, trained, loaded):
    for one, two in zip(score_stored(store, trained), score_stored(store, loaded), strict=True):
        assert one.snippets.tolist() == two.snippets.tolist()
        assert len(two.frames) == store.record(two.video).n_frames


def test_an_opened_run_scores_as_the_trained_one(data, run):
    scores_alike(FeatureStore.open(data / "features.zarr"), run, Run.open(run.path))


STREAMS = {
    "visual": {"visual": "test"},
    "text": {"text": "said"},
    "both": {"visual": "test", "text": "said"},
}
ALONE = {"visual": {"fusion": "visual"}, "text": {"fusion": "text"}, "both": {}}


@pytest.mark.parametrize("streams", ["text", "both"])
def test_training_on_text_finds_the_anomalous_frames(data, tmp_path, streams):
    train(data / "features.zarr", data / "labels.csv", tmp_path / "r", **QUICK, **STREAMS[streams])
    figures = evaluate(tmp_path / "r", data / "segments.csv", store=data / "features.zarr").figures
    assert figures.abnormal_only.auc > 0.9


def test_a_run_that_knows_test_videos_is_no_start(data, tmp_path, caplog):
    """Nor is a run that was trained from one. That it knows validation videos is told."""
    store, labels = data / "features.zarr", data / "labels.csv"
    swap = {"train": "test", "test": "train"}
    rows = [line.split(",") for line in labels.read_text().splitlines()[1:]]
    for name, lines in (
        ("swapped", [f"{video},{label},{swap[part]}" for video, label, part in rows]),
        ("untested", [f"{video},{label},{part}" for video, label, part in rows if part == "train"]),
    ):
        (tmp_path / f"{name}.csv").write_text("\n".join(["video,label,split", *lines]))
    settings = {"detector": "topk", "epochs": 1, "validation": 0, "visual": "test", "quiet": True}
    train(store, tmp_path / "swapped.csv", tmp_path / "leak", **settings)
    train(
        store,
        tmp_path / "untested.csv",
        tmp_path / "next",
        weights=str(tmp_path / "leak"),
        **settings,
    )
    for start in ("leak", "next"):
        with pytest.raises(UsageError, match=f"{start} was trained or chosen on 8 of the test vid"):
            train(store, labels, tmp_path / "run", weights=str(tmp_path / start), **settings)
    caplog.clear()
    settings |= {"validation": 0.25, "weights": str(tmp_path / "next")}
    train(store, tmp_path / "untested.csv", tmp_path / "again", **settings)
    assert "next was trained or chosen on 6 of the 6 validation videos" in caplog.text


def store_of(folder, kinds):
    store = FeatureStore.create(folder / "features.zarr")
    for index, anomalous in enumerate([slice(0, 0), slice(0, 2)] * 4):
        write_video(store, f"v{index}", 6, anomalous, np.random.default_rng(index), kinds)
    labels = [f"v{index},{index % 2}" for index in range(8)]
    (folder / "labels.csv").write_text("\n".join(["video,label", *labels]))
    return store, folder / "labels.csv"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A store of eight videos with arrays of both kinds, and its labels."""
    return store_of(tmp_path_factory.mktemp("small"), ("visual", "text"))


@pytest.mark.parametrize(
    ("detector", "streams"),
    [(name, kind) for name in sorted(DETECTORS) for kind in ("visual", "text")]
    + [(name, "both") for name in ("rtfm", "tevad", "etevad")],
)
def test_every_detector_trains_is_saved_and_scores(small, tmp_path, detector, streams):
    store, labels = small
    own = {"width": 8} if "width" in options(DETECTORS[detector].settings) else {}
    own |= ALONE[streams] if DETECTORS[detector].text else {}
    settings = {"detector": detector, "epochs": 1, "components": 4, **STREAMS[streams], **own}
    trained = train(store.path, labels, tmp_path / "run", quiet=True, **settings)
    assert trained.names == {kind: f"{kind}/{name}" for kind, name in STREAMS[streams].items()}
    scores_alike(store, trained, Run.open(tmp_path / "run"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Eight videos of CLIP features, imported from files as VadCLIP's: float16, five crops."""
    folder = tmp_path_factory.mktemp("clip")
    random = np.random.default_rng(0)
    for index in range(8):
        for crop in range(5):
            rows = random.normal(size=(6, 512)).astype(np.float16)
            np.save(folder / f"v{index}__{crop}.npy", rows)
    labels = [f"v{index},{index % 2},{('normal', 'fight')[index % 2]}" for index in range(8)]
    (folder / "labels.csv").write_text("\n".join(["video,label,category", *labels]))
    import_features(folder, folder / "features.zarr", layout="vadclip", quiet=True)
    return FeatureStore.open(folder / "features.zarr"), folder / "labels.csv"


@pytest.mark.parametrize("detector", sorted(DETECTORS))
def test_every_detector_reads_clip_features_unchanged(clip, tmp_path, detector):
    store, labels = clip
    own = {"width": 8} if "width" in options(DETECTORS[detector].settings) else {}
    own |= ALONE["visual"] if DETECTORS[detector].text else {}
    own |= {"length": 8} if DETECTORS[detector].pads else {}  # chunks as short as the videos
    scale = {} if detector == "normality" else {"scale": "none"}  # it always standardises
    settings = {"detector": detector, "visual": "clip", "epochs": 1, "segments": 8, **own, **scale}
    trained = train(store.path, labels, tmp_path / "run", quiet=True, **settings)
    assert trained.names == {"visual": "visual/clip"}
    rows = store.read("v1", "visual/clip")
    assert rows.dtype == np.float16
    if scale:
        seen, _ = trained.only.inputs.of_arrays({"visual": rows})
        assert np.array_equal(seen[0].numpy(), rows.astype(np.float32).swapaxes(0, 1))
    for scores in score_stored(store, Run.open(tmp_path / "run")):
        assert ((scores.snippets >= 0) & (scores.snippets <= 1)).all()
        assert len(scores.snippets) == 6


@pytest.mark.parametrize(
    ("kinds", "detector", "read"),
    [
        (("visual",), "rtfm", {"visual": "visual/test"}),
        (("text",), "rtfm", {"text": "text/said"}),  # text alone, where there is nothing else
        (("visual", "text"), "rtfm", {"visual": "visual/test"}),
        (("visual", "text"), "tevad", {"visual": "visual/test", "text": "text/said"}),
    ],
)
def test_what_is_read_by_default(tmp_path, kinds, detector, read):
    store, labels = store_of(tmp_path, kinds)
    run = train(store.path, labels, tmp_path / "r", detector=detector, epochs=1, quiet=True)
    assert run.names == read
    made = {s.kind: s.provenance.document for s in run.card.streams.values()}
    assert made == {kind: {"visual": MADE_BY, "text": SAID_BY}[kind] for kind in read}


def test_text_that_is_not_there_is_asked_for(tmp_path):
    store, labels = store_of(tmp_path, ("visual",))
    for wanted in ({"detector": "tevad"}, {"text": "minilm"}):
        with pytest.raises(UsageError, match="holds no text features; make some first: vad cap"):
            train(store.path, labels, tmp_path / "r", **wanted)


def test_streams_that_differ_in_snippets_name_the_video(tmp_path):
    store, labels = store_of(tmp_path, ("visual", "text"))
    array = zarr.open_array(str(store.path / "v5" / "text" / "said"))
    array.resize((5, DIM))
    add_checksums(store.path / "v5")  # as one who writes stores would leave it
    with pytest.raises(UsageError, match="of 'v5' .* differ in snippets: visual/test has 6, text"):
        train(store.path, labels, tmp_path / "r", detector="tevad", quiet=True)


def test_the_same_seed_gives_the_same_losses_and_weights_and_another_seed_others(data, tmp_path):
    def written(name, seed):
        args = (data / "features.zarr", data / "labels.csv", tmp_path / name)
        train(*args, **{**QUICK, "epochs": 3, "seed": seed})
        return [
            (args[2] / f).read_bytes() for f in ("history.csv", "members/0/detector.safetensors")
        ]

    first, again, other = written("first", 0), written("again", 0), written("other", 1)
    assert again == first
    assert other[0] != first[0]
    assert other[1] != first[1]


@pytest.fixture(scope="module")
def interrupted(data, tmp_path_factory):
    """A folder with a run that was interrupted after seven epochs."""
    from vad.stages.train import history

    add = history.History.add

    def interrupt_after_seven(self, row):
        add(self, row)
        if row["epoch"] == 7:
            raise KeyboardInterrupt

    out = tmp_path_factory.mktemp("interrupted") / "rtfm"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history.History, "add", interrupt_after_seven)
        with pytest.raises(KeyboardInterrupt):
            train(data / "features.zarr", data / "labels.csv", out, **QUICK)
    return out


@pytest.fixture
def unfinished(data, interrupted, tmp_path):
    """A copy of the interrupted run, and how to train into it."""
    out = tmp_path / "rtfm"
    shutil.copytree(interrupted, out)

    def go_on(**settings):
        return train(data / "features.zarr", data / "labels.csv", out, **{**QUICK, **settings})

    return out, go_on


def test_an_interrupted_run_resumed_equals_one_that_was_not(run, unfinished):
    out, go_on = unfinished
    with pytest.raises(UsageError, match="was begun with another setting lr; use the same"):
        go_on(resume=True, lr=0.5)
    go_on(resume=True)
    for name in ("members/0/detector.safetensors", "history.csv"):
        assert (out / name).read_bytes() == (run.path / name).read_bytes()


def flip_the_last_bit(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


RESUME_DAMAGES = {
    "no plan": ("plan.json", Path.unlink, "has no plan.json, which says how its run was begun"),
    "cut plan": ("plan.json", lambda p: p.write_text(p.read_text()[:99]), "plan.json cannot be"),
    "empty plan": ("plan.json", lambda p: p.write_text("{}"), "plan.json: schema is None"),
    "cut state": ("state.safetensors", lambda p: os.truncate(p, 999), "state.safetensors cannot"),
    "flipped bit": ("state.safetensors", flip_the_last_bit, "state.safetensors is not what was"),
    "no history": ("history.csv", Path.unlink, "history.csv lacks some of the 7 epochs"),
    "cut history": ("history.csv", lambda p: os.truncate(p, 300), "history.csv"),
    "history of words": ("history.csv", lambda p: p.write_text("epoch\none\n"), "line 2: could"),
}


@pytest.mark.parametrize(("name", "damage", "message"), RESUME_DAMAGES.values(), ids=RESUME_DAMAGES)
def test_a_damaged_run_is_not_gone_on_with_and_what_to_do_is_told(
    unfinished, name, damage, message
):
    out, go_on = unfinished
    damage(out / name)
    with pytest.raises(UsageError) as told:
        go_on(resume=True)
    assert str(told.value).startswith(f"{out} cannot be gone on with: ")
    assert message in str(told.value)
    assert str(told.value).endswith("; train anew without --resume")
    assert "\n" not in str(told.value)
    assert go_on(epochs=1).card.selection.epoch == 1  # as the message says


def test_fewer_epochs_than_are_done_are_refused(unfinished):
    _, go_on = unfinished
    for epochs in (3, 7):  # of the first half none is chosen, and that was the half of 20
        with pytest.raises(UsageError, match="trained for 7 epochs.*set --epochs to 8 or more"):
            go_on(resume=True, epochs=epochs)
    assert go_on(resume=True, epochs=8).card.selection.epoch == 8


def test_a_training_that_begins_anew_says_so_and_leaves_nothing_of_the_old(
    unfinished, caplog, monkeypatch
):
    from vad.stages.train import history

    def fail(*_):
        raise OSError("a crash: no state is saved")

    out, go_on = unfinished
    caplog.set_level(logging.INFO, "vad")
    with monkeypatch.context() as patch:
        patch.setattr(history.History, "add", fail)
        with pytest.raises(OSError, match="a crash"):
            go_on(epochs=1, lr=0.02)
    gone = f"{out}: training begins anew; the unfinished run that was there is gone"
    assert gone in caplog.messages
    go_on(epochs=1, lr=0.02, resume=True)  # of the first run nothing is left to go on with
    assert f"{out} holds no run to go on with: training begins anew" in caplog.messages


def test_evaluation_writes_figures_and_plots(data, run, tmp_path):
    evaluation = evaluate(run.path, data / "segments.csv", store=data / "features.zarr")
    save(evaluation, tmp_path)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["frame"] == asdict(evaluation.figures.frame)
    assert written["selected_on"] == "validation"
    assert len(written["videos"]) == 8
    plots = {p.name for p in tmp_path.glob("*.png")}
    assert plots >= {"roc.png", "pr.png", "scores.png", "confusion.png", "training.png"}
    assert len(list((tmp_path / "videos").glob("*.png"))) == 8


def test_truth_that_contradicts_the_labels_is_refused(data, run, tmp_path):
    wrong = tmp_path / "segments.csv"
    wrong.write_text("video,start_frame,end_frame\nv24,0,16\n")
    with pytest.raises(UsageError, match="'v24' is labelled normal, but 16 of its"):
        evaluate(run.path, wrong, store=data / "features.zarr")
    wrong.write_text("video,start_frame,end_frame\nv25,0,16\n")
    with pytest.raises(UsageError, match="'v27' is labelled abnormal, but none of"):
        evaluate(run.path, wrong, store=data / "features.zarr")


def test_features_of_other_settings_are_refused(data, run, tmp_path):
    other = FeatureStore.create(tmp_path / "other.zarr")
    write_video(other, "v00", 4, slice(0, 0), np.random.default_rng(0))
    path = next((other.path / "v00" / "visual" / "test").glob("zarr.json"))
    path.write_text(path.read_text().replace('"test"', '"another"'))
    add_checksums(other.path / "v00")
    with pytest.raises(UsageError, match="with backbone 'test', 'v00' in .* has 'another'"):
        list(score_stored(other, run))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"detector": "rtmf"}, "no detector named 'rtmf'.*did you mean 'rtfm'"),
        ({"lr": -1}, "lr: -1.0 is below 0"),
        (
            {"detector": "rtfm", "colour": 3},
            "neither vad train nor rtfm has a setting 'colour'; rtfm has: .*margin",
        ),
        ({"visual": "i3d"}, "holds no visual array 'i3d'; it has: test"),
        ({"fold": "2"}, "no fold '2' in .*labels.csv; there are"),
    ],
)
def test_wrong_settings_are_refused(data, tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        train(data / "features.zarr", data / "labels.csv", tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_is_told(data, tmp_path):
    with pytest.raises(UsageError, match="training diverged: .*scores or losses are no numbers"):
        train(
            *(data / "features.zarr", data / "labels.csv", tmp_path),
            **{**QUICK, "epochs": 1, "detector": "mgfn", "margin": 1e30},
        )


def test_a_finished_run_is_not_overwritten_by_accident(data, run):
    with pytest.raises(UsageError, match="holds a finished run; choose another --out, or --over"):
        train(data / "features.zarr", data / "labels.csv", run.path, **QUICK)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no run: it has no card.json; name a folder that vad"):
        Run.open(tmp_path)


def test_a_run_shows_itself_and_takes_labels_that_are_no_file(tmp_path):
    store, labels = store_of(tmp_path, ("visual",))
    given = {label.video: label.label for label in read_labels(labels)}
    quick = {"detector": "rtfm", "epochs": 1, "quiet": True, "validation": 0}
    run = train(store.path, given, tmp_path / "<b>", **quick)
    assert run.card.labels is None
    for shown in (repr(run), run._repr_html_()):
        for words in ("rtfm, ", "visual/test (8 values a snippet)", "8 train", "0.5000"):
            assert words in shown
    assert len(repr(run).splitlines()) < 10
    assert "<b>" not in run._repr_html_()

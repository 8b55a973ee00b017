"""What an evaluation refuses, and what it says of itself."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from vad.datasets import read_dataset
from vad.errors import UsageError
from vad.labels import Label, Segment, frame_truth, match
from vad.stages.extract.records import unseen_record
from vad.stages.infer.evaluation.run import check_comparable, evaluate, pool
from vad.stages.infer.evaluation.truth import truth_of_file, truth_of_segments
from vad.stages.train.training import train
from vad.store import FeatureStore, Provenance

QUICK = {"detector": "rtfm", "epochs": 2, "width": 4, "batch": 4, "quiet": True}
MADE_BY = {"backbone": "test", "weights": {"name": "none"}, "crops": ["center"], "vad": "0"}
RECORD = unseen_record(Path("a.mp4"), 80, 25.0, "repeat-last", decoder="none")


def put(store, video, n_frames=80, content=None):
    """A stored video; abnormal ones (a...) have their event in frames 32 to 64."""
    random = np.random.default_rng(sum(map(ord, video)))
    features = random.normal(size=(-(-n_frames // 16), 1, 6))
    features[2:4] += 3 * video.startswith("a")
    draft = store.draft(video)
    draft.append("visual/test", features.astype(np.float16))
    record = replace(
        RECORD, n_frames=n_frames, duration_s=n_frames / 25, source_sha256=content or video
    )
    draft.commit(record, np.arange(n_frames) / 25, {"visual/test": Provenance.of(MADE_BY)})


def write(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of 12 training and 4 test videos, a run, and one that was selected on test."""
    folder = tmp_path_factory.mktemp("protocol")
    store = FeatureStore.create(folder / "features.zarr")
    names = [f"{kind}{i}" for i in range(8) for kind in "na"]
    for name in names:
        put(store, name)
    rows = [
        f"{name},{int(name[0] == 'a')},{'train' if int(name[1]) < 6 else 'test'},{int(name[1]) % 3}"
        for name in names
    ]
    labels = write(folder / "labels.csv", "video,label,split,fold", rows)
    write(
        folder / "segments.csv",
        "video,start_frame,end_frame",
        [f"{name},32,64" for name in names if name[0] == "a"],
    )
    train(store.path, labels, folder / "honest", **QUICK)
    train(store.path, labels, folder / "cheat", select="test", **QUICK)
    for fold in "012":
        train(store.path, labels, folder / f"fold{fold}", fold=fold, **QUICK)
    return folder


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a6,1", "n6,0", "gone,0"], "1 videos are not in the store: 'gone'; extract them, or"),
        (["a6,1", "n6,0", "a6,1"], "line 4: 'a6' is labelled twice"),
        (["a6,1", "n6,0", "a6.mp4,1"], "'a6' and 'a6.mp4' are one stored video, 'a6'"),
        (["a6,1", "n6,0", "a7,0"], "'a7' is labelled normal, but 32 of its frames are anomalous"),
        (["a6,1", "n6,1"], "'n6' is labelled abnormal, but none of its frames is anomalous"),
    ],
)
def test_lists_of_test_videos_that_are_wrong_are_refused(made, tmp_path, rows, message):
    labels = write(tmp_path / "labels.csv", "video,label", rows)
    with pytest.raises(UsageError, match=message):
        evaluate(made / "honest", made / "segments.csv", labels=labels)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_video_that_was_trained_or_selected_on_is_no_test_video(made, tmp_path, part):
    card = json.loads((made / "honest" / "card.json").read_text())
    video = card["videos"][part][0]
    rows = ["a6,1", "n6,0", f"{video['video']},{video['label']}"]
    labels = write(tmp_path / "labels.csv", "video,label", rows)
    expected = f"'{video['video']}' is a {part} video of .*honest: no figure .*leave it out, or say"
    with pytest.raises(UsageError, match=expected):
        evaluate(made / "honest", made / "segments.csv", labels=labels)
    # asked for in so many words it is measured, and marked
    found = evaluate(made / "honest", made / "segments.csv", split=part)
    assert found.to_dict()["stamp"] == f"measured on {part} videos"


def test_a_test_video_that_was_not_stored_for_the_training_is_missed_in_the_test(tmp_path):
    store = FeatureStore.create(tmp_path / "features.zarr")
    names = [f"{kind}{i}" for i in range(3) for kind in "na"]
    for name in names:
        put(store, name)
    rows = [f"{n},{int(n[0] == 'a')},{'test' if n[1] == '2' else 'train'}" for n in names]
    labels = write(tmp_path / "l.csv", "video,label,split", [*rows, "a9,1,test"])
    train(store.path, labels, tmp_path / "run", validation=0, **QUICK)
    segments = write(tmp_path / "s.csv", "video,start_frame,end_frame", ["a2,0,9", "a9,0,9"])
    with pytest.raises(UsageError, match="test videos of .*1 videos are not in the store: 'a9'"):
        evaluate(tmp_path / "run", segments)


def test_the_loss_of_videos_is_the_one_that_training_tells(made):
    """On the validation videos it must be the loss of the chosen epoch."""
    found = evaluate(made / "honest", made / "segments.csv", split="validation", device="cpu")
    told = found.runs[0].card.selection.figures["validation/loss"]
    assert found.loss == pytest.approx(told, rel=1e-5)
    assert found.to_dict()["loss"] == found.loss


def test_the_same_file_under_two_names_is_told(made, tmp_path, caplog):
    store = FeatureStore.create(tmp_path / "features.zarr")
    put(store, "n0")
    put(store, "n6", content="n0")
    put(store, "a6")
    labels = write(tmp_path / "labels.csv", "video,label", ["a6,1", "n6,0"])
    evaluate(made / "honest", made / "segments.csv", store=store.path, labels=labels)
    assert "'n6' has the content of the train" in caplog.text.replace("validation", "train")


def test_selected_on_test_is_said_on_every_output(made, vad, tmp_path):
    card = json.loads((made / "cheat" / "card.json").read_text())
    assert card["selection"]["on"] == "test"
    assert set(card["selection"]["figures"]) >= {"test/video_auc", "test/loss"}
    runs = made / "honest", made / "cheat"
    code, out, _ = vad("evaluate", *runs, "--segments", made / "segments.csv", "--out", tmp_path)
    assert code == 0
    heads, stamps, *_ = out.splitlines()
    assert heads.split() == ["honest", "cheat"]
    assert stamps.strip() == "SELECTED ON TEST"
    honest, cheat = (run / "evaluation-test" for run in runs)
    warning = '<p class="warn">cheat: selected on test'
    for folder, marked in ((tmp_path, True), (cheat, True), (honest, False)):
        assert (warning in (folder / "evaluation.html").read_text()) is marked
        assert ("selected on test" in (folder / "metrics.json").read_text()) is marked


def test_an_evaluation_shows_its_figures(made):
    found = evaluate(made / "cheat", made / "segments.csv")
    head, frames, *rest = repr(found).splitlines()
    assert head.startswith("Evaluation of cheat on ")
    assert head.endswith("; SELECTED ON TEST")
    assert f"AUC {found.figures.frame.auc:.4f}" in frames
    assert len(rest) == 3
    assert f"<td>{found.figures.video.auc:.4f}" in found._repr_html_()
    pandas = pytest.importorskip("pandas", reason="pip install pandas")
    table = found.to_dataframe().set_index("figure")
    assert isinstance(table, pandas.DataFrame)
    value, low, high = table.loc["frame.auc"]
    assert (value, (low, high)) == (found.figures.frame.auc, found.figures.intervals["frame.auc"])


def test_folds_are_pooled_into_one_result(made, vad, tmp_path):
    folds = [evaluate(made / f"fold{i}", made / "segments.csv") for i in range(3)]
    whole = pool(folds)
    assert sorted(label.video for label in whole.labels) == sorted(
        f"{kind}{i}" for i in range(8) for kind in "na"
    )
    assert whole.figures.counts.n_frames == 16 * 80
    runs = [made / f"fold{i}" for i in range(3)]
    code, _, _ = vad(
        *("evaluate", *runs, "--pool", "--segments", made / "segments.csv", "--out", tmp_path)
    )
    assert code == 0
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["frame"] == asdict(whole.figures.frame)
    assert len(written["runs"]) == 3
    with pytest.raises(UsageError, match="honest holds out no fold; train with --fold"):
        pool([folds[0], evaluate(made / "honest", made / "segments.csv")])
    with pytest.raises(UsageError, match="have other test videos: .*only in .*with --pool"):
        check_comparable(folds)


def test_folds_of_several_seeds_are_pooled_for_each_seed(made, vad, tmp_path):
    given = ("--store", made / "features.zarr", "--segments", made / "segments.csv")
    runs = [tmp_path / f"fold{fold}" / f"seed-{seed}" for fold in range(3) for seed in range(2)]
    for run in runs:
        fold, seed = run.parent.name[-1], int(run.name[-1])
        train(*(made / "features.zarr", made / "labels.csv", run), fold=fold, seed=seed, **QUICK)
    code, out, err = vad("evaluate", *runs, "--pool", *given)
    assert code == 0, err
    assert "pooled folds, 2 runs\n" in out
    written = [
        json.loads((tmp_path / "folds-test" / f"seed-{seed}" / "metrics.json").read_text())
        for seed in range(2)
    ]
    assert [[Path(run).name for run in each["runs"]] for each in written] == [
        ["seed-0"] * 3,
        ["seed-1"] * 3,
    ]
    assert [each["counts"]["n_frames"] for each in written] == [16 * 80] * 2
    aucs = [each["frame"]["auc"] for each in written]
    mean, deviation = np.mean(aucs), np.std(aucs)
    assert deviation > 0
    assert f"{mean:.4f} ({deviation:.4f})" in next(x for x in out.splitlines() if "ROC-AUC" in x)


def test_runs_on_stores_of_other_lengths_are_not_compared(made):
    one = evaluate(made / "fold0", made / "segments.csv")
    longer = replace(one, truth=[np.pad(truth, (0, 8)) for truth in one.truth])
    with pytest.raises(UsageError, match="has 80 frames in the store .*, 88 in that .*--frames"):
        check_comparable([one, longer])


def test_a_fold_twice_or_of_other_settings_is_not_pooled(made, tmp_path):
    fold = evaluate(made / "fold0", made / "segments.csv")
    train(made / "features.zarr", made / "labels.csv", tmp_path / "again", fold="0", **QUICK)
    elsewhere = {"store": made / "features.zarr"}
    again = evaluate(tmp_path / "again", made / "segments.csv", **elsewhere)
    with pytest.raises(UsageError, match="'a0' is tested by .*fold0 and by .*again|'n0' is tested"):
        pool([fold, again])
    train(
        *(made / "features.zarr", made / "labels.csv", tmp_path / "other"),
        **{**QUICK, "fold": "1", "lr": 0.1},
    )
    with pytest.raises(UsageError, match="other was trained with other settings than .*fold0"):
        pool([fold, evaluate(tmp_path / "other", made / "segments.csv", **elsewhere)])


def test_the_page_needs_nothing_and_escapes_names(tmp_path):
    store = FeatureStore.create(tmp_path / "features.zarr")
    names = ["a<script>alert(1)", "n&amp;", "a1", "n1"]
    for name in names:
        put(store, name)
    labels = write(tmp_path / "l.csv", "video,label", [f"{n},{int(n[0] == 'a')}" for n in names])
    segments = write(
        tmp_path / "s.csv", "video,start_frame,end_frame", ["a<script>alert(1),32,64", "a1,32,64"]
    )
    run = train(store.path, labels, tmp_path / "run", validation=0, **QUICK)
    from vad.stages.infer.evaluation.files import save

    save(evaluate(run.path, segments, labels=labels, split="train"), tmp_path / "out")
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "<script" not in page
    assert "a&lt;script&gt;alert(1)" in page
    assert "n&amp;amp;" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("<figure>") == 4
    # frames 32 to 64 of 80, on a curve 1000 wide
    assert '<rect x="400.0" width="400.0"' in page


def test_the_page_begins_with_the_verdict_and_fits_a_phone_and_the_dark(made, tmp_path, browser):
    from vad.stages.infer.evaluation.files import save

    found = evaluate(made / "honest", made / "segments.csv")
    save(found, tmp_path)
    counts = found.figures.video.at_threshold.confusion
    for scheme, ground in (("light", "rgb(250, 249, 247)"), ("dark", "rgb(18, 20, 24)")):
        opened = browser.new_page(
            viewport={"width": 360, "height": 740}, color_scheme=scheme, offline=True
        )
        opened.goto((tmp_path / "evaluation.html").as_uri())
        first = opened.locator("header + *")
        assert first.get_attribute("class") == "verdict"
        assert first.locator(".first").inner_text() == (
            f"At its threshold, honest finds {counts.tp} of 2 abnormal videos and raises "
            f"{counts.fp} of 2 normal ones."
        )
        assert opened.evaluate("document.documentElement.scrollWidth") == 360
        assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == ground
        assert all(opened.locator("th").all_inner_texts())
        opened.close()


# --- arrays of others


@pytest.fixture(scope="module")
def ucf(data):
    """UCF-Crime's test videos as stored: labels in the official order, records, segments."""
    found = read_dataset("ucf-crime", data / "ucf-crime")
    labels = [label for label in found.labels if label.split == "test"]
    with (data / "ucf-crime" / "test_frames.csv").open() as file:
        n_frames = {row["video"]: int(row["frames"]) for row in csv.DictReader(file)}
    records = [replace(RECORD, n_frames=n_frames[label.video]) for label in labels]
    return labels, records, found.segments


def in_clips(labels, records, segments):
    """An array as the public repositories have them."""
    lengths = [-(-r.n_frames // 16) * 16 for r in records]
    pairs = zip(labels, lengths, strict=True)
    return np.concatenate([frame_truth(x.video, n, segments) for x, n in pairs])


def saved(tmp_path, array):
    np.save(tmp_path / "gt.npy", array.astype(np.float32))
    return tmp_path / "gt.npy"


@pytest.mark.parametrize(
    ("shape", "kind"), [("(1000000000000,)", "<f8"), ("(-1,)", "|u1"), ("(3,)", "|O"), ("x", "|u1")]
)
def test_an_array_whose_header_lies_is_refused_before_memory_is_taken(tmp_path, shape, kind):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path = tmp_path / "gt.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(9))
    with pytest.raises(UsageError, match="gt.npy is not a NumPy array: "):
        truth_of_file([], [], path)


def test_an_annotated_end_beyond_the_video_is_told(caplog):
    labels, records = [Label(f"v{i}", 1) for i in range(5)], [RECORD] * 5
    late = [Segment(f"v{i}", 10, RECORD.n_frames + 20) for i in range(4)]
    truth = truth_of_segments(labels, records, [*late, Segment("v4", 0, 9)], "s.csv")
    assert [one.sum() for one in truth] == [RECORD.n_frames - 10] * 4 + [9]
    (said,) = caplog.messages
    assert said.startswith("s.csv: 4 segments end after the last frame, where they are cut: 'v0' (")
    assert said.count("'v") == 3


def test_an_array_in_the_order_of_the_labels_is_the_truth_of_the_annotations(ucf, tmp_path):
    labels, records, segments = ucf
    array = in_clips(labels, records, segments)
    assert (len(array), int(array.sum())) == (1_114_144, 84_343)
    truth = truth_of_file(labels, records, saved(tmp_path, array))
    built = truth_of_segments(labels, records, segments, "annotations")
    assert all(np.array_equal(a, b) for a, b in zip(truth, built, strict=True))
    frames = truth_of_file(labels, records, saved(tmp_path, np.concatenate(built)), segments)
    assert [len(one) for one in frames] == [r.n_frames for r in records]


def test_an_array_in_another_order_is_refused_with_the_order_that_fits(ucf, tmp_path):
    labels, records, segments = ucf
    order = sorted(range(len(labels)), key=lambda i: -labels[i].label)
    array = in_clips([labels[i] for i in order], [records[i] for i in order], segments)
    with pytest.raises(UsageError) as refused:
        truth_of_file(labels, records, saved(tmp_path, array))
    # the normal ones of the official list stand before those of vandalism
    assert "'Normal_Videos_003_x264' is labelled normal, but" in str(refused.value)
    assert "it fits the videos abnormal ones first: give them in that order" in str(refused.value)


def test_an_array_that_lacks_kinds_of_anomaly_is_refused(ucf, tmp_path):
    """The file behind a published AUC of 86.98: 52,844 anomalous frames in place of 84,343."""
    labels, records, segments = ucf
    marked = ("abuse", "arrest", "arson", "assault", "burglary", "explosion", "fighting")
    few = [s for s in segments if s.category in marked]
    array = in_clips(labels, records, few)
    assert (len(array), int(array.sum())) == (1_114_144, 52_844)
    with pytest.raises(UsageError, match="'RoadAccidents001_x264' is labelled abnormal, but none"):
        truth_of_file(labels, records, saved(tmp_path, array))


def test_arrays_of_another_length_are_refused(ucf, tmp_path):
    labels, records, segments = ucf
    array = in_clips(labels, records, segments)
    with pytest.raises(UsageError, match="(?s)is not the truth.*1,114,128 entries.*1,111,808 fra"):
        truth_of_file(labels, records, saved(tmp_path, array[:-16]))
    few = [Label("a", 1), Label("n", 0)], [replace(RECORD, n_frames=20)] * 2
    truth = np.r_[np.ones(20), np.zeros(20)]
    with pytest.raises(UsageError, match="'n' has 20 frames, but only 12 are left"):
        truth_of_file(*few, saved(tmp_path, truth[:-8]))
    with pytest.raises(UsageError, match="'n' is the last, and 3 more follow"):
        truth_of_file(*few, saved(tmp_path, np.r_[truth, 0, 0, 0]))


def test_an_array_and_segments_that_disagree_are_refused(tmp_path):
    labels, records = [Label("a", 1), Label("b", 1)], [replace(RECORD, n_frames=32)] * 2
    segments = [Segment("a", 4, 10), Segment("b", 20, 30)]
    array = np.zeros(64)
    array[4:11] = array[32 + 20 : 32 + 31] = 1  # both ends included: a frame more
    assert len(truth_of_file(labels, records, saved(tmp_path, array), segments)) == 2
    swapped = np.r_[array[32:], array[:32]]
    with pytest.raises(UsageError, match="'a' differs from its segments in 17 frames"):
        truth_of_file(labels, records, saved(tmp_path, swapped), segments)


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.full(4, 0.5), np.array(["a"])])
def test_what_is_no_truth_is_refused(tmp_path, array):
    np.save(tmp_path / "gt.npy", array)
    with pytest.raises(UsageError, match="one 0 or 1 for every frame is needed"):
        truth_of_file([Label("a", 1)], [replace(RECORD, n_frames=4)], tmp_path / "gt.npy")


def test_an_array_through_the_command(made, vad, tmp_path):
    card = json.loads((made / "honest" / "card.json").read_text())
    listed = [entry["video"] for entry in card["videos"]["test"]]
    gt = np.concatenate([np.arange(80) // 32 == (1 if v[0] == "a" else 9) for v in listed])
    path = saved(tmp_path, gt)
    code, _, _ = vad("evaluate", made / "honest", "--truth", path, "--out", tmp_path / "array")
    assert code == 0
    written = json.loads((tmp_path / "array" / "metrics.json").read_text())
    by_segments = evaluate(made / "honest", made / "segments.csv")
    assert written["frame"] == asdict(by_segments.figures.frame)
    code, _, err = vad("evaluate", made / "honest", "--truth", saved(tmp_path, gt[::-1]))
    assert code == 2
    assert f"'{listed[0]}' is labelled" in err


def test_labels_of_one_video_under_two_names_are_refused():
    with pytest.raises(UsageError, match="'x' and 'cam/x' are one stored video, 'cam/x'"):
        match([Label("x", 1), Label("cam/x", 1)], ["cam/x"], where="labels.csv")
    matched = match([Label("x", 1), Label("y", 0)], ["cam/x"], where="labels.csv", missing="keep")
    assert [label.video for label in matched] == ["cam/x", "y"]

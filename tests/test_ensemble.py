"""`vad train` without a detector: members, weighted and calibrated by cross-fitting."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vad.errors import UsageError
from vad.labels import Label, read_labels
from vad.stages.extract.records import unseen_record
from vad.stages.infer.evaluation.run import evaluate, pool
from vad.stages.infer.onnx import export_detector
from vad.stages.infer.scores_file import read_scores
from vad.stages.infer.scoring import score_stored
from vad.stages.train.calibration import calibrate, fit_map
from vad.stages.train.callbacks import Callback
from vad.stages.train.card import Calibration
from vad.stages.train.folds import make_folds
from vad.stages.train.run import Run
from vad.stages.train.settings import TrainSettings
from vad.stages.train.training import train
from vad.store import FeatureStore, Provenance

N_SNIPPETS = 12
BLOCKS = {"A": [0, 8], "C": [8, 12]}
ARRAYS = ("visual/parts", "places/parts")


class Epochs(Callback):
    """Counts the epochs of all members."""

    n = 0

    def epoch(self, part, epoch, figures):
        self.n += 1


def store_of(folder, *, scenes, n_videos=20, abnormal=True, seed=0, arrays=ARRAYS):
    """Write videos whose odd ones show something unusual in snippets 4 to 7, at one cell.

    scenes: True if every video is a scene of its own, by an offset of all its cells.
    """
    store, random = FeatureStore.create(folder / "f.zarr"), np.random.default_rng(seed)
    rows = ["video,label,source"]
    for i in range(n_videos):
        odd = abnormal and i % 2
        visual = random.normal(size=(N_SNIPPETS, 1, 12))
        places = random.normal(size=(N_SNIPPETS, 16, 6)) + (6 * random.normal(size=6)) * scenes
        if odd:
            visual[4:8, 0, [1, 9]] += 3
            places[4:8, 5] += 8
        draft = store.draft(f"v{i}")
        for name, rows_of in zip(ARRAYS, (visual, places), strict=True):
            if name in arrays:
                draft.append(name, rows_of.astype(np.float16))
        record = unseen_record(Path(f"v{i}"), N_SNIPPETS * 16, 25.0, "repeat-last", decoder="none")
        record = replace(record, width=320, height=240)
        made = Provenance.of({"backbone": "test", "weights": {"name": "none"}, "blocks": BLOCKS})
        times = np.arange(N_SNIPPETS * 16) / 25
        draft.commit(record, times, dict.fromkeys(arrays, made))
        rows.append(f"v{i},{int(bool(odd))},s{i // 2}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return store


def moments(run, store):
    """The AUC of the snippet scores of all abnormal videos."""
    scores = [s.snippets for s in score_stored(store, run) if int(s.video[1:]) % 2]
    truth = np.tile(np.isin(np.arange(N_SNIPPETS), range(4, 8)), len(scores))
    return roc_auc_score(truth, np.concatenate(scores))


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A store of one still camera, and the run that is trained on it by default."""
    folder = tmp_path_factory.mktemp("still")
    store = store_of(folder, scenes=False)
    run = train(store.path, folder / "labels.csv", folder / "run", quiet=True)
    return folder, store, run


def test_by_default_a_run_has_a_member_for_each_block_and_for_normal_footage(still):
    _, store, run = still
    members = [(m.detector, m.streams[0].name, m.streams[0].columns) for m in run.card.members]
    assert members == [
        ("topk", "visual/parts", (0, 8)),
        ("topk", "visual/parts", (8, 12)),
        ("normality", "places/parts", ()),
        ("normality", "places/parts", ()),
    ]
    assert moments(run, store) > 0.95
    assert run.card.selection.on == "held-out videos of 5 folds"
    assert run.card.selection.figures["heldout/video_auc"] > 0.9
    assert "finds 10 of 10 abnormal ones" in run.card.selection.expected


def test_a_saved_run_gives_the_same_scores_and_they_are_chances(still):
    _, store, run = still
    again = Run.open(run.path)
    for one, other in zip(score_stored(store, run), score_stored(store, again), strict=True):
        np.testing.assert_allclose(one.snippets, other.snippets, atol=1e-6)
    scores = {s.video: s.snippets for s in score_stored(store, run)}
    odd = np.concatenate([scores[f"v{i}"][5:7] for i in range(1, 20, 2)])
    normal = np.concatenate([scores[f"v{i}"] for i in range(0, 20, 2)])
    assert odd.mean() > 0.8
    assert normal.mean() < 0.5


def test_normality_is_left_out_where_every_video_is_another_scene(tmp_path):
    store = store_of(tmp_path, scenes=True)
    run = train(store.path, tmp_path / "labels.csv", tmp_path / "run", quiet=True, epochs=1)
    assert {member.detector for member in run.card.members} == {"topk"}
    assert run.names == {"visual": "visual/parts"}


def test_members_that_are_named_stay_whatever_the_footage(tmp_path):
    store = store_of(tmp_path, scenes=True)
    args = (store.path, tmp_path / "labels.csv")
    named = {"member": ("topk:A", "normality:places"), "epochs": 1}
    run = train(*args, tmp_path / "named", quiet=True, **named)
    assert [member.detector for member in run.card.members] == ["topk", "normality"]
    run = train(*args, tmp_path / "one", quiet=True, detector="normality")
    assert [member.detector for member in run.card.members] == ["normality"]


def test_folds_of_default_runs_are_pooled_though_their_members_differ(still, tmp_path):
    folder, store, _ = still
    rows = (folder / "labels.csv").read_text().split("\n")
    folds = [f"{row},{i // 2 % 2}" for i, row in enumerate(rows[1:])]
    (tmp_path / "labels.csv").write_text("\n".join([f"{rows[0]},fold", *folds]))
    odd = [f"v{i},64,128" for i in range(1, 20, 2)]
    (tmp_path / "segments.csv").write_text("\n".join(["video,start_frame,end_frame", *odd]))
    evaluations = []
    for fold, member in (("0", ()), ("1", ("topk:A",))):
        run = train(
            store.path,
            tmp_path / "labels.csv",
            tmp_path / fold,
            quiet=True,
            fold=fold,
            member=member,
            epochs=20,
        )
        evaluations.append(evaluate(run.path, tmp_path / "segments.csv", store=store.path))
    pooled = pool(evaluations)
    assert len(pooled.scores) == 20
    assert pooled.figures.value("frame/auc") > 0.9


def test_a_run_that_replaces_another_leaves_nothing_of_it(still, tmp_path):
    folder, store, _ = still
    args = (store.path, folder / "labels.csv", tmp_path / "run")
    train(*args, quiet=True, detector="rtfm", epochs=1)
    for member, n_members in (((), 4), (("topk:A",), 1)):
        train(*args, quiet=True, overwrite=True, member=member, epochs=1)
        left = {p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").iterdir()}
        assert left == {"card.json", "familiarity.safetensors", "members"}
        numbers = {p.name for p in (tmp_path / "run" / "members").iterdir()}
        assert numbers == {str(i) for i in range(n_members)}


def test_an_interrupted_training_goes_on_with_the_folds_that_it_finished(still, tmp_path, caplog):
    folder, store, _ = still
    caplog.set_level("INFO")
    out, given = tmp_path / "run", {"member": ["topk:C"], "seed": 1, "epochs": 5, "quiet": True}
    (out / "members").mkdir(parents=True)
    (out / "members" / "0").write_text("in the way: the run cannot be saved")
    with pytest.raises(OSError, match="members/0"):
        train(store.path, folder / "labels.csv", out, **given)
    finished = sorted((out / "unfinished").glob("*.safetensors"))
    assert len(finished) == 5
    (out / "members" / "0").unlink()
    finished[0].write_bytes(b"damaged")
    with pytest.raises(UsageError, match="begun with other videos, features or settings"):
        train(store.path, folder / "labels.csv", out, resume=True, **given | {"seed": 2})
    resumed = train(store.path, folder / "labels.csv", out, resume=True, **given)
    assert "going on with 5 finished fits" in caplog.text
    assert not (out / "unfinished").exists()
    anew = train(store.path, folder / "labels.csv", tmp_path / "anew", **given)
    assert resumed.card.calibration == anew.card.calibration
    assert resumed.card.held_out == anew.card.held_out


def test_resume_without_an_unfinished_run_begins_anew(still, tmp_path, caplog):
    folder, store, _ = still
    caplog.set_level("INFO")
    given = {"member": ["topk:C"], "epochs": 1, "quiet": True, "resume": True}
    train(store.path, folder / "labels.csv", tmp_path / "run", **given)
    assert "holds no run to go on with: training begins anew" in caplog.text


def test_of_a_large_set_one_fold_is_kept_back_and_nothing_is_trained_again(tmp_path):
    store = store_of(tmp_path, scenes=False, n_videos=204, arrays=ARRAYS[:1])
    epochs = Epochs()
    run = train(
        store.path,
        tmp_path / "labels.csv",
        tmp_path / "run",
        member=["topk:C"],
        quiet=True,
        callbacks=[epochs],
    )
    assert epochs.n == TrainSettings().epochs  # not the many of a small set
    kept_back = {label.video for label in run.card.videos["validation"]}
    assert run.card.selection.on == f"{len(kept_back)} held-out videos"
    assert 38 <= len(kept_back) <= 44
    assert len(run.card.videos["train"]) == 204 - len(kept_back)
    assert run.card.selection.figures["heldout/video_auc"] > 0.9


def test_normal_footage_alone_is_enough(tmp_path):
    store = store_of(tmp_path, scenes=False, abnormal=False)
    run = train(store.path, tmp_path / "labels.csv", tmp_path / "run", quiet=True)
    assert {member.detector for member in run.card.members} == {"normality"}
    assert "no training video is abnormal" in run.card.selection.doubt
    (tmp_path / "test").mkdir()
    unseen = store_of(tmp_path / "test", scenes=False)
    assert moments(run, unseen) > 0.95
    normal = [s.snippets for s in score_stored(unseen, run) if int(s.video[1:]) % 2 == 0]
    assert (np.concatenate(normal) >= run.threshold).mean() < 0.1


def test_members_are_named_on_the_command_line(vad, still, tmp_path):
    folder, _, _ = still
    store, labels = folder / "f.zarr", folder / "labels.csv"
    args = ("train", store, "--labels", labels, "--out", tmp_path / "run", "--epochs", 1)
    code, out, err = vad(*args, "--member", "topk:A", "--member", "normality:places")
    assert code == 0, err
    assert "on videos like these: finds" in out
    found = [m["detector"] for m in json.loads((tmp_path / "run/card.json").read_text())["members"]]
    assert found == ["topk", "normality"]
    code, _, err = vad(*args, "--overwrite", "--member", "topk:B")
    assert code == 2
    assert "--member topk:B: nothing stored is called 'B'" in err
    assert "A, C, parts, places" in err
    for detector in ("tevad", "s3r"):
        code, _, err = vad(*args, "--overwrite", "--member", f"{detector}:A")
        assert code == 2
        assert f"{detector} needs more than one array; train it alone" in err
    code, _, err = vad(*args, "--overwrite", "--validation", "0.3")
    assert code == 2
    assert "validation is a setting of a training of one detector" in err
    for wrong, words in (
        (("--member", "topk:A", "--member", "topk:A"), "--member topk:A is given twice"),
        (("--member", "topk:A", "--detector", "rtfm"), "leave one or the other out"),
        (("--set", "epohcs=1"), "no setting 'epohcs', did you mean 'epochs'?"),
    ):
        code, _, err = vad(*args, "--overwrite", *wrong)
        assert code == 2
        assert words in err
    code, _, err = vad(*args, "--overwrite", "--member", "normality:places near")
    assert code == 0, err
    run = json.loads((tmp_path / "run/card.json").read_text())
    assert [m["settings"]["reach"] for m in run["members"]] == [1]


def test_the_members_go_into_one_onnx_file(still, tmp_path):
    pytest.importorskip("onnxscript", reason="ONNX needs wsvad[onnx]")
    _, store, run = still
    assert len(run.members) == 4
    videos = [
        {key: store.read(video, name).astype(np.float32) for key, name in run.names.items()}
        for video in ("v0", "v1")
    ]
    videos.append({key: array[:3] for key, array in videos[0].items()})
    assert export_detector(run, videos, tmp_path / "d.onnx").n_samples == 3


# --- folds and calibration


def test_folds_keep_sources_together_and_deal_the_classes_evenly():
    labels = [Label(f"v{i}", i % 3 == 0, source=f"s{i // 2}") for i in range(40)]
    folds = make_folds(labels, seed=1)
    assert sorted(label.video for fold in folds for label in fold) == sorted(
        x.video for x in labels
    )
    sources = [{label.source for label in fold} for fold in folds]
    assert sum(map(len, sources)) == len(set().union(*sources))
    counts = [Counter(label.label for label in fold) for fold in folds]
    for value in (0, 1):
        sizes = [count[value] for count in counts]
        assert max(sizes) - min(sizes) <= 2
    alone = [replace(label, source="one") for label in labels]
    assert make_folds(alone, seed=0) == []


def test_the_map_rises_and_few_videos_draw_it_to_the_usual_one():
    random = np.random.default_rng(0)

    def fitted(n_videos):
        labels = np.arange(n_videos) % 2
        scores = [random.normal(size=20) + 6 * label for label in labels]
        return fit_map(scores, labels)

    few, many = fitted(4), fitted(400)
    assert 0 < few.slope < many.slope
    z = np.linspace(-2, 8, 50)
    assert (np.diff(many.chances(z)) > 0).all()
    assert many.chances(np.array([6.0])) > 0.95
    assert many.chances(np.array([0.0])) < 0.05


def test_the_prior_moves_the_chance_by_its_odds():
    even = Calibration(1.0, 0.0).chances(np.array([0.0]))
    rare = Calibration(1.0, 0.0, prior=0.01).chances(np.array([0.0]))
    assert even == pytest.approx(0.5)
    assert rare == pytest.approx(0.01)


def test_what_to_expect_is_counted_on_the_held_out_videos():
    labels = [Label(f"v{i}", i % 2) for i in range(20)]
    scores = {x.video: np.full(4, 3.0 if x.label else -1.0) for x in labels}
    scores["v1"] = np.full(4, -1.0)  # an abnormal video that looks normal
    decided = calibrate(scores, labels)
    assert decided.figures["heldout/found"] == pytest.approx(0.9)
    assert decided.figures["heldout/false_alarms"] == 0
    assert "finds 9 of 10 abnormal ones and raises 0 of 10 normal ones" in decided.expected


def test_a_class_without_videos_is_told(tmp_path):
    store = store_of(tmp_path, scenes=False, n_videos=4)
    lines = [
        line for line in (tmp_path / "labels.csv").read_text().split("\n") if ",0," not in line
    ]
    (tmp_path / "odd.csv").write_text("\n".join(lines))
    assert {label.label for label in read_labels(tmp_path / "odd.csv")} == {1}
    with pytest.raises(UsageError, match="training has no normal video"):
        train(store.path, tmp_path / "odd.csv", tmp_path / "run", quiet=True)


def test_a_prior_moves_chances_and_flags_the_same_moments(still):
    _, store, run = still
    rare = run.at(prior=0.05)
    for even, moved in zip(score_stored(store, run), score_stored(store, rare), strict=True):
        assert moved.prior == 0.05
        assert moved.snippets.mean() < even.snippets.mean()
        assert (moved.snippets.argsort() == even.snippets.argsort()).all()
        flags = [s.snippets >= s.threshold for s in (even, moved)]
        assert (flags[0] == flags[1]).all()
        odds = [s.snippets / (1 - s.snippets.astype(float)) for s in (even, moved)]
        inside = even.snippets < 0.999  # float32 has few digits near 1
        np.testing.assert_allclose((odds[1] * 19)[inside], odds[0][inside], rtol=1e-3)
        assert moved.reading_of(moved.peak) == even.reading_of(even.peak)


def test_the_command_line_decides_as_it_is_told(vad, still, tmp_path):
    _, store, run = still
    ask = ["score", "--store", str(store.path), "--detector", str(run.path), "--out", str(tmp_path)]
    decision = ("--false-alarms", "6/min", "--prior", "0.2")
    code, out, err = vad(*ask, "--format", "json,events,html", *decision)
    assert code == 0, err
    assert "prior 0.2" in out
    assert "normal footage" in out
    written = json.loads((tmp_path / "v1.json").read_text())
    assert written["prior"] == 0.2
    assert written["threshold_from"] == "false alarms 6/min"
    assert written["events"][0]["reading"].startswith("normal footage ")
    scores = read_scores(tmp_path / "v1.json")
    again = next(s for s in score_stored(store, run.at(prior=0.2), ["v1"]))
    assert scores.normal_footage == again.normal_footage
    assert "normal footage" in (tmp_path / "events.csv").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "0.2 of the footage" in page

    for options, words in [
        (["--false-alarms", "1/day"], "no rate below"),
        (["--recall", "0.99"], "promise no recall above"),
        (["--recall", "0.9", "--threshold", "0.5"], "give one"),
        (["--prior", "0"], "prior"),
        (["--false-alarms", "often"], "2/h"),
    ]:
        code, out, err = vad(*ask, *options)
        assert code == 2
        assert words in err
        assert len(err.strip().splitlines()[-1]) < 300


def test_a_run_without_held_out_scores_says_so(vad, still, tmp_path):
    folder, store, _ = still
    vad("train", str(store.path), "--labels", str(folder / "labels.csv"), "--detector", "topk",
        "--epochs", "1", "--out", str(tmp_path / "run"))  # fmt: skip
    for option in (["--prior", "0.1"], ["--recall", "0.5"], ["--false-alarms", "9/h"]):
        code, _, err = vad(
            "score", "--store", str(store.path), "--detector", str(tmp_path / "run"), *option
        )
        assert code == 2
        assert "train without --detector" in err


def test_training_tells_its_members_and_the_arrays_that_it_leaves(vad, still, tmp_path, caplog):
    folder, store, run = still
    assert run.facts()["members"].startswith("topk on visual/parts [A], weight 1; topk on")
    ask = ("train", store.path, "--labels", folder / "labels.csv", "--out", tmp_path / "run")
    code, out, err = vad(*ask, "--member", "topk:A", "--epochs", "1")
    assert code == 0, err
    assert "stored, but not read by this run: places/parts" in caplog.text
    assert "visual/parts" in out


def test_an_array_that_some_training_videos_lack_is_left_out_and_told(tmp_path, caplog):
    store = store_of(tmp_path, scenes=True, n_videos=6, arrays=("visual/parts",))
    made = Provenance.of({"backbone": "test", "weights": {"name": "none"}})
    for i in range(1, 6):  # the first video lacks it
        draft = store.draft(f"v{i}")
        draft.append("visual/other", np.ones((N_SNIPPETS, 1, 4), np.float16))
        draft.commit(store.record(f"v{i}"), store.times(f"v{i}"), {"visual/other": made})
    labels = tmp_path / "labels.csv"
    run = train(store.path, labels, tmp_path / "run", quiet=True, epochs=1)
    assert set(run.names.values()) == {"visual/parts"}
    assert "1 of 6 training videos lack visual/other: 'v0'; no member reads it" in caplog.text
    with pytest.raises(UsageError, match="1 of 6 training videos lack visual/other: 'v0'; make it"):
        train(store.path, labels, tmp_path / "named", member=["topk:other"], quiet=True)
    caplog.clear()
    single = {"detector": "topk", "visual": "other", "validation": 0, "epochs": 1, "quiet": True}
    train(store.path, labels, tmp_path / "single", **single)
    assert "1 videos are not stored with visual/other: 'v0'" in caplog.text


def test_a_video_unlike_the_training_videos_is_told_and_others_are_not(vad, still, tmp_path):
    _, _, run = still
    assert run.card.familiarity == "places/parts"
    other = store_of(tmp_path, scenes=True, n_videos=4, seed=7)
    like = store_of(tmp_path / "like", scenes=False, n_videos=4, seed=7)
    assert all(s.warning for s in score_stored(other, run))
    again = Run.open(run.path)
    assert [s.familiarity for s in score_stored(like, again)] == [
        s.familiarity for s in score_stored(like, run)
    ]
    assert sum(bool(s.warning) for s in score_stored(like, again)) <= 1

    ask = ["score", "--store", other.path, "--detector", run.path, "--out", tmp_path / "out"]
    code, out, err = vad(*ask, "--format", "json")
    assert code == 0, err
    assert out.count("unlike the training videos: read scores as a guess") == 4
    written = json.loads((tmp_path / "out" / "v1.json").read_text())
    assert written["familiarity"] == 0.0
    assert read_scores(tmp_path / "out" / "v1.json").warning == written["warning"]


def test_the_model_card_tells_what_to_expect_and_what_the_run_was_trained_on(vad, still, tmp_path):
    *_, run = still
    code, out, _ = vad("card", run.path, "--out", tmp_path / "card.html")
    page = (tmp_path / "card.html").read_text()
    assert (code, out) == (0, f"written to {tmp_path / 'card.html'}\n")
    assert "n videos like these: finds 10 of 10 abnormal ones" in page
    assert "10 normal, 10 abnormal" in page
    found = dict(re.findall(r"<td>(?:<b>)?([\d.]+)[^<]*(?:</b>)?</td>.*?<td>(\d+)</td>", page))
    assert found["0.10"] == "10"
    assert int(found["0.10"]) >= int(found["0.50"]) >= int(found["0.90"])
    assert f"{run.threshold:.2f}, its own" in page
    assert "normal footage reaches this once in" in page
    assert "<script" not in page


def test_a_damaged_record_of_the_training_videos_is_told(vad, still, tmp_path):
    _, store, run = still
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / "familiarity.safetensors").write_bytes(b"damaged")
    code, _, err = vad("score", "--store", store.path, "--detector", tmp_path / "run")
    assert code == 2
    assert "familiarity.safetensors" in err
    (tmp_path / "run" / "familiarity.safetensors").unlink()
    code, _, err = vad("score", "--store", store.path, "--detector", tmp_path / "run")
    assert code == 2
    assert "familiarity.safetensors" in err

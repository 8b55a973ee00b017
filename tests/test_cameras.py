"""Calibration on ordinary footage of one camera: thresholds, banks, a reference, and anomalies."""

import itertools
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import vad
from vad.errors import UsageError
from vad.stages.extract.records import unseen_record
from vad.stages.infer.scoring import score_stored
from vad.stages.pipelines.demo.scenes import SCENES
from vad.stages.pipelines.demo.videos import cast_video, encode, frames, render_demo
from vad.stages.train.cameras import calibrate_camera, cameras_of, find_camera
from vad.stages.train.rates import FrameRates
from vad.stages.train.run import Run
from vad.stages.train.training import train
from vad.store import FeatureStore, Provenance

N_CELLS, DIM, SNIPPET_FRAMES = 9, 4, 16
FPS = 16 / 3.2  # a snippet lasts 3.2 seconds
PLANTED = (50, 150, 250, 350, 450)
PLACES = {"backbone": "test", "weights": {"name": "none"}}


def footage(random, n_snippets, *, at=0.0, planted=()):
    """The arrays of one video: cells that vary, about as two people who walk by now and then do."""
    busy = np.convolve(random.random(n_snippets) < 0.2, np.ones(3), "same")[:, None, None] > 0
    places = random.normal(size=(n_snippets, N_CELLS, DIM)) * (0.5 + 0.5 * busy) + at
    visual = np.abs(random.normal(size=(n_snippets, 1, DIM))) + busy
    for snippet in planted:
        direction = random.normal(size=DIM)
        places[snippet : snippet + 2, 4] += 12 * direction / np.linalg.norm(direction)
        visual[snippet : snippet + 2] += 3
    return {"visual/parts": visual, "places/parts": places}


def add(store, video, arrays):
    draft = store.draft(video)
    for name, array in arrays.items():
        draft.append(name, array.astype(np.float16))
    n_frames = SNIPPET_FRAMES * len(arrays["visual/parts"])
    record = unseen_record(Path(video), n_frames, FPS, "repeat-last", decoder="none")
    made = Provenance.of(PLACES)
    record = replace(record, source_sha256=video, width=320, height=240)
    draft.commit(record, np.arange(n_frames) / FPS, dict.fromkeys(arrays, made))


@pytest.fixture
def vad_command(vad):
    """Run a command; see the fixture `vad`, whose name is that of the module here."""
    return vad


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run trained on scenes other than the camera's, and a store of footage of the camera."""
    folder, random = tmp_path_factory.mktemp("cameras"), np.random.default_rng(0)
    scenes = FeatureStore.create(folder / "scenes.zarr")
    rows = ["video,label,category"]
    for i in range(16):
        planted = (5, 20) if i % 2 else ()
        add(scenes, f"v{i}", footage(random, 30, at=3 * random.normal(size=DIM), planted=planted))
        rows.append(f"v{i},{i % 2},{('normal', 'fall', 'normal', 'fire')[i % 4]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    run = train(scenes.path, folder / "labels.csv", folder / "runs" / "default", quiet=True)
    store = FeatureStore.create(folder / "camera.zarr")
    here = random.normal(size=DIM)
    for video in ("one", "two"):  # half an hour each
        add(store, video, footage(random, 562, at=here))
    for video in ("planted", "new"):
        add(store, video, footage(random, 562, at=here, planted=PLANTED))
    add(store, "other", footage(random, 562, at=here + 4))
    add(store, "short", footage(random, 10, at=here))
    return run, store


def alarms(run, store, video):
    (scores,) = score_stored(store, run, [video])
    return len(scores.events), scores


def test_a_rate_set_on_one_half_of_the_footage_holds_on_the_other(trained):
    run, store = trained
    run = Run.open(run.path)
    run.card = replace(run.card, training_fps=FrameRates(25.0, 25.0, 25.0))  # the camera has 5
    assert "recorded at 5 frames per second" in alarms(run, store, "two")[1].warning
    camera = calibrate_camera(run, store, ["one"], "half", false_alarms_per_s=12 / 3600)
    n_alarms, scores = alarms(camera, store, "two")
    assert 2 <= n_alarms <= 18  # in half an hour
    assert scores.camera == "half"
    assert scores.detector == "default, camera half"
    assert scores.kinds.names == ("normal", "fall", "fire")  # as the run tells them
    assert scores.warning == ""


def test_footage_too_short_for_a_rate_is_refused_with_the_rarest(trained):
    run, store = trained
    with pytest.raises(
        UsageError, match=r"30 minutes .* no rate below 2.1/h; .*calibrate with more"
    ):
        calibrate_camera(run, store, ["one"], "rare", false_alarms_per_s=1 / 86_400)
    calibrate_camera(run, store, ["one"], "rarest", false_alarms_per_s=2.1 / 3600)
    with pytest.raises(UsageError, match="10 snippets tells nothing of a camera"):
        calibrate_camera(run, store, ["short"], "short")
    assert not {"rare", "short"} & set(cameras_of(run.path))


def test_a_few_planted_anomalies_do_little_harm(trained, caplog):
    run, store = trained
    clean = calibrate_camera(run, store, ["one"], "clean", false_alarms_per_s=12 / 3600)
    caplog.set_level(logging.WARNING, "vad")
    camera = calibrate_camera(run, store, ["planted"], "planted", false_alarms_per_s=12 / 3600)
    left_out = camera.card.camera.left_out
    assert all(any(abs(part.start_s / 3.2 - at) <= 3 for at in PLANTED) for part in left_out)
    assert len(left_out) >= 3
    assert "left out, as unlike the rest of the footage: planted, " in caplog.text
    for calibrated in (clean, camera):
        assert alarms(calibrated, store, "two")[0] <= 18  # three times what the rate allows
        _, scores = alarms(calibrated, store, "new")
        found = [any(abs(e.start_s / 3.2 - at) <= 2 for e in scores.events) for at in PLANTED]
        assert sum(found) >= 4


def test_footage_in_which_nothing_changes_is_told(trained, caplog):
    run, store = trained
    still = footage(np.random.default_rng(2), 100)
    add(store, "dark", {name: np.repeat(rows[:1], 100, axis=0) for name, rows in still.items()})
    calibrate_camera(run, store, ["one"], "lively")
    assert "nothing changes" not in caplog.text
    calibrate_camera(run, store, ["dark"], "dark")
    told = (
        "in 99 % of the footage nothing changes, as if the camera were dark or frozen: look at it"
    )
    assert told in caplog.text


def test_footage_of_another_camera_is_told(trained):
    run, store = trained
    camera = calibrate_camera(run, store, ["one"], "gate")
    _, other = alarms(camera, store, "other")
    assert other.familiarity == 0
    assert "unlike other footage of the camera gate: read scores as a guess" in other.summary
    again = Run.open(camera.path)
    assert alarms(again, store, "two")[1].snippets.tolist() == (
        alarms(camera, store, "two")[1].snippets.tolist()
    )


def test_ignored_cells_are_never_unusual(trained):
    run, store = trained
    camera = calibrate_camera(run, store, ["one"], "zones")
    member = next(m for m in camera.members if m.card.detector == "normality")
    arrays = {"places/parts": store.read("new", "places/parts")}
    visual = member.inputs.of_arrays({"visual": arrays["places/parts"]})[0][0]
    before = member.detector.distances(visual)
    planted = member.score(arrays)[51]
    member.detector.ignored = torch.arange(N_CELLS) == 4
    after = member.detector.distances(visual)
    assert after[4].max() == 0
    assert torch.equal(after[[0, 8]], before[[0, 8]])
    assert member.score(arrays)[51] < planted


def test_score_takes_a_camera_and_tells_those_that_exist(vad_command, trained, tmp_path):
    run, store = trained
    calibrate_camera(run, store, ["one"], "gate")
    ask = ("score", "--store", store.path, "--detector", run.path, "--out", tmp_path, "--camera")
    code, _, err = vad_command(*ask, "gate", "--format", "json", "--false-alarms", "12/h")
    assert code == 0, err
    written = json.loads((tmp_path / "two.json").read_text())
    assert (written["camera"], written["threshold_from"]) == ("gate", "false alarms 12/h")
    assert written["normal_footage"]["seconds"] == pytest.approx(1798, rel=0.01)
    assert written["prior"] is None
    code, _, err = vad_command(*ask, "gate", "--prior", "0.1")
    assert code == 2
    assert "are no chances, and no prior changes them; leave --camera out" in err
    code, _, err = vad_command(*ask, "gat")
    assert code == 2
    assert f"{run.path} has no camera 'gat', there are: " in err
    assert "gate" in err.splitlines()[-1]
    for odd in ("../gate", "", ".scratch", "-x"):
        code, _, err = vad_command(*ask, odd)
        assert code == 2
        assert "no folder can be called like the camera" in err.splitlines()[-1]


def test_a_camera_of_an_earlier_training_is_refused(trained, tmp_path):
    run, store = trained
    copy = tmp_path / "runs" / "default"
    shutil.copytree(run.path, copy)
    calibrate_camera(Run.open(copy), store, ["one"], "gate")
    replace(run.card, created="2001-01-01T00:00:00+00:00").write(copy / "card.json")
    with pytest.raises(UsageError, match="was trained again"):
        find_camera(copy, "gate")


def test_a_damaged_camera_is_told_in_one_line(vad_command, trained, tmp_path):
    run, store = trained
    camera = calibrate_camera(run, store, ["one"], "damaged")
    ask = ("score", "--store", store.path, "--detector", run.path, "--out", tmp_path)
    card = json.loads((camera.path / "card.json").read_text())
    for wrong in (
        {"camera": {**card["camera"], "left_out": [{"video": "x", "start_s": "y", "end_s": 1}]}},
        {"camera": {**card["camera"], "seconds": None}},
        {"threshold": 2},
    ):
        (camera.path / "card.json").write_text(json.dumps(card | wrong))
        code, _, err = vad_command(*ask, "--camera", "damaged")
        assert code == 2
        assert f"{camera.path / 'card.json'}: {next(iter(wrong))}" in err
    shutil.rmtree(camera.path)


@pytest.mark.slow
def test_a_rate_set_on_rendered_footage_holds_on_as_much_again(tmp_path):
    for half in ("one", "two"):
        render(tmp_path / "halves" / f"{half}.mp4", minutes=15, seed=len(half) + ord(half[0]))
    data = render_demo(tmp_path / "demo", n_videos=10, quiet=True)
    vad.extract(data.videos, tmp_path / "demo.zarr", quiet=True)
    vad.train(tmp_path / "demo.zarr", data.labels, tmp_path / "run", quiet=True)
    vad.extract(tmp_path / "halves", tmp_path / "f.zarr", quiet=True)
    run, store = Run.open(tmp_path / "run"), FeatureStore.open(tmp_path / "f.zarr")
    camera = calibrate_camera(run, store, ["one"], "hall", false_alarms_per_s=12 / 3600)
    assert 1 <= alarms(camera, store, "two")[0] <= 9  # 4 to 36 an hour, in a quarter of an hour
    with pytest.raises(UsageError, match="no rate below 4/h"):
        camera.at(false_alarms_per_s=1 / 86_400)


def render(path, *, minutes, seed):
    """Write footage of one camera where people walk by, at 5 frames a second."""

    def pictures():
        for clip in itertools.count():
            rng = np.random.default_rng((seed, clip))
            video = cast_video("", SCENES[0], "normal", "train", rng)
            yield from frames(video, rng, every=5)

    encode(path, itertools.islice(pictures(), minutes * 60 * 5), fps=5)


def test_a_camera_is_calibrated_and_watched_from_the_command_line(
    vad_command, make_video, small_run, tmp_path
):
    shutil.copytree(small_run / "run", run := tmp_path / "runs" / "r")
    clip, hall = make_video("clip.mp4", 16), make_video("hall.mp4", 16 * 20)
    code, out, err = vad_command("calibrate", run, hall, "--camera", "hall", "--quiet")
    assert code == 0, err
    assert "camera     hall, 11 seconds" in out
    assert f"next: vad score VIDEO --detector {run} --camera hall" in err
    lines = list(vad.stream(str(clip), run, camera="hall", quiet=True))
    assert lines[0]["detector"] == "r, camera hall"
    scores = vad.score(clip, run, camera="hall")
    assert scores.threshold == lines[0]["threshold"] != Run.open(run).threshold
    code, _, err = vad_command("calibrate", run, clip, "--camera", "a/b")
    assert code == 2
    assert "use letters, digits" in err

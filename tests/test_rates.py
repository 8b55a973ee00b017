"""Frame rates of the training videos: what a run knows of them, and what is said of other rates."""

import json
import logging
import shutil
from dataclasses import replace

import pytest

import vad
from vad.errors import UsageError
from vad.stages.infer.evaluation.run import evaluate
from vad.stages.infer.scores_file import read_scores
from vad.stages.pipelines.stream import stream
from vad.stages.train.card import read_card
from vad.stages.train.rates import FrameRates
from vad.stages.train.run import Run
from vad.store import FeatureStore

SAID = "recorded at 60 frames per second, the training videos at 10 to 25"


@pytest.fixture
def vad_command(vad):
    """Run a command; see the fixture `vad`, whose name is that of the module here."""
    return vad


@pytest.fixture(scope="module")
def videos(write_video, tmp_path_factory):
    """Two videos: of a rate near those of the training videos of `small_run`, and of 60."""
    folder = tmp_path_factory.mktemp("rates")
    for name, fps in (("near", 30), ("far", 60)):
        write_video(folder / f"{name}.mp4", 20, fps=fps)
    return folder


@pytest.fixture(scope="module")
def store(videos):
    """The path of a store with the features of the two videos."""
    vad.extract(videos, videos / "f.zarr", quiet=True, backbone="efficientnet-lite0")
    return videos / "f.zarr"


def test_a_rate_is_far_if_it_is_more_than_1_3_times_out_of_the_range():
    rates = FrameRates(24.0, 25.0, 30000 / 1001)
    assert str(rates) == "24 to 30"
    assert [rates.differing(fps) for fps in (18.5, 24.0, 30.0, 38.9, None)] == [""] * 5
    assert FrameRates(30.0, 30.0, 30.0).differing(24000 / 1001) == ""
    words = "recorded at 15 frames per second, the training videos at 24 to 30"
    assert rates.differing(15.0) == words
    assert FrameRates(5.0, 5.0, 5.0).differing(7.52, "gate") == (
        "recorded at 7.5 frames per second, other footage of the camera gate at 5"
    )
    assert rates.differing(39.0)
    assert rates.differing(18.4)
    with pytest.raises(ValueError, match="expected rates above 0 that ascend"):
        FrameRates(25.0, 24.0, 30.0)


def test_rates_that_were_assumed_are_not_known(small_run):
    store = FeatureStore.open(small_run / "features.zarr")
    records = [store.record(f"v{i}") for i in range(4)]
    assert FrameRates.of(records) == FrameRates(10.0, 17.5, 25.0)
    assumed, imported = replace(records[0], fps_assumed=True), replace(records[3], source_sha256="")
    assert FrameRates.of([assumed, *records[1:3], imported]) == FrameRates(15.0, 17.5, 20.0)
    assert FrameRates.of([assumed, imported]) is None


def test_scores_of_a_video_of_another_rate_carry_a_warning_and_one_line_says_what_to_do(
    vad_command, small_run, store, tmp_path
):
    assert read_card(small_run / "run").training_fps == FrameRates(10.0, 17.5, 25.0)
    code, out, err = vad_command(
        *("score", "--store", store, "--detector", small_run / "run"),
        *("--out", tmp_path / "scores"),
    )
    assert code == 0, err
    far, near = out.splitlines()
    assert f"; {SAID}: read scores as a guess" in far
    assert "recorded at" not in near
    assert err.count(SAID) == 1
    assert f"1 of 2 videos with another frame rate, such as far, {SAID}: read scores as" in err
    assert "ffmpeg -i IN -r RATE OUT" in err
    read = {name: read_scores(tmp_path / "scores" / f"{name}.json") for name in ("far", "near")}
    assert [read[n].warning for n in ("far", "near")] == [f"{SAID}: read scores as a guess", ""]
    page = (tmp_path / "scores" / "report.html").read_text()
    assert f"1 of 2 videos is {SAID}: read scores as a guess." in page
    assert page.count('<p class="warn">') == 2  # of all videos, and beside that video


def test_a_video_can_be_unlike_the_training_videos_and_of_another_rate(make_scores):
    scores = make_scores([0.1], familiarity=0.0, training_fps=FrameRates(25.0, 25.0, 25.0))
    assert scores.warning == (
        "unlike the training videos and recorded at 10 frames per second, the training videos at "
        "25: read scores as a guess"
    )


def test_evaluation_says_once_that_test_videos_have_another_rate(
    small_run, store, tmp_path, caplog
):
    (tmp_path / "labels.csv").write_text("video,label\nnear,0\nfar,1\n")
    (tmp_path / "segments.csv").write_text("video,start_frame,end_frame\nfar,0,16\n")
    caplog.set_level(logging.INFO, "vad")
    evaluate(
        small_run / "run",
        tmp_path / "segments.csv",
        store=store,
        labels=tmp_path / "labels.csv",
    )
    said = f"{tmp_path / 'labels.csv'} has no split column: all its videos are measured, 1 abnormal"
    assert said in caplog.text
    assert caplog.text.count(f"1 of 2 videos with another frame rate, such as far, {SAID}") == 1


def test_a_card_without_rates_opens_and_warns_of_nothing(small_run, store, tmp_path):
    shutil.copytree(small_run / "run", tmp_path / "run")
    path = tmp_path / "run" / "card.json"
    card = json.loads(path.read_text())
    del card["training_fps"]
    path.write_text(json.dumps(card))
    assert Run.open(tmp_path / "run").card.training_fps is None
    assert [scores.warning for scores in vad.score_store(store, tmp_path / "run")] == [""] * 2
    card["training_fps"] = {"lowest": 0.0, "median": 5.0, "highest": 5.0}
    path.write_text(json.dumps(card))
    with pytest.raises(UsageError, match="training_fps.lowest is 0.0"):
        Run.open(tmp_path / "run")


def test_a_stream_of_another_rate_is_told_in_its_line_and_once_in_the_log(
    small_run, videos, caplog
):
    for name, warning in (("near", ""), ("far", f"{SAID}: read scores as a guess")):
        (opened,) = (
            line
            for line in stream(str(videos / f"{name}.mp4"), small_run / "run", quiet=True)
            if line["type"] == "source"
        )
        assert opened["warning"] == warning
    assert caplog.text.count(SAID) == 1
    assert "set the camera to that rate" in caplog.text


def test_a_watched_camera_of_another_rate_is_told_by_check_and_when_it_is_opened(
    vad_command, small_run, videos, tmp_path, caplog
):
    path = tmp_path / "cameras.toml"
    path.write_text(
        f'folder = "{tmp_path / "alerts"}"\n[defaults]\nrun = "{small_run / "run"}"\n'
        f'[cameras.gate]\naddress = "{videos / "far.mp4"}"\n'
        f'[cameras.hall]\naddress = "{videos / "near.mp4"}"\n'
    )
    code, out, err = vad_command("watch", path, "--check")
    assert (code, "no mistakes" in out) == (0, True)
    assert err.count("recorded at") == 1
    assert f"camera gate: {SAID}: read scores as a guess, or set the camera to that rate" in err
    caplog.clear()
    vad.watch(path)
    assert caplog.text.count(f"camera gate: {SAID}") == caplog.text.count("recorded at") == 1

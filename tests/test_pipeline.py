"""Raw videos to frame scores, through the real decoders, backbone and detector."""

import csv
import json
import shutil

import numpy as np
import pytest

import vad as library
from vad import extract
from vad.errors import UsageError
from vad.store import FeatureStore

LITE0 = "efficientnet-lite0"  # it has crops


@pytest.fixture
def mixed(tmp_path, make_video):
    """A folder with a good video, an empty one, a text and a truncated video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    good = make_video("videos/good.mp4", n_frames=40)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    whole = good.read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


def test_one_bad_video_does_not_stop_the_others(vad, mixed, tmp_path):
    store = tmp_path / "features.zarr"
    code, out, err = vad("extract", mixed, "--store", store)
    assert code == 3
    assert "1 done, 0 skipped, 3 failed" in out
    opened = FeatureStore.open(store)
    assert opened.ids() == ["good"]
    features = opened.read("good", "visual/efficientnet-lite0-parts")
    assert features.shape[:2] == (3, 1)  # 40 frames, one crop
    assert opened.record("good").n_frames == 40
    lines = (store / "failures.jsonl").read_text().splitlines()
    reasons = {e["video"]: e["reason"] for e in map(json.loads, lines)}
    assert reasons == {"empty": "empty", "text": "not-a-video", "truncated": "truncated"}
    for name in ("empty.mp4", "text.mp4", "truncated.mp4"):
        assert name in err
    assert "Traceback" not in err


def test_a_second_run_does_only_what_is_missing(vad, mixed, tmp_path, make_video):
    store = tmp_path / "features.zarr"
    vad("extract", mixed, "--store", store)
    stored = store / "good" / "visual"
    before = stored.stat().st_mtime_ns
    for name in ("empty", "text"):
        (mixed / f"{name}.mp4").unlink()
    make_video("videos/truncated.mp4", n_frames=17)
    code, out, err = vad("extract", mixed, "--store", store)
    assert code == 0
    assert "1 stored, 1 to do" in err
    assert "1 done, 1 skipped, 0 failed" in out
    assert stored.stat().st_mtime_ns == before
    assert not any(
        json.loads(line)["video"] == "truncated"
        for line in ((store / "failures.jsonl").read_text().splitlines())
    )


def test_new_content_is_extracted_again(mixed, tmp_path, make_video):
    store = tmp_path / "features.zarr"
    extract(mixed / "good.mp4", store, quiet=True)
    make_video("videos/good.mp4", n_frames=20)
    outcome = extract(mixed / "good.mp4", store, quiet=True)
    assert outcome.done == ["good"]
    assert FeatureStore.open(store).record("good").n_frames == 20


def test_other_settings_are_refused_with_the_difference(make_video, tmp_path):
    store, video = tmp_path / "features.zarr", make_video("good.mp4", n_frames=16)
    extract(video, store, quiet=True, backbone=LITE0)
    with pytest.raises(UsageError, match="other settings .*crops.*use the same settings, another"):
        extract(video, store, quiet=True, crops="five", backbone=LITE0)
    outcome = extract(video, store, quiet=True, crops="five", overwrite=True, backbone=LITE0)
    assert outcome.done == ["good"]
    with pytest.raises(UsageError, match="one view of a clip"):
        extract(video, store, quiet=True, crops="five")
    features = FeatureStore.open(store).read("good", f"visual/{LITE0}")
    assert features.shape[1] == 5


def test_a_dry_run_says_what_would_be_done_and_does_nothing(vad, mixed, tmp_path):
    code, out, _ = vad("extract", mixed, "--store", tmp_path / "f.zarr", "--dry-run")
    assert code == 0
    assert "would extract 1 videos, 40 frames" in out or "would extract 2 videos" in out
    assert "would fail: " in out
    assert not (tmp_path / "f.zarr").exists()


@pytest.fixture(scope="module")
def fight(tmp_path_factory, data):
    """A run trained on the shortest real videos, with the folder of their videos."""
    folder = tmp_path_factory.mktemp("fight")
    rows = list(csv.DictReader((data / "fight" / "labels.csv").read_text().splitlines()))
    chosen = sorted(rows, key=lambda r: int(r["frames"]))
    chosen = [
        *[r for r in chosen if r["label"] == "0"][:2],
        *[r for r in chosen if r["label"] == "1"][:2],
    ]
    (folder / "videos").mkdir()
    for row in chosen:
        shutil.copy(data / "fight" / "videos" / f"{row['video']}.mp4", folder / "videos")
    lines = [f"{r['video']},{r['label']}" for r in chosen]
    (folder / "labels.csv").write_text("\n".join(["video,label", *lines]) + "\n")
    extract(folder / "videos", folder / "features.zarr", quiet=True)
    library.train(
        folder / "features.zarr",
        folder / "labels.csv",
        folder / "run",
        quiet=True,
        epochs=3,
        detector="rtfm",
    )
    return folder


def test_scores_have_a_row_for_every_frame_and_agree_in_all_files(vad, fight, tmp_path):
    video = sorted((fight / "videos").iterdir())[0]
    code, out, _ = vad(
        *("score", video, "--detector", fight / "run", "--out", tmp_path, "-f", "csv,json,npy,png")
    )
    assert code == 0
    assert video.stem in out
    n_frames = FeatureStore.open(fight / "features.zarr").record(video.stem).n_frames
    rows = list(csv.DictReader((tmp_path / f"{video.stem}.csv").read_text().splitlines()))
    written = json.loads((tmp_path / f"{video.stem}.json").read_text())
    array = np.load(tmp_path / f"{video.stem}.npy")
    assert len(rows) == len(written["frames"]) == len(array) == n_frames
    assert list(rows[0]) == ["frame", "seconds", "timecode", "score"]
    assert written["schema"] == "vad.scores/1"
    assert written["fps"] == pytest.approx(30, abs=0.1)
    assert [float(r["score"]) for r in rows] == [f["score"] for f in written["frames"]]
    assert array == pytest.approx([f["score"] for f in written["frames"]], abs=1e-6)
    second = written["frames"][31]
    assert (second["frame"], second["seconds"]) == (31, pytest.approx(31 / 30, abs=0.01))
    assert second["timecode"].startswith("00:00:01.03")
    assert (tmp_path / f"{video.stem}.png").read_bytes().startswith(b"\x89PNG")


def test_a_video_scored_directly_has_the_scores_of_one_extracted_first(fight):
    from vad.stages.pipelines.score import score_store

    video = sorted((fight / "videos").iterdir())[1]
    direct = library.score(video, detector=fight / "run")
    staged = {s.video: s for s in score_store(fight / "features.zarr", fight / "run")}
    assert direct.to_dict() == {**staged[video.stem].to_dict(), "source": str(video)}


def test_a_video_that_cannot_be_scored_is_named_and_the_others_are_scored(vad, fight, tmp_path):
    (tmp_path / "in").mkdir()
    good = sorted((fight / "videos").iterdir())[0]
    shutil.copy(good, tmp_path / "in")
    (tmp_path / "in" / "empty.mp4").touch()
    out_folder = tmp_path / "out"
    code, _, err = vad(
        *("score", tmp_path / "in", "--detector", fight / "run", "--out", out_folder, "-f", "csv")
    )
    assert code == 3
    names = {p.name for p in out_folder.iterdir()}
    assert names == {f"{good.stem}.csv", "failures.jsonl", "run.txt"}
    assert "empty.mp4: the file is empty" in err


def test_inspect_shows_how_features_and_runs_were_made(vad, fight):
    code, out, _ = vad("inspect", fight / "features.zarr")
    assert code == 0
    for words in ("efficientnet-lite0", "sha256", "n_videos: 4", "320x240"):
        assert words in out
    code, out, _ = vad("inspect", fight / "run", "--json")
    assert json.loads(out)["members"][0]["detector"] == "rtfm"


def test_features_of_random_weights_are_marked_and_not_trained_on(tmp_path, make_video):
    make_video("videos/a.mp4", n_frames=16)
    make_video("videos/b.mp4", n_frames=16)
    store = tmp_path / "random.zarr"
    extract(tmp_path / "videos", store, quiet=True, weights="random:0")
    (tmp_path / "labels.csv").write_text("video,label\na,1\nb,0\n")
    train = {"detector": "rtfm", "validation": 0, "epochs": 1, "quiet": True}
    with pytest.raises(UsageError, match="holds features of random weights, which mean nothing"):
        library.train(store, tmp_path / "labels.csv", tmp_path / "run", **train)
    run = library.train(
        store, tmp_path / "labels.csv", tmp_path / "run", allow_random=True, **train
    )
    assert run.card.of_kind("visual")[0].provenance.weights.random


def test_doctor_finds_everything_in_order(vad):
    code, out, _ = vad("doctor")
    assert "everything works" in out
    assert "ok    efficientnet-lite0-parts, the default backbone: features [1, 1, " in out
    assert code == 0
    assert "warn" not in out


def test_doctor_warns_where_the_other_package_called_vad_is_installed(vad, tmp_path, monkeypatch):
    info = tmp_path / "vad-1.0.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vad\nVersion: 1.0.6\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, out, _ = vad("doctor")
    assert "warn  the package vad 1.0.6 is installed too" in out
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "dim"), [("i3d", 2048), ("timesformer", 768)])
def test_ten_crops_of_a_real_clip(data, tmp_path, backbone, dim):
    clip = data / "fight" / "videos" / "s32_fight.mp4"
    extract(
        clip, tmp_path / "f.zarr", backbone=backbone, weights="random:0", crops="ten", quiet=True
    )
    store = FeatureStore.open(tmp_path / "f.zarr")
    assert store.read("s32_fight", f"visual/{backbone}").shape == (4, 10, dim)

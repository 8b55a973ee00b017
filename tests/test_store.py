"""The feature store: whole or not at all, and never a mix."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from vad.errors import UsageError, VideoError
from vad.store import FeatureStore, Provenance, VideoRecord, key_of

RECORD = VideoRecord(
    source="videos/a.mp4",
    source_bytes=10,
    source_mtime_ns=1,
    source_sha256="aa",
    n_frames=40,
    fps=25.0,
    duration_s=1.6,
    width=64,
    height=48,
    container="mov",
    codec="h264",
    decoder="pyav",
    n_frames_declared=40,
    n_bad_packets=0,
    tail="repeat-last",
)
TIMES = np.arange(40) / 25
FEATURES = np.arange(3 * 10 * 4, dtype=np.float16).reshape(3, 10, 4)
MADE_BY = {"backbone": "i3d", "crops": ["ten"], "vad": "0.1.0"}


def put(store, video_id="a", name="visual/i3d", rows=FEATURES, record=RECORD, made_by=MADE_BY):
    draft = store.draft(video_id)
    draft.append(name, rows)
    draft.commit(record, TIMES, {name: Provenance.of(made_by)})


@pytest.fixture
def store(tmp_path):
    return FeatureStore.create(tmp_path / "features.zarr")


def test_what_is_written_is_read_back(store):
    put(store, "cam 1/ä")
    again = FeatureStore.open(store.path)
    assert again.ids() == ["cam 1/ä"]
    assert again.names("cam 1/ä") == ["visual/i3d"]
    assert again.record("cam 1/ä") == RECORD
    assert again.times("cam 1/ä").tolist() == TIMES.tolist()
    read = again.read("cam 1/ä", "visual/i3d")
    assert read.dtype == np.float16
    assert read.tolist() == FEATURES.tolist()
    assert again.provenance("visual/i3d").document == MADE_BY


def test_blocks_of_any_size_make_the_same_array(store):
    rows = np.random.default_rng(0).random((150, 2, 3)).astype(np.float16)
    record, times = replace(RECORD, n_frames=150 * 16), np.arange(150 * 16) / 25
    whole = store.draft("whole")
    whole.append("visual/i3d", rows)
    whole.commit(record, times, {"visual/i3d": Provenance.of(MADE_BY)})
    draft = store.draft("blocks")
    for block in np.split(rows, [1, 64, 70, 140]):
        draft.append("visual/i3d", block)
    draft.commit(record, times, {"visual/i3d": Provenance.of(MADE_BY)})
    assert store.read("blocks", "visual/i3d").tolist() == rows.tolist()
    assert store.info("blocks", "visual/i3d").sha256 == store.info("whole", "visual/i3d").sha256


def test_a_draft_is_invisible_until_it_is_committed(store):
    draft = store.draft("a")
    draft.append("visual/i3d", FEATURES)
    assert store.ids() == []
    assert "a" not in store
    draft.discard()
    assert list((store.path / ".scratch").iterdir()) == []


KILLED = """
import sys, os, signal, numpy as np
from vad.store import Provenance, FeatureStore
draft = FeatureStore.open(sys.argv[1]).draft("a")
draft.append("visual/i3d", np.zeros((100, 10, 4), np.float16))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_nothing_in_sight_and_its_draft_is_swept(store):
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert store.ids() == []
    assert len(list((store.path / ".scratch").iterdir())) == 1
    store.sweep()
    assert list((store.path / ".scratch").iterdir()) == []


def test_a_sweep_spares_the_drafts_of_living_processes(store):
    draft = store.draft("a")
    draft.append("visual/i3d", FEATURES)
    FeatureStore.open(store.path).sweep()
    draft.commit(RECORD, TIMES, {"visual/i3d": Provenance.of(MADE_BY)})
    assert store.ids() == ["a"]


def test_an_array_joins_a_video_of_the_same_content(store):
    put(store)
    put(store, name="visual/timesformer", rows=FEATURES + 1)
    put(store, name="text/simcse", rows=FEATURES[:, 0])
    assert store.names("a") == ["text/simcse", "visual/i3d", "visual/timesformer"]
    assert store.read("a", "visual/i3d").tolist() == FEATURES.tolist()
    assert store.read("a", "text/simcse").shape == (3, 4)


def test_new_content_replaces_a_video_with_all_its_arrays(store):
    put(store)
    put(store, name="visual/timesformer", record=replace(RECORD, source_sha256="bb"))
    assert store.names("a") == ["visual/timesformer"]


def test_two_writers_of_one_video_leave_one_whole_video(store):
    first, second = store.draft("a"), store.draft("a")
    for draft in (first, second):
        draft.append("visual/i3d", FEATURES)
    for draft in (first, second):
        draft.commit(RECORD, TIMES, {"visual/i3d": Provenance.of(MADE_BY)})
    assert store.ids() == ["a"]
    assert store.read("a", "visual/i3d").tolist() == FEATURES.tolist()
    assert list((store.path / ".scratch").iterdir()) == []


NAMES = [
    *("..", ".", "../x", "/abs", "a//b", "a\\..\\b", "zarr.json", ".hidden", "-rf", "new\nline"),
    *("x", "x/y", "X", "é", "e\u0301", "n" * 300, "n" * 299 + "m", "per%41cent", "perAcent", "~"),
]


def test_every_name_gets_a_folder_of_its_own_inside_the_store(store):
    keys = {key_of(name) for name in NAMES}
    assert len(keys) == len(NAMES)
    for name in NAMES:
        put(store, name, rows=FEATURES)
    assert store.ids() == sorted(NAMES)
    assert {p.name for p in store.path.iterdir()} == keys | {"zarr.json", ".scratch"}
    assert sorted(os.listdir(store.path.parent)) == ["features.zarr"]


def test_numbers_that_do_not_fit_the_type_are_refused(store):
    with np.errstate(over="ignore"):
        overflown = (FEATURES.astype(np.float32) * 1e6).astype(np.float16)
    with pytest.raises(VideoError, match="not finite in float16; store with --dtype float32") as e:
        store.draft("a").append("visual/i3d", overflown)
    assert e.value.reason == "not-finite"


def test_arrays_of_different_settings_are_told_apart(store):
    put(store, "a")
    put(store, "b", made_by={**MADE_BY, "vad": "9.9"})
    assert store.provenance("visual/i3d").document == MADE_BY
    put(store, "c", made_by={**MADE_BY, "crops": ["five"]})
    with pytest.raises(UsageError, match="'a' and 'c' .* were made with different crops"):
        store.provenance("visual/i3d")


def test_the_only_array_of_a_kind_need_not_be_named(store):
    put(store)
    assert store.resolve("visual", None) == "visual/i3d"
    put(store, name="visual/timesformer")
    with pytest.raises(UsageError, match="several visual arrays: i3d, timesformer; choose with"):
        store.resolve("visual", None)
    with pytest.raises(UsageError, match="no text array; it has: none"):
        store.resolve("text", None)


def test_a_removed_video_is_gone(store):
    put(store)
    store.remove("a")
    assert store.ids() == []


def test_wrong_paths_say_what_to_do(tmp_path, store):
    with pytest.raises(UsageError, match="no feature store at .*nothing; make one: vad extract"):
        FeatureStore.open(tmp_path / "nothing")
    (tmp_path / "zarr.json").write_text(json.dumps({"attributes": {"vad": {"schema": 99}}}))
    with pytest.raises(UsageError, match="has schema 99, this vad reads schema 1"):
        FeatureStore.open(tmp_path)
    (tmp_path / "zarr.json").write_text("{}")
    with pytest.raises(UsageError, match="is not a feature store of vad"):
        FeatureStore.open(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(UsageError, match="exists and is not a feature store; choose another"):
        FeatureStore.create(tmp_path / "full")
    put(store, "Abuse028")
    with pytest.raises(UsageError, match="no video 'Abuse02' in .*; did you mean 'Abuse028'"):
        store.read("Abuse02", "visual/i3d")
    with pytest.raises(UsageError, match="has no array 'visual/x'; it has: visual/i3d"):
        store.read("Abuse028", "visual/x")


def test_a_store_shows_what_it_holds(store):
    assert repr(store) == f"FeatureStore {store.path}: 0 videos"
    for video in ("a", "b", "<i>c"):
        put(store, video)
    assert repr(store).splitlines() == [
        f"FeatureStore {store.path}: 3 videos '<i>c', 'a', 'b'",
        "  visual/i3d [snippets x 10 x 4] float16",
    ]
    assert "<tr><td>a<td>40<td>1.6<td>visual/i3d</tr>" in store._repr_html_()
    assert "<i>c" not in store._repr_html_()
    (store.path / "a" / "zarr.json").write_text("{")
    assert "is not what was written" in store._repr_html_()

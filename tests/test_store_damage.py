"""Whatever is damaged in a store is named in one line; nothing damaged is scored, trained on or
counted as stored."""

import contextlib
import json
import math
import os
import random
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vad.errors import UsageError, VideoError
from vad.files import UMASK
from vad.grid import ClipGrid
from vad.store import FeatureStore, Provenance, VideoRecord
from vad.store.metadata import _digest
from vad.store.verify import verify

ARRAY = "visual/i3d"
N_VIDEOS = 8
TRAIN = ("--epochs", 1, "--detector", "topk", "-q")


def put(store, video, seed=0):
    """A video of 40 frames: 3 snippets of one crop and 8 numbers."""
    record = VideoRecord(
        **{"source": f"/videos/{video}.mp4", "source_bytes": 10, "source_mtime_ns": 1},
        **{"source_sha256": "aa", "n_frames": 40, "fps": 25.0, "duration_s": 1.6},
        **{"width": 64, "height": 48, "container": "mov", "codec": "h264", "decoder": "pyav"},
        **{"n_frames_declared": 40, "n_bad_packets": 0, "tail": "repeat-last"},
    )
    draft = store.draft(video)
    draft.append(ARRAY, np.random.default_rng(seed).random((3, 1, 8)).astype(np.float16))
    draft.commit(record, np.arange(40) / 25, {ARRAY: Provenance.of({"backbone": "i3d"})})


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with a store of eight videos, labels, and a run that was trained on them."""
    import vad

    folder = tmp_path_factory.mktemp("good")
    store = FeatureStore.create(folder / "f.zarr")
    for number in range(N_VIDEOS):
        put(store, f"v{number}", seed=number)
    rows = [f"v{number},{number % 2},train" for number in range(N_VIDEOS)]
    (folder / "labels.csv").write_text("\n".join(["video,label,split", *rows]) + "\n")
    vad.train(
        folder / "f.zarr",
        folder / "labels.csv",
        folder / "run",
        quiet=True,
        epochs=1,
        detector="topk",
    )
    return folder


@pytest.fixture
def folder(good, tmp_path, monkeypatch):
    """A copy of it, to damage; it is the working folder."""
    shutil.copytree(good, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def scored(out):
    """What a command with --json says of every video."""
    return {line["video"]: line for line in map(json.loads, out.splitlines())}


def score(vad):
    args = ("score", "--store", "f.zarr", "--detector", "run", "--format", "csv", "--json", "-q")
    return vad(*args, "--out", "scores")


def train(vad):
    return vad("train", "f.zarr", "--labels", "labels.csv", "--out", "again", *TRAIN)


def chunk(video="v1"):
    return Path("f.zarr", video, ARRAY, "c/0/0/0")


# --- one damaged video fails alone, by name


def edit(path, change):
    """Change the attributes of a zarr.json, and let its checksum fit again."""
    document = json.loads(path.read_text())
    change(document)
    document["attributes"]["seal"] = _digest(document, document["attributes"])
    path.write_text(json.dumps(document))


def replace_metadata(make):
    META.unlink()
    make(META)


META, ARRAY_META = Path("f.zarr/v1/zarr.json"), Path("f.zarr/v1", ARRAY, "zarr.json")
DAMAGES = {
    "chunk missing": lambda: chunk().unlink(),
    "chunk empty": lambda: chunk().write_bytes(b""),
    "chunk of nonsense": lambda: chunk().write_bytes(b"nonsense"),
    "chunk of another video": lambda: shutil.copy(chunk("v2"), chunk()),
    "times missing": lambda: Path("f.zarr/v1/times/c/0").unlink(),
    "shape of 10^12": lambda: edit(ARRAY_META, lambda d: d.update(shape=[10**12, 1, 8])),
    "shape of -1": lambda: edit(ARRAY_META, lambda d: d.update(shape=[-1, 1, 8])),
    "wide shape": lambda: edit(ARRAY_META, lambda d: d.update(shape=[3, 10**5, 10**5])),
    "fps missing": lambda: edit(META, lambda d: d["attributes"].pop("fps")),
    "absurd frames": lambda: edit(META, lambda d: d["attributes"].update(n_frames=10**18)),
    "many frames": lambda: edit(META, lambda d: d["attributes"].update(n_frames=10**8)),
    "cut metadata": lambda: META.write_text(META.read_text()[:40]),
    "foreign metadata": lambda: META.write_text("[1, 2]"),
    "deep metadata": lambda: META.write_text("[" * 10**5),
    "metadata is a folder": lambda: replace_metadata(Path.mkdir),
    "metadata is a pipe": lambda: replace_metadata(os.mkfifo),
    "group metadata missing": lambda: Path("f.zarr/v1/visual/zarr.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_video_fails_alone_and_by_name(folder, vad, damage):
    DAMAGES[damage]()
    code, out, err = score(vad)
    assert code == 3
    assert sorted(scored(out)) == [f"v{n}" for n in range(N_VIDEOS) if n != 1]
    assert "'v1' in f.zarr is not what was written" in err
    assert "vad verify f.zarr --repair" in err
    assert json.loads(Path("scores/failures.jsonl").read_text())["reason"] == "not-intact"
    shutil.rmtree("f.zarr/.cache")  # what was packed before is still what was written then
    code, _, err = train(vad)
    if damage != "times missing":  # training does not read them
        assert code == 3, err
        assert "'v1' in f.zarr is not what was written" in err.splitlines()[-1]
        assert not Path("again/card.json").exists()
    code, out, _ = vad("inspect", "f.zarr", "--json")
    found = json.loads(out)
    assert (code == 3) == (found["n_damaged"] == 1)  # inspect reads no values
    assert found["n_videos"] == N_VIDEOS
    assert {fault.video for fault in verify("f.zarr", quiet=True).faults} == {"v1"}
    assert vad("verify", "f.zarr", "--repair", "-q")[0] == 0
    code, out, _ = score(vad)
    assert (code, len(scored(out))) == (0, N_VIDEOS - 1)


def test_a_video_whose_array_is_gone_is_named_and_the_others_are_scored(folder, vad):
    ARRAY_META.unlink()
    code, out, err = score(vad)
    assert (code, len(scored(out))) == (3, N_VIDEOS - 1)
    assert "'v1' in f.zarr lacks visual/i3d; extract it again" in err


# --- two kinds of checksums


def without_crc32(video="v1"):
    """Make the arrays of a video as version 0.1.0 wrote them."""
    for path in (ARRAY_META, Path("f.zarr", video, "times/zarr.json")):
        edit(path, lambda document: document["attributes"].pop("crc32"))


CHUNK_DAMAGES = [
    *("chunk missing", "chunk empty", "chunk of nonsense", "chunk of another video"),
    "times missing",
]


@pytest.mark.parametrize("damage", CHUNK_DAMAGES)
def test_a_damaged_video_of_an_older_store_fails_alone_and_by_name(folder, vad, damage):
    store = FeatureStore.open("f.zarr")
    values, times = store.read("v1", ARRAY), store.times("v1")
    without_crc32()
    assert (store.read("v1", ARRAY).tolist(), store.times("v1").tolist()) == (
        values.tolist(),
        times.tolist(),
    )
    assert verify("f.zarr", quiet=True).faults == []
    test_a_damaged_video_fails_alone_and_by_name(folder, vad, damage)


@pytest.mark.parametrize("older", [False, True])
def test_no_flipped_bit_or_cut_of_a_chunk_changes_what_is_read(folder, older):
    if older:
        without_crc32()
    store = FeatureStore.open("f.zarr")
    content, values = chunk().read_bytes(), store.read("v1", ARRAY).tolist()
    bits = range(8 * len(content))
    flipped = [(int.from_bytes(content) ^ 1 << bit).to_bytes(len(content)) for bit in bits]
    cuts = [content[:length] for length in range(len(content))]
    for damaged in (*flipped, *cuts, content + b"\0", content + content):
        chunk().write_bytes(damaged)
        with contextlib.suppress(VideoError):
            assert store.read("v1", ARRAY).tolist() == values
            assert older  # sha256 is that of the values: bytes that zstd ignores do not matter


def test_verify_compares_the_values_too(folder):
    edit(ARRAY_META, lambda document: document["attributes"].update(sha256="0" * 64))
    assert FeatureStore.open("f.zarr").read("v1", ARRAY).shape == (3, 1, 8)
    (fault,) = verify("f.zarr", quiet=True).faults
    assert (fault.video, fault.array, fault.kind) == ("v1", ARRAY, "checksum")


def test_a_chunk_where_there_were_only_zeros_is_damage(folder):
    store = FeatureStore.open("f.zarr")
    draft = store.draft("v1")
    draft.append("visual/zeros", np.zeros((3, 1, 8), np.float16))
    draft.commit(store.record("v1"), store.times("v1"), {"visual/zeros": Provenance({})})
    shutil.copytree(Path("f.zarr/v1", ARRAY, "c"), "f.zarr/v1/visual/zeros/c")
    with pytest.raises(VideoError, match="'v1' in f.zarr is not what was written"):
        store.read("v1", "visual/zeros")
    assert {fault.array for fault in verify("f.zarr", quiet=True).faults} == {"visual/zeros"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["attributes"].update(crc32=[]), "crc32 has 0 numbers, expected 1"),
        (
            lambda d: d["attributes"].update(crc32=["x"]),
            r"crc32\[0\] is 'x', expected a whole number",
        ),
        (lambda d: d["codecs"].pop(), "codecs is .* expected bytes and zstd"),
        (lambda d: d["codecs"][0]["configuration"].update(endian="big"), "codecs is .* expected"),
    ],
)
def test_an_array_that_this_version_would_read_wrongly_is_refused(folder, change, words):
    edit(ARRAY_META, change)
    with pytest.raises(VideoError, match=words):
        FeatureStore.open("f.zarr").read("v1", ARRAY)


def test_zarr_alone_reads_the_same_values(folder):
    import zarr

    store = FeatureStore.open("f.zarr")
    draft = store.draft("long")
    rows = np.random.default_rng(0).standard_normal((150, 2, 5)).astype(np.float32)
    rows[64:128] = 0  # a chunk that zarr does not write
    said = np.array([f"a car ä {n}" for n in range(150)], object)
    draft.append("visual/a", rows)
    draft.append("captions/a", said)
    draft.append("visual/bytes", (rows > 0).astype(np.uint8))
    record = replace(store.record("v1"), n_frames=150 * 16, source_sha256="bb")
    made = dict.fromkeys(("visual/a", "visual/bytes", "captions/a"), Provenance({}))
    draft.commit(record, np.arange(150 * 16) / 25, made)
    assert store.read("long", "visual/a").tolist() == rows.tolist()
    assert store.read("long", "captions/a").tolist() == said.tolist()
    for name in ("times", *made):
        alone, read = zarr.open_array(f"f.zarr/long/{name}", mode="r"), store.read("long", name)
        assert np.asarray(alone[:]).tolist() == read.tolist()
        assert read.flags.writeable
    assert verify("f.zarr", quiet=True).faults == []


# --- one definition of "stored"


@pytest.mark.parametrize(
    "gone", ["visual/i3d/zarr.json", "visual/i3d/c", "zarr.json", "times", "visual/zarr.json"]
)
def test_a_half_deleted_video_does_not_count_as_stored_and_is_made_whole_again(tmp_path, gone):
    store = FeatureStore.create(tmp_path / "f.zarr")
    put(store, "v1")
    assert store.is_intact("v1", ARRAY)
    path = store.path / "v1" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not store.is_intact("v1", ARRAY)
    assert store.intact(ARRAY) == []
    put(store, "v1")
    assert store.is_intact("v1", ARRAY)
    assert verify(store.path, quiet=True).faults == []
    assert store.ids() == ["v1"]


def test_an_array_of_zeros_is_stored_though_zarr_writes_no_chunk_of_it(tmp_path):
    store = FeatureStore.create(tmp_path / "f.zarr")
    put(store, "v1")
    record, times = store.record("v1"), store.times("v1")
    draft = store.draft("v1")
    draft.append("visual/zeros", np.zeros((3, 1, 8), np.float16))
    draft.commit(record, times, {"visual/zeros": Provenance({})})
    assert not (store.path / "v1/visual/zeros/c").exists()
    assert store.is_intact("v1", "visual/zeros")
    assert not store.read("v1", "visual/zeros").any()


def test_a_video_without_metadata_is_not_said_to_be_another_of_its_name(tmp_path):
    store = FeatureStore.create(tmp_path / "f.zarr")
    put(store, "v1")
    (store.path / "v1/zarr.json").unlink()
    with pytest.raises(
        VideoError, match="'v1' .* its zarr.json is missing; vad verify .* --repair"
    ):
        store.record("v1")
    with pytest.raises(UsageError, match="no video 'v2'"):
        store.record("v2")


def test_strangers_in_the_folder_are_named_once_and_left_alone(folder, vad):
    Path("f.zarr/notes").mkdir()
    Path("f.zarr/notes/todo.txt").write_text("call the camera people")
    Path("f.zarr/my videos").mkdir()
    Path("f.zarr/my videos/zarr.json").write_text("{}")
    Path("f.zarr/link").symlink_to("nowhere")
    code, out, err = score(vad)
    assert (code, len(scored(out))) == (0, N_VIDEOS)
    assert err.count("my videos") == 1
    assert train(vad)[0] == 0
    assert vad("inspect", "f.zarr")[0] == 0
    code, out, _ = vad("verify", "f.zarr", "--repair", "-q")
    assert "notes" not in out
    assert Path("f.zarr/notes/todo.txt").exists()


# --- packed training data


def caches():
    return sorted(Path("f.zarr/.cache").glob("*.npy"))


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "misshapen"])
def test_damaged_training_data_is_packed_again(folder, good, vad, damage):
    (cache,) = caches()
    content = cache.read_bytes()
    if damage == "misshapen":
        np.save(cache, np.zeros((2, 3), np.float32))
    else:
        bad = {"cut": content[:-9], "empty": b"", "flipped": content[:-1] + b"\x55"}[damage]
        cache.write_bytes(bad)
    assert verify("f.zarr", quiet=True).caches == [str(cache)]
    assert train(vad)[0] == 0
    assert cache.read_bytes() == content
    weights = [
        next(run.rglob("*.safetensors")).read_bytes() for run in (good / "run", Path("again"))
    ]
    assert weights[0] == weights[1]
    assert verify("f.zarr", quiet=True).caches == []


def test_training_after_a_repair_does_not_use_what_was_packed_before(folder, vad):
    store = FeatureStore.open("f.zarr")
    put(store, "v1", seed=99)  # other values, same names and shapes
    assert train(vad)[0] == 0
    assert len(caches()) == 2


# --- stores that cannot be written, and stores that moved


# Runs commands without the right of root to write everywhere (all its capabilities are gone), and
# prints of each a line: exit code, stdout, stderr.
COMMANDS = """
import contextlib, ctypes, io, json, sys
from vad.stages.pipelines.cli import run_command
version_3_of_this_process, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(version_3_of_this_process, none) == 0
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(words)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


@pytest.fixture
def vad_without_rights(python, tmp_path):
    """Run commands in a process that may not write into the store f.zarr of the working folder:
    exit code, stdout and stderr of each.
    """

    def run(*commands):
        for path in (Path("f.zarr"), *Path("f.zarr").rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        words = json.dumps([[str(word) for word in command] for command in commands])
        environment = {**os.environ, "VAD_CACHE": str(tmp_path / "cache")}
        done = python.run("-c", COMMANDS, words, env=environment)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_a_store_that_cannot_be_written_is_read_all_the_same(
    folder, tmp_path, make_video, vad_without_rights
):
    shutil.rmtree("f.zarr/.cache")
    train = ("train", "f.zarr", "--labels", "labels.csv", "--out", tmp_path / "run", *TRAIN)
    new = make_video("new.mp4", n_frames=20)
    extract = ("extract", new, "--store", "f.zarr", "-q")
    trained, refused = vad_without_rights(train, extract)
    code, _, err = trained
    assert code == 0, err
    assert list((tmp_path / "cache/bags").glob("*.npy"))
    assert not Path("f.zarr/.cache").exists()
    (weights,) = (tmp_path / "run").rglob("*.safetensors")
    assert weights.stat().st_mode & 0o777 == 0o666 & ~UMASK
    code, _, err = refused
    assert code == 2
    assert "f.zarr cannot be written: Permission denied" in err


def test_extraction_with_nothing_to_do_needs_no_right_to_write(
    small_run, tmp_path, monkeypatch, vad_without_rights
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_run / "features.zarr", "f.zarr")
    options = ("--backbone", "efficientnet-lite0", "--store", "f.zarr", "-q")
    ((code, out, err),) = vad_without_rights(("extract", small_run / "videos", *options))
    assert (code, out) == (0, "0 done, 4 skipped, 0 failed\n"), err


def test_source_paths_are_absolute_and_older_relative_ones_are_found_beside_the_store(
    tmp_path, monkeypatch, make_video
):
    from vad.stages.extract.decoders.pool import DecodeReport
    from vad.stages.extract.decoders.video import probe
    from vad.stages.extract.records import FileState, decoded_record, unseen_record

    path = make_video("videos/a.mp4", n_frames=20)
    monkeypatch.chdir(tmp_path)
    relative = path.relative_to(tmp_path)
    report = DecodeReport(**{**{f.name: None for f in fields(DecodeReport)}, "n_frames": 20})
    state = FileState.of(relative)
    record = decoded_record(relative, state, "aa", probe(relative), report, ClipGrid())
    assert record.source == str(path)
    store = FeatureStore.create(tmp_path / "f.zarr")
    monkeypatch.chdir("/")
    old = unseen_record(relative, 20, 25.0, "repeat-last", decoder="pyav")
    assert store.source_of(old) == path


# --- every field of the metadata in ten ways

MISSING = object()
WAYS = {
    **{"float": 0.5, "none": None, "negative": -1, "huge": 10**30, "nan": math.nan, "string": "x"},
    **{"list": [1], "missing": MISSING, "nested": {"a": {"b": 1}}, "bool": False},
}
VIDEO_FIELDS = ["id", *(field.name for field in fields(VideoRecord)), "seal"]
OUTER_FIELDS = ["shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs"]
OUTER_FIELDS += ["storage_transformers", "node_type", "zarr_format"]
ARRAY_FIELDS = ["provenance", "sha256", "complete", "seal"]
# Values that the field could have: they are told by the checksum alone.
POSSIBLE = {
    *((name, "string") for name in ("source", "source_sha256", "container", "codec", "decoder")),
    *(("source_mtime_ns", "negative"), ("n_frames_declared", "none"), ("fps", "float")),
    *(("duration_s", "float"), ("id", "string"), ("provenance", "nested")),
    ("chunk_key_encoding", "nested"),
    *(("fill_value", way) for way in ("float", "negative", "string")),
    *((name, "missing") for name in ("n_jumps", "n_rescaled", "fps_assumed", "sampling")),
    ("sampling", "nested"),  # of fields that a later version may have
}


def changed(path, field, way, *, inside):
    document = json.loads(path.read_text())
    holder = document["attributes"] if inside else document
    if WAYS[way] is MISSING:
        del holder[field]
    else:
        holder[field] = WAYS[way]
    path.write_text(json.dumps(document))


def test_every_changed_field_of_the_metadata_is_named_in_one_line(tmp_path, vad, good):
    shutil.copytree(good / "run", tmp_path / "run")
    store = FeatureStore.create(tmp_path / "f.zarr")
    whole = [f"g{number}" for number in range(6)]
    for video in whole:
        put(store, video)
    expected = {}
    cases = [("zarr.json", name, True) for name in VIDEO_FIELDS]
    cases += [(f"{ARRAY}/zarr.json", name, False) for name in OUTER_FIELDS]
    cases += [(f"{ARRAY}/zarr.json", name, True) for name in ARRAY_FIELDS]
    for file, name, inside in cases:
        for way in WAYS:
            if (name, way) == ("fps_assumed", "bool"):
                continue  # it is false already
            video = f"{name} {way}{' of an array' * (len(file) > 9)}"
            path = store.path / video.replace(" ", "%20")
            shutil.copytree(store.path / whole[0], path)
            edit(path / "zarr.json", lambda d, name=video: d["attributes"].update(id=name))
            changed(path / file, name, way, inside=inside)
            expected[video] = "seal" if (name, way) in POSSIBLE else name
    assert len(expected) == 10 * len(cases) - 1 > 250

    def check(told):
        assert told.keys() == expected.keys()
        for video, line in told.items():
            assert "\n" not in line
            assert expected[video] in line.replace(repr(video), ""), line

    code, out, _ = vad("inspect", store.path, "--json")
    assert code == 3
    videos = json.loads(out)["videos"]
    assert not any("damaged" in videos.pop(video) for video in whole)
    check({video: what["damaged"] for video, what in videos.items()})
    args = (
        "--detector",
        tmp_path / "run",
        "--out",
        tmp_path / "scores",
        "--format",
        "csv",
        "--json",
    )
    code, out, _ = vad("score", "--store", store.path, *args, "-q")
    assert (code, list(scored(out))) == (3, whole)
    failures = map(json.loads, (tmp_path / "scores/failures.jsonl").read_text().splitlines())
    check({failure["video"]: failure["message"] for failure in failures})
    labels = tmp_path / "labels.csv"
    for video in (*list(expected)[::40], list(expected)[-1]):
        rows = (f"{name},{n % 2},train\n" for n, name in enumerate((video, *whole)))
        labels.write_text("video,label,split\n" + "".join(rows))
        code, _, err = vad("train", store.path, "--labels", labels, "--out", tmp_path / "r", *TRAIN)
        assert code == 3, err
        assert repr(video) in err.splitlines()[-1]
        assert expected[video] in err.splitlines()[-1]


WEIGHTS = {"name": "imagenet", "file": "a.pth", "sha256": "ab", "licence": "MIT", "seed": 1}
CAPTIONS = {"captioner": "git", "window": 64, "frames": [0, 63], "stride": 16, "weights": WEIGHTS}
MEMBERS = {  # of the provenance of an array, with every member that vad has written
    "visual/a": {
        **{"backbone": "i3d", "dim": 8, "weights": {**WEIGHTS, "random": False}, "layout": "fair"},
        **{"recipe": {"name": "rtfm", "frames": [0, 1], "std": 57.375, "note": ""}},
        **{"crop_set": "center", "crops": ["center"], "precision": {"asked": "auto"}, "vad": "0"},
        **{"versions": {"torch": "2"}, "clip_frames": 16, "tail": "loop", "dtype": "float16"},
    },
    "visual/b": {
        **{"imported": "numpy", "dim": 8, "dtype": "float16", "crops": 1, "origin": "", "vad": "0"},
        **{"stream": "rgb", "assumed": ["fps"], "clip_frames": 16},
    },
    "text/a": {
        **{"encoder": "simcse", "dim": 8, "weights": {"name": "x", "revision": None}},
        **{"pooling": {"mode": ["mean"]}, "normalised": True, "max_tokens": 256, "prompt": ""},
        **{"captions": CAPTIONS, "a member of a newer version": {"n": [1]}},
    },
    "captions/a": {**CAPTIONS, "max_new_tokens": 20, "prompt": "What?", "wording": ["a shop"]},
    "captions/b": {"captioner": "said", "files": {"said.json": "ab"}, "rule": "held", "vad": "0"},
}


def paths_of(value, path=()):
    """The paths of all values in a JSON object."""
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, name)
        if isinstance(item, dict | list):
            yield from paths_of(item, (*path, name))


def edited(path, way):
    def change(document):
        *above, last = path
        holder = document["attributes"]["provenance"]
        for name in above:
            holder = holder[name]
        if WAYS[way] is MISSING:
            del holder[last]
        else:
            holder[last] = WAYS[way]

    return change


def test_every_changed_member_of_a_provenance_is_taken_or_named_in_one_line(tmp_path, vad):
    store = FeatureStore.create(tmp_path / "f.zarr")
    put(store, "v")
    draft = store.draft("v")
    for name in MEMBERS:
        rows = {"visual": (3, 1, 8), "text": (3, 8), "captions": (3,)}[name.split("/")[0]]
        draft.append(name, np.full(rows, "a", object) if len(rows) == 1 else np.ones(rows))
    made = {name: Provenance.of(members) for name, members in MEMBERS.items()}
    draft.commit(store.record("v"), store.times("v"), made)

    def refusal(name):
        try:
            store.info("v", name)
        except VideoError as error:
            return str(error)
        return ""

    n_taken = n_named = 0
    for name, members in MEMBERS.items():
        assert store.info("v", name).provenance.document == members
        path = store.path / "v" / name / "zarr.json"
        written = path.read_text()
        for where in paths_of(members):
            for way in WAYS:
                document = json.loads(written)
                edited(where, way)(document)
                if document == json.loads(written):
                    continue
                named = rf"provenance\.({'|'.join(str(part) for part in where)})\b"
                path.write_text(json.dumps(document))  # its checksum tells, if no type does
                line = refusal(name)
                assert re.search(rf"{named}|checksum \(seal\)", line), (name, where, way, line)
                assert "\n" not in line
                edit(path, lambda _: None)
                line = refusal(name)
                assert not line or re.search(named, line), (name, where, way, line)
                assert "\n" not in line
                n_named += bool(line)
                n_taken += not line
                if len(where) > 1 or where[0] in ("pooling", "a member of a newer version"):
                    continue
                if way == ("float" if isinstance(members[where[0]], dict) else "nested"):
                    assert line, (name, where)
                if way in ("none", "missing"):  # taken: `inspect` reads and shows all of it
                    code, _, err = vad("inspect", store.path)
                    assert code == 0, (where, way, err)
        path.write_text(written)
    assert n_named > 300
    assert n_taken > 100


# --- at random

KINDS = st.sampled_from(["bit", "cut", "missing", "number", "longer", "stranger", "folder"])


def damage(file, kind, position, rng):
    """Damage a file; the number of a bit or the length of a cut lies at `position` (0 to 1)."""
    content = file.read_bytes()
    if kind == "bit" and content:
        at = int(position * (len(content) - 1))
        file.write_bytes(
            content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        )
    elif kind == "cut":
        file.write_bytes(content[: int(position * len(content))])
    elif kind == "missing":
        file.unlink()
    elif kind == "folder":
        shutil.rmtree(file.parent) if file.parent.name != "f.zarr" else file.unlink()
    elif kind == "longer":
        file.write_bytes(content + content)
    elif kind == "stranger":
        shutil.copytree(
            file.parent, "f.zarr/" + rng.choice(["stranger", "a stranger", "v%31", "v9"])
        )
    elif file.name == "zarr.json":
        document = json.loads(content)
        holder = rng.choice([document, document["attributes"]])
        numbers = [name for name, value in holder.items() if isinstance(value, int | float)]
        if numbers:
            holder[rng.choice(numbers)] = rng.choice(
                [-1, 0, 1, 10**6, 10**12, 10**30, 0.5, math.nan]
            )
        file.write_text(json.dumps(document))


def check_that_damage_is_told(good, folder, vad, before, choices):
    kind, where, position, seed = choices
    os.chdir(good)
    shutil.rmtree(folder)
    shutil.copytree(good, folder)
    os.chdir(folder)
    files = sorted(path for path in Path("f.zarr").rglob("*") if path.is_file())
    damage(files[int(where * (len(files) - 1))], kind, position, random.Random(seed))
    for run in (
        score,
        train,
        lambda vad: vad("inspect", "f.zarr"),
        lambda vad: vad("verify", "f.zarr"),
    ):
        code, out, err = run(vad)
        assert code in (0, 2, 3), err
        assert "Traceback" not in err
        if run is score:
            for video, line in scored(out).items():
                assert line == before.get(video), "a damaged video was scored"
        if run is train and code == 0:
            weights = [
                next(r.rglob("*.safetensors")).read_bytes() for r in (Path("run"), Path("again"))
            ]
            left = FeatureStore.open("f.zarr").having(ARRAY)  # others are not trained on
            gone = set(before) - set(left)
            assert weights[0] == weights[1] or any(repr(video) in err for video in gone)


def run_trials(good, folder, vad, n):
    code, out, _ = score(vad)
    assert code == 0
    unit = st.floats(0, 1)

    @settings(
        max_examples=n,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=n < 100,
    )
    @given(st.tuples(KINDS, unit, unit, st.integers(0, 2**32)))
    def trial(choices):
        check_that_damage_is_told(good, folder, vad, scored(out), choices)

    trial()


def test_random_damage_is_told_and_never_scored_or_trained_on(good, folder, vad):
    run_trials(good, folder, vad, 5)


@pytest.mark.slow
def test_random_damage_is_told_and_never_scored_or_trained_on_500_times(good, folder, vad):
    run_trials(good, folder, vad, 500)

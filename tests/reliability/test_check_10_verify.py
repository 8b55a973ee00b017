"""Check 10: every array carries its checksum, and `vad verify` finds what changed since."""

import json
import shutil

import numpy as np
import pytest

from vad.store import FeatureStore, key_of
from vad.store.verify import verify

LONG = "a long name " * 30  # its folder's name is a digest of it


@pytest.fixture
def store(tmp_path, put):
    path = tmp_path / "features.zarr"
    put(path, "a")
    put(path, "cam 1/b", seed=1)
    return path


def found(store):
    return [(fault.video, fault.array, fault.kind) for fault in verify(store, quiet=True).faults]


def test_check_10_a_store_as_written_has_no_fault(store, put):
    put(store, LONG, seed=2)
    put(store, "a", name="text/simcse", made_by="simcse")  # joins later
    report = verify(store, quiet=True)
    assert (report.faults, report.exit_code) == ([], 0)
    assert (report.n_videos, report.n_arrays) == (3, 4)
    assert report.n_bytes == 4 * 3 * 2 * 4 * 2 + 3 * 40 * 8  # half precision; times in double


def test_check_10_one_flipped_bit_anywhere_is_found_with_its_video(store):
    files = sorted(path for path in (store / key_of("cam 1/b")).rglob("*") if path.is_file())
    assert len(files) == 6  # metadata of the video, of visual/ and of two arrays; a chunk of each
    rng = np.random.default_rng(0)
    for path in files:
        content = path.read_bytes()
        for position in rng.integers(0, len(content), 6):
            flipped = bytearray(content)
            flipped[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            assert [video for video, *_ in found(store)] == ["cam 1/b"], (path, position)
        path.write_bytes(content)
    assert found(store) == []


def chunk(store, array):
    (path,) = [p for p in (store / "a" / array / "c").rglob("*") if p.is_file()]
    return path


def one_more_row(store):
    import zarr

    array = zarr.open_array(str(store / "a/visual/i3d"), mode="r+")
    array.append(array[:1])


@pytest.mark.parametrize(
    ("damage", "array", "kind"),
    [
        (lambda s: chunk(s, "visual/i3d").unlink(), "visual/i3d", "checksum"),
        (lambda s: chunk(s, "times").unlink(), "times", "checksum"),
        (lambda s: chunk(s, "visual/i3d").write_bytes(b""), "visual/i3d", "unreadable"),
        (one_more_row, "visual/i3d", "metadata"),
        (lambda s: (s / "a/visual/i3d/zarr.json").unlink(), "visual/i3d", "metadata"),
        (lambda s: (s / "a/zarr.json").write_text("{"), "", "metadata"),
        (lambda s: shutil.rmtree(s / "a/visual"), "", "incomplete"),
        (lambda s: shutil.rmtree(s / "a/times"), "times", "metadata"),
    ],
)
def test_check_10_what_is_missing_or_too_much_is_found(store, damage, array, kind):
    damage(store)
    assert found(store) == [("a", array, kind)]


def test_check_10_values_swapped_between_videos_are_found(store):
    one, other = store / "a", store / key_of("cam 1/b")
    one.rename(store / ".a")
    other.rename(one)
    (store / ".a").rename(other)
    assert found(store) == [("a", "", "metadata"), ("cam 1/b", "", "metadata")]


def test_check_10_an_array_that_joined_with_the_wrong_length_is_found(store):
    shutil.rmtree(store / "a/visual/i3d")
    shutil.copytree(store / "a/times", store / "a/visual/i3d")
    assert ("a", "visual/i3d", "length") in found(store)


def test_check_10_a_mix_of_settings_is_found_and_the_odd_one_named(store, put):
    put(store, "c", made_by="timesformer")
    assert found(store) == [("c", "visual/i3d", "mixed")]


def test_check_10_the_command_names_video_and_array_and_repairs(store, vad):
    chunk(store, "visual/i3d").write_bytes(b"nonsense")
    code, out, err = vad("verify", store)
    assert code == 3
    assert "a visual/i3d: unreadable: " in out
    assert "2 videos, 2 arrays, " in out
    assert "1 bad" in out
    assert f"vad verify {store} --repair" in err
    assert FeatureStore.open(store).ids() == ["a", "cam 1/b"]  # nothing was touched
    code, out, _ = vad("verify", store, "--repair", "--json")
    assert code == 0
    moved = json.loads(out)["moved"]
    assert list(moved) == ["a"]
    assert (store / ".quarantine").as_posix() in moved["a"]
    assert FeatureStore.open(store).ids() == ["cam 1/b"]
    assert vad("verify", store)[0] == 0


def test_check_10_repair_keeps_what_it_moved_out_before(store, put):
    for _ in range(2):
        chunk(store, "visual/i3d").write_bytes(b"nonsense")
        assert list(verify(store, repair=True, quiet=True).moved) == ["a"]
        put(store, "a")
    assert len(list((store / ".quarantine").iterdir())) == 2
    assert found(store) == []


def test_check_10_sources_that_went_changed_or_grew_are_told_one_by_one(make_video, vad, tmp_path):
    names = ("gone", "grown", "other", "same", "touched")
    files = {name: make_video(f"in/{name}.mp4", 12 + i) for i, name in enumerate(names)}
    store = tmp_path / "s.zarr"
    vad("extract", tmp_path / "in", "--store", store, "--weights", "random:0", "--quiet")
    np.save(tmp_path / "bought.npy", np.ones((2, 3), np.float32))
    vad("import", "features", tmp_path / "bought.npy", "--store", store)
    assert vad("verify", store, "--sources")[0] == 0
    files["gone"].unlink()
    with files["grown"].open("ab") as file:
        file.write(b"more")
    content = bytearray(files["other"].read_bytes())
    content[-1] ^= 1  # of the same size
    files["other"].write_bytes(content)
    files["touched"].touch()
    code, out, _ = vad("verify", store, "--sources", "--json")
    found = json.loads(out)
    assert {c["video"]: c["kind"] for c in found["sources"]} == {
        "gone": "missing",
        "grown": "growing",
        "other": "replaced",
    }
    assert (code, found["n_sources"], found["n_without_source"], found["faults"]) == (3, 5, 1, [])
    code, out, _ = vad("verify", store, "--sources", "--repair")
    assert (code, FeatureStore.open(store).ids()) == (3, ["bought", *names])  # the store is well
    assert "grown growing: its file has gone on since" in out
    assert "5 files compared, 3 changed; 1 videos are imported" in out
    assert vad("verify", store)[0] == 0

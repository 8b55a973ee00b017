"""Are these the same features? Told by recipe and by number."""

import json

import numpy as np
import pytest

from vad.errors import UsageError
from vad.stages.extract.compare import compare, flatten
from vad.stages.extract.layouts import import_features
from vad.stages.pipelines.cli import main
from vad.store import FeatureStore, Provenance, VideoRecord

RECIPE = {"backbone": "i3d", "recipe": {"name": "rtfm", "std": 57.375}, "dtype": "float16"}


def record(n_frames):
    return VideoRecord(
        **{"source": "v.mp4", "source_bytes": 1, "source_mtime_ns": 1, "source_sha256": "00"},
        **{"n_frames": n_frames, "fps": 10.0, "duration_s": n_frames / 10, "width": 1, "height": 1},
        **{"container": "mov", "codec": "h264", "decoder": "pyav", "n_frames_declared": None},
        **{"n_bad_packets": 0, "tail": "repeat-last"},
    )


@pytest.fixture
def make_store(tmp_path):
    """A store of videos at 10 frames a second, all made by one recipe."""

    def make(name, videos, **changes):
        store = FeatureStore.create(tmp_path / name)
        for video, features in videos.items():
            draft = store.draft(video)
            draft.append("visual/i3d", np.asarray(features, np.float32))
            n_frames = 16 * len(features)
            times = np.arange(n_frames) / 10
            draft.commit(
                record(n_frames), times, {"visual/i3d": Provenance.of({**RECIPE, **changes})}
            )
        return store.path

    return make


# one crop: two snippets that point along x, and along y
ALONG = [[[1, 0]], [[0, 1]]]
# the second turned by 60 degrees: a cosine of 0.5
TURNED = [[[2, 0]], [[3**0.5, 1]]]


def test_cosines_are_of_snippets_and_the_worst_has_a_time(make_store):
    found = compare(make_store("a", {"v": ALONG}), make_store("b", {"v": TURNED}))
    (video,) = found.videos
    assert (video.mean, video.lowest) == pytest.approx((0.75, 0.5))
    assert (video.worst_snippet, video.worst_crop) == (1, 0)
    assert video.worst_s == 1.6  # frame 16 at 10 frames a second
    assert video.norms == pytest.approx((1, 2))
    assert found.same_recipe
    assert not found.same
    assert compare(make_store("a", {}), make_store("b", {}), least=0.4).same


@pytest.mark.parametrize(
    ("changes", "field", "values"),
    [
        ({"recipe": {"name": "rtfm", "std": 1.0}}, "recipe.std", (57.375, 1.0)),
        ({"tail": "loop"}, "tail", (None, "loop")),
    ],
)
def test_the_field_that_differs_is_named(make_store, changes, field, values):
    found = compare(make_store("a", {"v": ALONG}), make_store("b", {"v": ALONG}, **changes))
    assert found.differing == {field: values}
    assert found.same_recipe is False
    assert not found.same  # though the numbers agree


@pytest.mark.parametrize("changes", [{"dtype": "float32"}, {"versions": {"torch": "3"}}])
def test_what_only_informs_makes_no_difference(make_store, changes):
    found = compare(make_store("a", {"v": ALONG}), make_store("b", {"v": ALONG}, **changes))
    assert len(found.informing) == 1
    assert (found.same_recipe, found.same) == (True, True)


def test_other_lengths_are_not_the_same(make_store):
    found = compare(make_store("a", {"v": ALONG}), make_store("b", {"v": ALONG[:1]}))
    assert found.videos[0].n_snippets == (2, 1)
    assert found.videos[0].lowest == 1
    assert not found.same


def test_videos_are_matched_by_the_last_part_of_their_names(make_store):
    ours = make_store("a", {"cam/v": ALONG, "w": ALONG})
    found = compare(ours, make_store("b", {"v": ALONG, "x": ALONG}))
    assert [video.video for video in found.videos] == ["cam/v"]
    assert found.only == (["w"], ["x"])


def test_stores_of_other_videos_are_compared_by_recipe(make_store):
    ours = make_store("a", {"v": ALONG, "w": ALONG})
    found = compare(ours, make_store("b", {"x": ALONG}, tail="loop"))
    assert found.videos == []
    assert (found.same_recipe, found.same, list(found.differing)) == (False, False, ["tail"])


def test_vectors_of_zeros_agree_with_each_other_alone(make_store):
    zeros = [[[0, 0]], [[0, 0]]]
    found = compare(make_store("a", {"v": zeros}), make_store("b", {"v": [[[0, 0]], [[1, 0]]]}))
    assert (found.videos[0].lowest, found.videos[0].mean) == (0, 0.5)


def test_another_order_of_the_crops_is_told(make_store, tmp_path):
    rng = np.random.default_rng(0)
    ours = rng.random((4, 5, 16)).astype(np.float32)
    order = [0, 1, 4, 2, 3]  # crop k of ours is crop order[k] of theirs
    np.save(tmp_path / "v.npy", ours[:, np.argsort(order)])
    found = compare(make_store("a", {"v": ours}), tmp_path / "v.npy")
    assert found.crop_order == order
    assert not found.same


def test_published_files_are_compared_by_number(make_store, tmp_path):
    features = np.random.default_rng(0).random((3, 10, 8)).astype(np.float32)
    store = make_store("a", {"v": features})
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "v_i3d.npy", features)
    found = compare(store, tmp_path / "b")
    assert (found.same_recipe, found.same, found.lowest.lowest) == (None, True, pytest.approx(1))
    import_features(tmp_path / "b", tmp_path / "c", quiet=True)
    imported = compare(store, tmp_path / "c")
    assert (imported.same_recipe, imported.same) == (None, True)


def test_two_single_files_are_taken_for_one_video(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((4, 2), np.float32))
    np.save(tmp_path / "w.npy", np.ones((4, 2), np.float32))
    assert compare(tmp_path / "v.npy", tmp_path / "w.npy").same


def test_features_of_other_shapes_have_no_cosine(make_store):
    found = compare(make_store("a", {"v": ALONG}), make_store("b", {"v": [[[1, 2, 3]]]}))
    assert (found.shapes, found.videos, found.same) == (((1, 2), (1, 3)), [], False)


def test_nothing_to_compare_is_told(make_store, tmp_path):
    store = make_store("a", {"v": ALONG, "w": ALONG})
    np.save(tmp_path / "x.npy", np.ones((4, 2), np.float32))
    with pytest.raises(UsageError, match="no video in common .there are 'v' and 'x'."):
        compare(store, tmp_path / "x.npy")
    with pytest.raises(UsageError, match="no file or folder"):
        compare(store, tmp_path / "none")


@pytest.mark.parametrize(("other", "code"), [(ALONG, 0), (TURNED, 1)])
def test_the_command_says_so_with_its_exit_code(make_store, monkeypatch, capsys, other, code):
    paths = [str(make_store("a", {"v": ALONG})), str(make_store("b", {"v": other}))]
    for flag in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["vad", "compare", *paths, *flag])
        with pytest.raises(SystemExit) as done:
            main()
        assert (done.value.code or 0) == code
        out = capsys.readouterr().out
        if flag:
            assert json.loads(out)["same"] is (code == 0)
        else:
            assert out.splitlines()[-1] == (
                "not the same features" if code else "the same features"
            )


def test_nested_fields_get_dotted_names():
    assert flatten({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}

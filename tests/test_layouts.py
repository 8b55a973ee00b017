"""Features as others publish them: told apart, brought in, handed out again unchanged."""

import csv
import json
import pickle

import numpy as np
import pytest
import torch

from vad.errors import UsageError
from vad.stages.extract.layouts import LAYOUTS, export_features, import_features
from vad.stages.train.bags import Bag, bags_in_memory
from vad.stages.train.streams import read_streams
from vad.store import FeatureStore
from vad.store.verify import verify

DIM = 6


@pytest.fixture
def published(tmp_path):
    """Write files of random features into a folder: name -> array that a store must hold."""
    folder = tmp_path / "published"
    rng = np.random.default_rng(0)

    def write(shapes):
        written = {}
        for name, shape in shapes.items():
            array = rng.random(shape, np.float32)
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".npy"):
                np.save(path, array)
            elif name.endswith(".txt"):
                np.savetxt(path, array, "%.9g")
            else:
                torch.save(torch.from_numpy(array), path)
            written[name] = array
        return written

    write.folder = folder
    return write


@pytest.fixture
def stored(tmp_path, published):
    """Import the folder: the outcome, and the store."""

    def run(*paths, **settings):
        target = tmp_path / "s.zarr"
        outcome = import_features(list(paths) or [published.folder], target, quiet=True, **settings)
        return outcome, FeatureStore.open(target)

    return run


# --- recognised, and read


@pytest.mark.parametrize(
    ("shapes", "layout", "array", "videos"),
    [
        (
            {"a_i3d.npy": (3, 10, DIM), "sub/b_i3d.npy": (10, 10, DIM)},
            "rtfm",
            "visual/i3d",
            {"a": (3, 10, DIM), "sub/b": (10, 10, DIM)},
        ),
        ({"a_i3d.npy": (7, 5, DIM)}, "rtfm", "visual/i3d", {"a": (7, 5, DIM)}),
        (
            {"a.npy": (10, 3, DIM), "b.npy": (10, 10, DIM)},  # crops first, by the other file
            "numpy",
            "visual/features",
            {"a": (3, 10, DIM), "b": (10, 10, DIM)},
        ),
        ({"a.npy": (4, DIM)}, "numpy", "visual/features", {"a": (4, 1, DIM)}),
        ({"a.pt": (4, 5, DIM)}, "torch", "visual/features", {"a": (4, 5, DIM)}),
        ({"a.b_emb.npy": (4, DIM)}, "tevad-text", "text/simcse", {"a.b": (4, DIM)}),
        (
            {f"a__#1_label_A__{k}.npy": (4, DIM) for k in range(5)},
            "crop-files",
            "visual/i3d",
            {"a__#1_label_A": (4, 5, DIM)},
        ),
        (
            {"a.npy": (4, DIM), "a__1.npy": (4, DIM)},  # crop 0 without a number
            "crop-files",
            "visual/i3d",
            {"a": (4, 2, DIM)},
        ),
        ({"a.txt": (32, DIM)}, "c3d-text", "visual/c3d", {"a": (32, 1, DIM)}),
        (
            {"a_i3d.npy": (7, 5, DIM), "read me.txt": (1, 1)},
            "rtfm",
            "visual/i3d",
            {"a": (7, 5, DIM)},
        ),
    ],
)
def test_layouts_are_told_by_names_and_axes_by_shapes(
    published, stored, shapes, layout, array, videos
):
    published(shapes)
    outcome, store = stored()
    assert (outcome.done, outcome.failed) == (sorted(videos), {})
    for video, shape in videos.items():
        features = store.read(video, array)
        assert features.shape == shape
        assert features.dtype == np.float32
    assert store.provenance(array).imported == layout


def test_every_number_is_in_its_place(published, stored):
    tall = published({"a.npy": (10, 3, DIM)})["a.npy"]
    _, store = stored(name="t")
    assert np.array_equal(store.read("a", "visual/t"), tall.transpose(1, 0, 2))


def test_crop_k_is_file_k(published, stored):
    files = published({f"a__{k}.npy": (4, DIM) for k in range(10)})
    _, store = stored()
    for k in range(10):
        assert np.array_equal(store.read("a", "visual/i3d")[:, k], files[f"a__{k}.npy"])


AMBIGUOUS = [{"a.npy": (10, 10, DIM)}, {"a.npy": (5, 10, DIM)}, {"a.npy": (1, 5, DIM)}]


@pytest.mark.parametrize("shapes", AMBIGUOUS)
def test_what_shapes_leave_open_is_asked(published, stored, shapes):
    array = published(shapes)["a.npy"]
    with pytest.raises(UsageError, match="--axes snippets-crops or --axes crops-snippets"):
        stored()
    _, store = stored(axes="snippets-crops")
    assert np.array_equal(store.read("a", "visual/features"), array)
    _, store = stored(axes="crops-snippets", overwrite=True)
    assert np.array_equal(store.read("a", "visual/features"), array.transpose(1, 0, 2))


@pytest.mark.parametrize(
    ("shapes", "settings", "message"),
    [
        (
            {"a.npy": (4, 6), "b.npy": (4, 6), "c.npy": (4, 7)},
            {},
            "the width of .*c.npy is 7.*if the first axis is the width",
        ),
        (
            {"a.npy": (4, 10, 6), "b.npy": (6, 10, 6), "c.npy": (7, 5, 6)},
            {},
            "number of crops of .*c.npy is 5, that of 2 of 3 files, such as .*a.npy, is 10",
        ),
        ({"a.npy": (4, 6), "b.npy": (4, 10, 6)}, {}, "number of axes of"),
        ({"a.npy": (4, 3, 6), "b.npy": (7, 3, 6)}, {}, "3 crops on axis 1, where there are 1, 5"),
        ({"a_i3d.npy": (4, 6), "a_emb.npy": (4, 6)}, {}, "several layouts: .*choose with --layout"),
        ({"a.npy": (4, 6), "a__0.npy": (4, 6), "a__1.npy": (4, 6)}, {}, "both hold 'a'"),
        ({"a.npy": (4, 6)}, {"layout": "rtfm"}, "no file of layout rtfm in"),
        ({"a.npy": (4, 6)}, {"layout": "rtfn"}, "no layout named 'rtfn'; .*did you mean 'rtfm'"),
        ({"a_emb.npy": (4, 10, 6)}, {}, "text is .snippets, dim., .*a_emb.npy has crops"),
        ({"a.npy": (4, 6)}, {"axes": "tcd"}, "axes are auto, snippets-crops or crops-snippets"),
        ({"a.npy": (4, 6)}, {"dtype": "int8"}, "float16 or float32, not int8"),
    ],
)
def test_sets_that_do_not_fit_together_are_refused(
    published, stored, tmp_path, shapes, settings, message
):
    published(shapes)
    with pytest.raises(UsageError, match=message):
        stored(**settings)
    assert not (tmp_path / "s.zarr").exists()


# --- files that cannot be used: their video fails, the others are stored


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.proof),)


def bad_files(folder, proof):
    np.save(folder / "objects.npy", np.array([Evil(proof)], object), allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps(Evil(proof)))
    (folder / "half.npy").write_bytes((folder / "good.npy").read_bytes()[:-20])
    (folder / "empty.npy").touch()
    np.save(folder / "whole.npy", np.ones((4, DIM), int))
    np.save(folder / "vector.npy", np.ones(DIM, np.float32))
    np.save(folder / "nan.npy", np.full((4, DIM), np.nan, np.float32))


def test_bad_files_fail_alone_and_none_runs_code(published, stored, tmp_path):
    published({"good.npy": (4, DIM)})
    bad_files(published.folder, tmp_path / "it ran")
    outcome, store = stored()
    assert outcome.done == store.ids() == ["good"]
    assert outcome.exit_code == 3
    messages = {video: f"{e.reason}: {e}" for video, e in outcome.failed.items()}
    for video, words in {
        "objects": "Python objects, which may run code; where you trust it, convert it",
        "pickle": "Python objects, which may run code",
        "half": "no whole .npy file",
        "empty": "no whole .npy file",
        "whole": "holds int64, features are floating-point",
        "vector": r"is [6]; features are [snippets, dim]",
        "nan": "not-finite: ",
    }.items():
        assert words in messages.pop(video)
    assert not messages
    assert "np.isfinite finds them; if it finds none, some values" in str(outcome.failed["nan"])
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("content", ["a pickle", "a dictionary", "no file"])
def test_torch_files_hold_one_tensor_and_nothing_that_runs(published, stored, tmp_path, content):
    published({"good.pt": (4, DIM)})
    path = published.folder / "bad.pt"
    if content == "no file":
        path.write_bytes(b"PK\x03\x04 cut")
    else:
        torch.save(Evil(tmp_path / "it ran") if content == "a pickle" else {"a": 1}, path)
    outcome, _ = stored()
    assert (outcome.done, list(outcome.failed)) == (["good"], ["bad"])
    assert not (tmp_path / "it ran").exists()


def test_a_video_that_lacks_a_crop_fails(published, stored):
    published({f"{v}__{k}.npy": (4, DIM) for v in "ab" for k in range(5) if (v, k) != ("b", 3)})
    outcome, _ = stored()
    assert outcome.done == ["a"]
    assert str(outcome.failed["b"]).startswith("it lacks crop 3 of 5; if a list names")


# --- lists


def test_a_list_of_another_machine_chooses_by_name(published, stored, tmp_path):
    published({f"{v}_i3d.npy": (4, 5, DIM) for v in "abc"})
    lines = tmp_path / "set.list"
    lines.write_text("/home/x/c_i3d.npy 1\nD:\\x\\a_i3d.npy\n/home/x/gone_i3d.npy,Normal\n")
    outcome, _ = stored(published.folder, f"@{lines}")
    assert outcome.done == ["c", "a"]
    assert "gone_i3d.npy is in the list, but not in" in str(outcome.failed["gone"])


def test_a_list_of_files_that_are_here_needs_no_folder(published, stored, tmp_path):
    files = published({f"{v}__{k}.npy": (4, DIM) for v in "ab" for k in range(5)})
    lines = tmp_path / "set.list"
    lines.write_text("".join(f"{published.folder}/b__{k}.npy\n" for k in (3, 0, 4, 1, 2)))
    outcome, store = stored(f"@{lines}")
    assert outcome.done == ["b"]
    for k in range(5):  # in the order of the crops, not of the list
        assert np.array_equal(store.read("b", "visual/i3d")[:, k], files[f"b__{k}.npy"])


VADCLIP = (  # rows of its lists, in the three data sets, with spaces and a comma in names
    ("Abuse/Abuse 028_x264", "abuse", "Abuse"),
    ("RoadAccidents/RoadAccidents, 001_x264", "roadaccidents", "RoadAccidents"),
    ("Bad Boys__#1_label_G-B2-B6", "explosion+shooting+car accident", "G-B2-B6"),
    ("My Film__#2_label_A", "normal", "A"),
    ("Normal_Videos_003_x264", "normal", "Normal"),
    ("01_001 4", "anomaly", "anomaly"),
)


def test_lists_of_vadclip_go_out_and_come_in_again(published, stored, tmp_path):
    published({f"{video}__{k}.npy": (4, DIM) for video, _, _ in VADCLIP for k in range(10)})
    _, store = stored(layout="vadclip")
    rows = (f'"{v}",{int(kind != "normal")},{kind},train\n' for v, kind, _ in VADCLIP)
    labels = tmp_path / "labels.csv"
    labels.write_text("video,label,category,split\n" + "".join(rows))
    out, listed = tmp_path / "out", tmp_path / "clip_rgb.csv"
    options = {"labels": labels, "listed": listed, "quiet": True}
    written = export_features(store.path, "vadclip", out, **options)
    with listed.open(newline="") as file:
        header, *lines = list(csv.reader(file))
    assert header == ["path", "label"]
    assert [line[0] for line in lines] == [str(path) for path in written]  # ten a video
    ordered = sorted(VADCLIP, key=lambda row: row[1] == "normal")  # abnormal ones first
    assert [line[1] for line in lines[::10]] == [name for _, _, name in ordered]
    again = tmp_path / "again.zarr"
    outcome = import_features([f"@{listed}"], again, layout="vadclip", quiet=True)
    assert sorted(outcome.done) == sorted(video.rpartition("/")[2] for video, _, _ in VADCLIP)
    read, stored_again = store.read("01_001 4", "visual/clip"), FeatureStore.open(again)
    assert np.array_equal(stored_again.read("01_001 4", "visual/clip"), read)
    outcome = import_features([out, f"@{listed}"], tmp_path / "whole.zarr", quiet=True)
    assert sorted(outcome.done) == sorted(video for video, _, _ in VADCLIP)

    labels.write_text(labels.read_text().replace("train", "test"))
    export_features(store.path, "vadclip", out, **options)
    with listed.open(newline="") as file:
        paths = [row[0] for row in csv.reader(file)][1:]
    assert len(paths) == len(VADCLIP)
    assert all(path.endswith("__0.npy") for path in paths)
    with pytest.raises(UsageError, match="lists of vadclip name classes; give them: --labels"):
        export_features(store.path, "vadclip", out, listed=listed, quiet=True)


def test_a_test_list_of_one_crop_takes_that_crop_alone(published, stored, tmp_path):
    files = published({f"{v} 1__{k}.npy": (4, DIM) for v in "ab" for k in range(10)})
    listed = tmp_path / "ucf_CLIP_rgbtest.csv"
    listed.write_text("path,label\n/home/x y/a 1__5.npy,Abuse\n/home/x y/b 1__5.npy,Normal\n")
    outcome, store = stored(published.folder, f"@{listed}")
    assert outcome.done == ["a 1", "b 1"]
    assert np.array_equal(store.read("a 1", "visual/i3d")[:, 0], files["a 1__5.npy"])


def test_a_list_without_its_files_says_what_is_missing(published, stored, tmp_path):
    published({"a_i3d.npy": (4, 5, DIM)})
    (tmp_path / "set.list").write_text("/home/x/b_i3d.npy\n")
    with pytest.raises(UsageError, match="/home/x/b_i3d.npy, none is here; name the folder"):
        stored(published.folder, f"@{tmp_path / 'set.list'}")


# --- frames


@pytest.mark.parametrize(
    ("n_rows", "csv", "n_frames", "tail", "assumed"),
    [
        (4, None, 64, "repeat-last", ["fps", "frames"]),
        (4, 64, 64, "repeat-last", ["fps"]),
        (4, 50, 50, "repeat-last", ["fps"]),  # ceil
        (4, 79, 79, "drop", ["fps"]),  # floor
    ],
)
def test_frames_come_from_the_csv_or_are_16_a_snippet(
    published, stored, tmp_path, n_rows, csv, n_frames, tail, assumed
):
    published({"sub/a_i3d.npy": (n_rows, 5, DIM)})
    if csv:
        (tmp_path / "frames.csv").write_text(f"video,frames\na,{csv}\n")
    _, store = stored(frames=tmp_path / "frames.csv" if csv else None, fps=25.0)
    record = store.record("sub/a")
    assert (record.n_frames, record.tail, record.fps) == (n_frames, tail, 25.0)
    assert record.grid.n_snippets(record.n_frames) == n_rows
    assert store.times("sub/a") == pytest.approx(np.arange(n_frames) / 25)
    assert store.info("sub/a", "visual/i3d").provenance.assumed == tuple(assumed)


def test_another_import_keeps_the_length_and_rate_that_the_first_was_told(
    published, stored, tmp_path, caplog
):
    published({"a.npy": (4, DIM)})
    frames = tmp_path / "frames.csv"
    frames.write_text("video,frames\na,50\n")
    stored(frames=frames, fps=25.0)
    assert stored()[0].skipped == ["a"]
    published({"a.npy": (4, DIM)})  # other values
    outcome, store = stored()
    record = store.record("a")
    assert (outcome.done, record.n_frames, record.fps) == (["a"], 50, 25.0)
    assert store.info("a", "visual/features").provenance.assumed == ("fps",)
    stored(name="other", fps=10.0)
    assert "1 videos keep the frame rate that the store has, such as a: 25, not 10" in caplog.text
    frames.write_text("video,frames\na,64\n")
    outcome, store = stored(name="other", frames=frames, overwrite=True)
    assert "64 frames in the CSV, 50 in the store" in str(outcome.failed["a"])
    published({"a.npy": (6, DIM)})
    assert "6 snippets here, 4 in the store" in str(stored()[0].failed["a"])


def test_a_damaged_array_is_imported_again(published, stored):
    rows = published({"a.npy": (4, DIM)})["a.npy"]
    _, store = stored()
    metadata = store.path / "a" / "visual" / "features" / "zarr.json"
    metadata.write_text(metadata.read_text().replace("float", "flaot"))
    outcome, store = stored()
    assert outcome.done == ["a"]
    assert np.array_equal(store.read("a", "visual/features")[:, 0], rows)


def test_frames_that_do_not_fit_are_told(published, stored, tmp_path):
    published({"a.npy": (4, DIM), "b.npy": (4, DIM)})
    (tmp_path / "frames.csv").write_text("video,frames\na,96\nb,64\n")
    outcome, _ = stored(frames=tmp_path / "frames.csv")
    assert outcome.done == ["b"]
    assert outcome.failed["a"].reason == "mismatch"
    assert "it has 4 snippets, but 96 frames make 6, or 6 without" in str(outcome.failed["a"])


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("video,length\na,3\n", "no column 'frames'.*must name video,frames"),
        ("video,frames\nz,3\n", "names none"),
    ],
)
def test_a_frames_file_that_is_none_is_told(published, stored, tmp_path, csv, message):
    published({"a.npy": (4, DIM)})
    (tmp_path / "frames.csv").write_text(csv)
    with pytest.raises(UsageError, match=message):
        stored(frames=tmp_path / "frames.csv")


def test_segments_lie_on_the_snippets_that_they_speak_of(published, stored, tmp_path):
    rows = published({"a.txt": (32, DIM)})["a.txt"]
    (tmp_path / "frames.csv").write_text(f"video,frames\na,{16 * 64 - 3}\n")
    _, store = stored(frames=tmp_path / "frames.csv")
    assert np.array_equal(store.read("a", "visual/c3d")[:, 0], np.repeat(rows, 2, axis=0))


@pytest.mark.parametrize("joins", [False, True])
def test_segments_of_a_short_video_are_not_lost(published, stored, tmp_path, joins):
    rows = published({"a.txt": (32, DIM), "visual/a_i3d.npy": (8, 5, DIM)})["a.txt"]
    (tmp_path / "frames.csv").write_text("video,frames\na,128\n")  # 8 snippets of 4 segments
    if joins:
        stored(published.folder / "visual", layout="rtfm")
    _, store = stored(published.folder / "a.txt", frames=None if joins else tmp_path / "frames.csv")
    found = store.read("a", "visual/c3d")[:, 0]
    assert found == pytest.approx(rows.reshape(8, 4, DIM).mean(1), rel=1e-6)


@pytest.mark.parametrize("n_frames", [100, 16 * 64 - 3])
def test_c3d_files_have_32_lines_whatever_the_video(published, stored, tmp_path, n_frames):
    rows = published({"a.txt": (32, DIM)})["a.txt"]
    (tmp_path / "frames.csv").write_text(f"video,frames\na,{n_frames}\n")
    _, store = stored(frames=tmp_path / "frames.csv")
    export_features(store.path, "c3d-text", tmp_path / "out", quiet=True)
    found = np.loadtxt(tmp_path / "out" / "a.txt")
    assert found.shape == (32, DIM)
    if n_frames > 512:
        assert found == pytest.approx(rows, rel=1e-6)


# --- beside what is stored


@pytest.mark.parametrize(
    ("n_text", "read"),  # rows of text that are read for 4 snippets
    [
        (4, [0, 1, 2, 3]),
        (5, [0, 1, 2, 3]),  # a surplus is cut
        (8, [0, 1, 2, 3]),
        (3, [0, 1, 2, 2]),  # one missing: the last once more
        (2, [0, 1, 0, 1]),  # two missing: the last two once more, as TEVAD fills them
    ],
)
def test_text_joins_the_visual_features_of_its_video(published, stored, n_text, read):
    files = published({"a_i3d.npy": (4, 5, DIM), "a_emb.npy": (n_text, DIM)})
    stored(layout="rtfm")
    _, store = stored(layout="tevad-text")
    assert store.names("a") == ["text/simcse", "visual/i3d"]
    assert verify(store.path, quiet=True).faults == []
    text, names = files["a_emb.npy"], {"visual": "visual/i3d", "text": "text/simcse"}
    assert np.array_equal(read_streams(store, names, "a")["text"][:, 0], text[read])
    # training pools each stream by itself
    bags = bags_in_memory(store, names, [Bag("a", 1)], 2, stretch=True)
    assert bags.streams["text"][0, 0] == pytest.approx(
        np.stack([half.mean(0) for half in (text[: n_text // 2], text[n_text // 2 :])])
    )
    written = export_features(store.path, "tevad-text", store.path.parent / "out", quiet=True)
    assert np.array_equal(np.load(written[0]), text)
    assert import_features(published.folder, store.path, layout="tevad-text", quiet=True).skipped


@pytest.mark.parametrize("n_text", [1, 9])
def test_text_of_another_video_is_refused(published, stored, n_text):
    published({"a_i3d.npy": (4, 5, DIM), "a_emb.npy": (n_text, DIM)})
    stored(layout="rtfm")
    outcome, store = stored(layout="tevad-text")
    assert f"it has {n_text} snippets here, 4 in the store" in str(outcome.failed["a"])
    assert store.names("a") == ["visual/i3d"]


def test_a_detector_of_both_streams_reads_text_of_other_rows(published, vad, tmp_path):
    files = {f"v{i}_i3d.npy": (6 + i, 5, DIM) for i in range(4)}
    published(files | {f"v{i}_emb.npy": (5 + 2 * i, DIM) for i in range(4)})
    (tmp_path / "l.csv").write_text(
        "video,label,split\n" + "".join(f"v{i},{i % 2},train\n" for i in range(4))
    )
    store, run = tmp_path / "s.zarr", tmp_path / "run"
    for layout in ("rtfm", "tevad-text"):
        vad("import", "features", published.folder, "--store", store, "--layout", layout)
    common = ["--labels", tmp_path / "l.csv", "--quiet"]
    for way in (["--detector", "tevad", "--epochs", 1], ["--detector", "topk", "--epochs", 1]):
        code, _, err = vad(
            *("train", store, *common, "--out", run, "--overwrite", *way),
            *("--visual", "i3d", "--text", "simcse"),
        )
        assert (code, err) == (0, err)
        code, _, _ = vad(
            *("score", "--store", store, "--detector", run),
            *("--out", tmp_path / "o", "-f", "json"),
        )
        assert code == 0
        scores = [json.loads((tmp_path / "o" / f"v{i}.json").read_text()) for i in range(4)]
        assert [len(found["snippets"]) for found in scores] == [6, 7, 8, 9]


def test_a_second_import_does_only_what_is_new(published, stored):
    published({"a.npy": (4, DIM), "b.npy": (4, DIM)})
    stored()
    published({"b.npy": (4, DIM), "c.npy": (4, DIM)})
    outcome, _ = stored()
    assert (outcome.done, outcome.skipped) == (["b", "c"], ["a"])


def test_other_features_under_the_same_name_are_refused(published, stored):
    published({"a.npy": (4, DIM)})
    stored()
    with pytest.raises(UsageError, match="dtype: 'float16' now, 'float32' there.*--overwrite"):
        stored(dtype="float16")
    outcome, store = stored(dtype="float16", overwrite=True)
    assert store.read("a", "visual/features").dtype == np.float16
    assert outcome.done == ["a"]


# --- labels


@pytest.mark.parametrize(
    ("video", "right"),
    [
        ("Abuse028_x264", 1),
        ("Normal_Videos_003_x264", 0),
        ("Normal_Videos586_x264", 0),
        ("A.Beautiful.Mind.2001__#00-25-20_00-29-20_label_A", 0),
        ("v=x__#1_label_B2-G-0", 1),
    ],
)
def test_labels_must_agree_with_the_names(published, stored, tmp_path, video, right):
    published({f"{video}_i3d.npy": (4, 5, DIM)})
    for label in (1 - right, right):
        (tmp_path / "labels.csv").write_text(f"video,label\n{video},{label}\n")
        if label == right:
            stored(labels=tmp_path / "labels.csv")
        else:
            with pytest.raises(UsageError, match=f"labels .* {label}, its name says {right}"):
                stored(labels=tmp_path / "labels.csv")


# --- and out again


@pytest.mark.parametrize(
    ("layout", "shapes"),
    [
        ("rtfm", {"a_i3d.npy": (4, 10, DIM), "sub/b_i3d.npy": (7, 10, DIM)}),
        ("crop-files", {f"a__{k}.npy": (4, DIM) for k in range(10)}),
        ("tevad-text", {"a_emb.npy": (4, DIM)}),
        ("numpy", {"a.npy": (4, 5, DIM), "b.npy": (6, 5, DIM)}),
        ("torch", {"a.pt": (4, 5, DIM)}),
        ("c3d-text", {"a.txt": (32, DIM)}),
    ],
)
def test_what_comes_in_goes_out_unchanged(published, stored, tmp_path, layout, shapes):
    files = published(shapes)
    _, store = stored(layout=layout)
    out = tmp_path / "out"
    written = export_features(store.path, layout, out, listed=tmp_path / "files.list", quiet=True)
    assert sorted(p.relative_to(out).as_posix() for p in written) == sorted(files)
    for name, array in files.items():
        found = LAYOUTS[layout].open(out / name)
        assert np.array_equal(found, array)
        assert found.dtype == np.float32
    assert (tmp_path / "files.list").read_text().split() == [str(p) for p in written]


def test_lists_name_abnormal_videos_first(published, stored, tmp_path):
    published({f"{v}_i3d.npy": (4, 5, DIM) for v in "abcd"})
    _, store = stored()
    labels = tmp_path / "labels.csv"
    labels.write_text("video,label,split\na,0,train\nb,1,train\nc,0,test\nd,1,train\n")
    written = export_features(
        store.path, "rtfm", tmp_path / "out", labels=labels, split="train", quiet=True
    )
    assert [p.name for p in written] == ["b_i3d.npy", "d_i3d.npy", "a_i3d.npy"]


def test_ten_crops_do_not_fit_one_file_of_text(published, stored, tmp_path):
    published({"a_i3d.npy": (4, 10, DIM)})
    _, store = stored()
    with pytest.raises(
        UsageError, match="c3d-text files hold one crop, 'a' has 10; --layout numpy"
    ):
        export_features(store.path, "c3d-text", tmp_path / "out", quiet=True)


def test_linked_folders_are_read_and_files_left_out_are_told(published, stored, tmp_path, caplog):
    published({"a_i3d.npy": (4, 5, DIM), "b.npy": (4, DIM)})
    (tmp_path / "elsewhere").mkdir()
    np.save(tmp_path / "elsewhere" / "c_i3d.npy", np.ones((4, 5, DIM), np.float32))
    (published.folder / "linked").symlink_to(tmp_path / "elsewhere")
    (published.folder / "loop").symlink_to(published.folder)
    (published.folder / "notes.md").touch()
    with caplog.at_level("INFO", logger="vad"):
        _, store = stored(layout="rtfm")
    assert store.ids() == ["a", "linked/c"]
    said = (
        f"2 files left out that are not of layout rtfm (1 .npy, 1 .md), such as {published.folder}"
    )
    assert said in caplog.text


# --- two streams, and sets that stop a snippet early


@pytest.fixture
def two_streams(tmp_path):
    """Two videos as video_features writes them: rgb ones, flow twos."""
    folder = tmp_path / "two"
    folder.mkdir()
    for video in ("a", "b"):
        np.save(folder / f"{video}_rgb.npy", np.full((3, 4), 1, np.float32))
        np.save(folder / f"{video}_flow.npy", np.full((3, 4), 2, np.float32))
        np.save(folder / f"{video}_fps.npy", np.array(24.0))
        np.save(folder / f"{video}_timestamps_ms.npy", np.array([16, 32, 48]) / 24 * 1000)
    return folder


@pytest.mark.parametrize(
    ("stream", "row"), [("both", [1] * 4 + [2] * 4), ("rgb", [1] * 4), ("flow", [2] * 4)]
)
def test_rgb_and_flow_files_are_one_video(two_streams, tmp_path, stream, row):
    import_features(two_streams, tmp_path / "s.zarr", stream=stream, quiet=True)
    store = FeatureStore.open(tmp_path / "s.zarr")
    assert store.ids() == ["a", "b"]
    assert store.read("a", "visual/i3d").tolist() == [[row]] * 3
    assert store.record("a").fps == 24
    assert store.provenance("visual/i3d").dim == len(row)


@pytest.mark.parametrize(
    ("stamps", "fps", "starts", "told"),
    [
        ([16, 32, 48], 24, [0, 16, 32], ""),
        ([64, 128, 192], 6, [0, 64, 128], "2 videos have a row for more or fewer frames than 16"),
        ([16, 32, 96], 24, [0, 16, 80], "a for 40"),  # a pause; the step is the median
        ([16, 32], 24, [0, 16, 32], "not used: a, timestamps_ms.npy: 2 times for 3 rows"),
        ([16, 8, 48], 24, [0, 16, 32], "a_timestamps_ms.npy holds no times that increase"),
    ],
)
def test_times_of_rows_are_the_seconds_of_snippets(
    two_streams, tmp_path, caplog, stamps, fps, starts, told
):
    """stamps, starts: in 1/24 s."""
    for video in ("a", "b"):
        np.save(two_streams / f"{video}_timestamps_ms.npy", np.array(stamps) / 24 * 1000)
    with caplog.at_level("WARNING", logger="vad"):
        import_features(two_streams, tmp_path / "s.zarr", quiet=True)
    store = FeatureStore.open(tmp_path / "s.zarr")
    record, times = store.record("a"), store.times("a")
    if stamps != [16, 32, 96]:
        assert record.fps == pytest.approx(fps)
    assert times[::16] == pytest.approx(np.array(starts) / 24)
    assert (np.diff(times) > 0).all()
    assert record.duration_s > times[-1]
    assert told in caplog.text
    assert told or not caplog.text


def test_pairs_are_compared_as_one_video(two_streams, vad, tmp_path):
    vad("import", "features", two_streams, "--store", tmp_path / "s.zarr")
    code, out, _ = vad("compare", tmp_path / "s.zarr", two_streams, "--json")
    found = json.loads(out)
    assert (code, found["same"], found["shapes"]) == (0, True, [[1, 8], [1, 8]])
    (two_streams / "b_flow.npy").unlink()
    code, _, err = vad("compare", tmp_path / "s.zarr", two_streams)
    assert code == 2
    assert "'b' has fewer files than the other videos" in err


def test_a_video_that_lacks_a_stream_fails_alone_with_the_way_out(two_streams, tmp_path):
    (two_streams / "b_flow.npy").unlink()
    outcome = import_features(two_streams, tmp_path / "s.zarr", quiet=True)
    assert outcome.done == ["a"]
    assert str(outcome.failed["b"]).startswith("it has no file _flow.npy; --stream rgb takes")


def test_a_set_that_stops_one_whole_clip_early_is_imported_and_that_is_told(tmp_path, caplog):
    np.save(tmp_path / "v_i3d.npy", np.arange(20, dtype=np.float32).reshape(2, 5, 2))
    (tmp_path / "frames.csv").write_text("video,frames\nv,48\n")  # 3 clips, of which 2 are there
    frames = tmp_path / "frames.csv"
    with caplog.at_level("WARNING", logger="vad"):
        import_features(tmp_path / "v_i3d.npy", tmp_path / "s.zarr", frames=frames, quiet=True)
    rows = FeatureStore.open(tmp_path / "s.zarr").read("v", "visual/i3d")
    assert len(rows) == 3
    assert (rows[2] == rows[1]).all()
    assert "1 videos lack their last snippet, such as v" in caplog.text

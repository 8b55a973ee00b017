"""Official lists and annotations: the known numbers, the dialects, and what is refused."""

import csv
from collections import Counter

import numpy as np
import pytest

from vad.datasets import DATASETS, read_dataset
from vad.datasets.intervals import half_open
from vad.datasets.lists import read_list, video_name
from vad.errors import UsageError
from vad.labels import Label, Segment, frame_truth, read_labels, read_segments


def n_anomalous(annotated, lengths):
    return sum(int(frame_truth(v, n, annotated.segments).sum()) for v, n in lengths.items())


def column(path, name):
    with path.open() as file:
        return {row["video"]: int(row[name]) for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("interval", "lengths", "n_frames", "n"),
    [
        ("inclusive", "whole clips", 1_114_144, 84_343),  # RTFM's array
        ("half-open", "frames_1024d_features", 1_109_680, 84_128),  # UR-DMU's and PEL4VAD's
        ("inclusive", "frames", 1_111_808, 84_331),  # the frames themselves
    ],
)
def test_ucf_crime_has_the_known_numbers(data, interval, lengths, n_frames, n):
    folder = data / "ucf-crime"
    found = read_dataset("ucf-crime", folder, interval=interval)
    frames = column(folder / "test_frames.csv", lengths if "frames" in lengths else "frames")
    if lengths == "whole clips":
        frames = {video: -(-length // 16) * 16 for video, length in frames.items()}
    assert sum(frames.values()) == n_frames
    assert n_anomalous(found, frames) == n


def test_ucf_crime_is_1610_and_290_videos_of_13_kinds(data):
    found = read_dataset("ucf-crime", data / "ucf-crime")
    assert found.count("train") == (1610, 810)
    assert found.count("test") == (290, 140)
    kinds = Counter(x.category for x in found.labels if x.split == "test")
    assert kinds["normal"] == 150
    assert (kinds["roadaccidents"], kinds["shooting"], kinds["abuse"]) == (23, 23, 2)
    assert len(kinds) == 14
    # as the file has it: Abuse028_x264  Abuse  165  240, both ends included
    assert Segment("Abuse028_x264", 165, 241, "abuse") in found.segments


def test_xd_violence_has_the_known_numbers(data):
    folder = data / "xd-violence"
    found = read_dataset("xd-violence", folder)
    frames = column(folder / "test_frames.csv", "frames")
    assert found.count("test") == (800, 500)
    assert (sum(frames.values()), n_anomalous(found, frames)) == (2_330_384, 537_805)
    name = "v=S-7rRLrxnVQ__#1_label_B4-0-0"
    assert Label(name, 1, "riot", "test") in found.labels
    assert [(s.start_frame, s.end_frame) for s in found.segments if s.video == name] == [
        (0, 1517),
        (1970, 3038),
    ]


def test_shanghaitech_has_the_known_numbers(data):
    folder = data / "shanghaitech"
    found = read_dataset("shanghaitech", folder)
    assert (found.count("train"), found.count("test")) == ((238, 63), (199, 44))
    assert sum(s.end_frame - s.start_frame for s in found.segments) == 17_326
    with np.load(folder / "test_frame_masks.npz") as masks:
        test = {x.video for x in found.labels if x.split == "test"}
        # in whole clips, as RTFM's array has them: the last frame's truth goes on
        padded = [np.pad(m, (0, -len(m) % 16), "edge") for v, m in masks.items() if v in test]
        assert sum(int(m.sum()) for m in padded) == 8028
        for video in masks:
            assert frame_truth(video, len(masks[video]), found.segments).tolist() == list(
                masks[video].astype(bool)
            )


def test_ped2_is_the_annotated_copy(data):
    found = read_dataset("ped2")
    theirs = {(x.video, x.label, x.split) for x in read_labels(data / "ped2" / "labels.csv")}
    assert {(x.video, x.label, x.split) for x in found.labels} == theirs
    assert {(s.video, s.start_frame, s.end_frame) for s in found.segments} == {
        (s.video, s.start_frame, s.end_frame) for s in read_segments(data / "ped2" / "segments.csv")
    }
    assert found.count("test") == (18, 6)


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("Abuse/Abuse028_x264.mp4", "Abuse028_x264"),
        ("/home/x/UCF_Test_ten_i3d/Abuse028_x264_i3d.npy", "Abuse028_x264"),
        ("C:\\ucf\\Abuse028_x264__7.npy", "Abuse028_x264"),
        ("Abuse028_x264", "Abuse028_x264"),
        ("Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6__4.npy",
         "Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6"),
        ("v=9eME1y6V-T4__#1_label_A.mp4", "v=9eME1y6V-T4__#1_label_A"),
    ],
)  # fmt: skip
def test_every_dialect_names_the_same_video(listed, name):
    assert video_name(listed) == name


@pytest.mark.parametrize(
    "text",
    [
        "a/Abuse001_x264.mp4\nb/Normal_Videos001_x264.mp4\n",
        "\n".join(f"/d/{v}__{i}.npy" for v in ("Abuse001_x264", "Normal_Videos001_x264")
                  for i in range(10)),
        "d/Abuse001_x264.npy\nd/Abuse001_x264__1.npy\nd/Normal_Videos001_x264.npy\n",  # PEL4VAD
        "path,label\n/d/Abuse001_x264__0.npy,Abuse\n/d/Normal_Videos001_x264__0.npy,Normal\n",
        "video-id\nAbuse001_x264\nNormal_Videos001_x264\n",
        "\ufeffAbuse001_x264 1\r\n\r\nNormal_Videos001_x264 0\r\n",
    ],
)  # fmt: skip
def test_lists_of_every_dialect_are_read_alike(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    assert [v.name for v in read_list(path)] == ["Abuse001_x264", "Normal_Videos001_x264"]


@pytest.mark.parametrize(
    ("interval", "frames"),
    [("half-open", (165, 240)), ("inclusive", (165, 241)), ("one-based", (164, 240))],
)
def test_what_165_to_240_means(interval, frames):
    assert half_open(165, 240, interval, where="") == frames


UCF = {
    "Anomaly_Train.txt": "Abuse/Abuse001_x264.mp4\nN/Normal_Videos001_x264.mp4\n",
    "Anomaly_Test.txt": "Arson/Arson009_x264.mp4\nT/Normal_Videos_003_x264.mp4\n",
    "Temporal_Anomaly_Annotation.txt": "Arson009_x264.mp4  Arson  10 20 40 59\n"
    "Normal_Videos_003_x264.mp4  Normal  -1 -1 -1 -1\n",
}


def ucf(tmp_path, **changed):
    for name, text in UCF.items():
        (tmp_path / name).write_text(changed.get(name.split("_")[1].split(".")[0], text))
    return tmp_path


def test_a_small_ucf_crime_by_hand(tmp_path):
    found = read_dataset("ucf-crime", ucf(tmp_path))
    assert [(x.video, x.label, x.category, x.split) for x in found.labels] == [
        ("Abuse001_x264", 1, "abuse", "train"),
        ("Normal_Videos001_x264", 0, "normal", "train"),
        ("Arson009_x264", 1, "arson", "test"),
        ("Normal_Videos_003_x264", 0, "normal", "test"),
    ]
    assert [(s.start_frame, s.end_frame) for s in found.segments] == [(10, 21), (40, 60)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"Train": UCF["Anomaly_Train.txt"] + "x/Arson009_x264.mp4\n"},
         "'Arson009_x264' is listed in train and in test"),
        ({"Test": UCF["Anomaly_Test.txt"] + "Arson/Arson009_x264.mp4\n"},
         "line 3: 'Arson009_x264' is listed twice"),
        ({"Anomaly": "Arson010_x264 Arson 10 20 -1 -1\nArson009_x264 Arson 1 2 -1 -1"},
         "'Arson010_x264' has annotated frames, but no list names it"),
        ({"Anomaly": "Normal_Videos_003_x264 Normal 10 20 -1 -1\nArson009_x264 Arson 1 2"},
         "'Normal_Videos_003_x264' is normal by its label, but has annotated"),
        ({"Test": UCF["Anomaly_Test.txt"] + "Arson/Arson011_x264.mp4\n"},
         "'Arson011_x264' is abnormal, but has no annotated frames"),
        ({"Anomaly": "Arson009_x264 Arson 20 10 -1 -1"}, "line 1: 20 to 10 is no interval"),
        ({"Anomaly": "Arson009_x264 Arson ten 20"}, "line 1: a name, a kind and two or four"),
        ({"Test": "0123.mp4\n"}, "'0123' is no name of a UCF-Crime video"),
        ({"Test": ""}, "Anomaly_Test.txt lists no video"),
    ],
)  # fmt: skip
def test_lists_that_contradict_each_other_are_refused(tmp_path, changed, message):
    with pytest.raises(UsageError, match=message):
        read_dataset("ucf-crime", ucf(tmp_path, **changed))


def test_parts_that_are_missing_or_unknown_are_asked_for(tmp_path):
    with pytest.raises(UsageError, match="no test found in .*; give --test FILE"):
        read_dataset("ucf-crime", tmp_path)
    with pytest.raises(UsageError, match="no data set 'ucf_crime'; .*did you mean 'ucf-crime'"):
        read_dataset("ucf_crime")
    with pytest.raises(UsageError, match="no interval 'closed'; there are: half-open, inclusive"):
        read_dataset("ucf-crime", ucf(tmp_path), interval="closed")
    with pytest.raises(UsageError, match="no file or folder"):
        read_dataset("csv", tmp_path / "none.csv")


def test_folders_of_videos_are_labelled_by_their_names(tmp_path):
    for name in ("train/normal/a", "train/fight/b", "test/Normal_Videos/c", "test/fight/d"):
        path = tmp_path / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "segments.csv").write_text("video,start_frame,end_frame\nd,3,9\n")
    found = read_dataset("folder", tmp_path)
    assert [(x.video, x.label, x.category, x.split) for x in found.labels] == [
        ("test/Normal_Videos/c", 0, "normal", "test"),
        ("test/fight/d", 1, "fight", "test"),
        ("train/fight/b", 1, "fight", "train"),
        ("train/normal/a", 0, "normal", "train"),
    ]
    assert found.segments == [Segment("test/fight/d", 3, 9)]
    (tmp_path / "loose.mp4").touch()
    with pytest.raises(UsageError, match="'loose' lies in no folder of a kind; sort the videos"):
        read_dataset("folder", tmp_path)


def test_lists_of_features_of_xd_violence_are_found_by_their_names(tmp_path):
    (tmp_path / "list").mkdir()
    train = ["v=a__#1_label_A__0.npy", "v=a__#1_label_A__1.npy", "v=b__#1_label_B1-0-0__0.npy"]
    (tmp_path / "list" / "rgb.list").write_text("\n".join(f"/data/RGB/{name}" for name in train))
    (tmp_path / "list" / "rgbtest.list").write_text("/data/RGBTest/v=c__#1_label_G-0-0__0.npy")
    (tmp_path / "annotations.txt").write_text("v=c__#1_label_G-0-0 3 9")
    found = read_dataset("xd-violence", tmp_path)
    assert [(label.video, label.category, label.split) for label in found.labels] == [
        ("v=a__#1_label_A", "normal", "train"),
        ("v=b__#1_label_B1-0-0", "fighting", "train"),
        ("v=c__#1_label_G-0-0", "explosion", "test"),
    ]


def test_a_table_of_events_in_seconds(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(
        "file,start_s,end_s,category,split\n"
        "b.mp4,1.5,3,fight,test\n"
        "b.mp4,4,4.02,fight,test\n"  # less than a frame is still one
        "a.mp4,,,,test\n"
    )
    found = read_dataset("csv", path, fps=10)
    assert found.labels == [Label("b", 1, "fight", "test"), Label("a", 0, "normal", "test")]
    assert [(s.start_frame, s.end_frame) for s in found.segments] == [(15, 30), (40, 41)]
    with pytest.raises(UsageError, match="line 2: seconds need the frame rate; give --fps"):
        read_dataset("csv", path)


def test_a_table_of_labels_by_word(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("video,label\na,normal\nb,Fighting\nc,1\nd,0\n")
    found = read_dataset("csv", path)
    assert [(x.video, x.label, x.category) for x in found.labels] == [
        ("a", 0, "normal"),
        ("b", 1, "Fighting"),
        ("c", 1, ""),
        ("d", 0, "normal"),
    ]


def test_every_data_set_says_what_it_is_read_from():
    assert all(row.about for row in DATASETS.values())

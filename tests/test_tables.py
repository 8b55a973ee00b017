"""Lists and tables as editors and spreadsheets save them."""

import logging
import os

import pytest

from vad.config import read_toml
from vad.datasets import read_dataset
from vad.datasets.lists import read_list
from vad.errors import UsageError
from vad.labels import read_labels, read_segments
from vad.stages.extract.layouts.checks import read_frames
from vad.stages.extract.sources import find_sources
from vad.stages.infer.scores_file import read_scores
from vad.stages.train.card import read_card_file
from vad.store import FeatureStore
from vad.tables import read_lines, read_rows

LABELS = "video,label\na,0\nb c,1\n"


@pytest.mark.parametrize(
    "content",
    [
        LABELS.encode(),
        LABELS.encode("utf-8-sig"),
        LABELS.replace("\n", "\r\n").encode(),
        LABELS.replace("\n", "\r").encode(),
        LABELS.replace("\n", "\n\n").encode(),
        b" video , label \n a , 0 \n b c , 1 \n",
    ],
    ids=["plain", "byte order mark", "Windows", "old Mac", "empty lines", "spaces"],
)
def test_a_table_reads_the_same_whatever_wrote_it(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    assert [(label.video, label.label) for label in read_labels(path)] == [("a", 0), ("b c", 1)]


READERS = {
    "labels": read_labels,
    "segments": read_segments,
    "list": read_list,
    "@list": lambda path: find_sources([f"@{path}"]),
    "frames": lambda path: read_frames(path, ["a"]),
    "csv data set": lambda path: read_dataset("csv", path),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_another_encoding_is_refused_with_what_to_do(tmp_path, reader, encoding):
    path = tmp_path / "file.csv"
    path.write_bytes("video,label\nCaf\xe9,0\n".encode(encoding))
    with pytest.raises(UsageError, match=r"file\.csv.*save it as UTF-8"):
        reader(path)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_pipe_and_a_folder_are_no_lists(tmp_path, reader):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="pipe is no regular file"):
        reader(pipe)
    if reader is not read_list:  # for which a folder is a list of its files
        with pytest.raises(UsageError, match="is a folder"):
            reader(tmp_path)


def test_a_list_of_videos_may_have_a_byte_order_mark_and_spaces_in_its_names(tmp_path, make_video):
    make_video("cam 1/a b.mp4", 16)
    path = tmp_path / "list.txt"
    path.write_bytes(f"\ufeff{tmp_path / 'cam 1' / 'a b.mp4'}\r\n".encode())
    assert [source.id for source in find_sources([f"@{path}"])] == ["a b"]


@pytest.mark.parametrize(
    ("line", "name", "label"),
    [
        ("Abuse/Abuse028_x264.mp4", "Abuse028_x264", ""),
        ("My Films/Die Hard 2.mp4", "Die Hard 2", ""),
        ("My Films/Die Hard 2.mp4 1", "Die Hard 2", "1"),
        ("C:\\data\\Two Words__0.npy", "Two Words", ""),
        ("01_0015 1", "01_0015", "1"),
        ("Die Hard 1", "Die Hard", "1"),  # a number at the end is the label
        ("Abuse028 abuse", "Abuse028", "abuse"),
        ("The Bad Boys", "The Bad Boys", ""),
        ('"Two, with comma.mp4",abuse', "Two, with comma", "abuse"),
    ],
)
def test_titles_with_spaces_are_read_whole(tmp_path, line, name, label):
    path = tmp_path / "list.txt"
    path.write_text(f"{line}\n")
    assert [(v.name, v.label) for v in read_list(path)] == [(name, label)]


def test_annotations_of_videos_with_spaces_in_their_names(tmp_path):
    (tmp_path / "splits").mkdir()  # one folder deeper, as in the archive
    (tmp_path / "splits" / "Anomaly_Test.txt").write_text("Abuse/Abuse 28 x.mp4\n")
    (tmp_path / "Temporal_Anomaly_Annotation.txt").write_text("Abuse 28 x.mp4  Abuse  5 10 -1 -1\n")
    read = read_dataset("ucf-crime", tmp_path)
    assert [(s.video, s.start_frame, s.end_frame) for s in read.segments] == [("Abuse 28 x", 5, 11)]

    name = "Ip Man 2__#0-1_label_B1-0-0"
    (tmp_path / "xd_test.txt").write_text(f"{name}.mp4\n")
    (tmp_path / "annotations.txt").write_text(f"{name}.mp4 3 7 20 30\n")
    read = read_dataset("xd-violence", tmp_path)
    assert [(s.video, s.start_frame, s.end_frame) for s in read.segments] == [
        (name, 3, 7),
        (name, 20, 30),
    ]


def test_a_column_that_comes_twice_is_refused(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("video,label,label\na,0,1\n")
    with pytest.raises(UsageError, match="has the column 'label' 2 times; keep one of them"):
        read_labels(path)


def test_columns_that_are_not_read_are_named_once_with_the_nearest(tmp_path, caplog):
    path = tmp_path / "labels.csv"
    path.write_text("video,label,catgory,comment\na,0,x,y\nb,1,x,y\n")
    with caplog.at_level(logging.WARNING, "vad"):
        assert len(read_labels(path)) == 2
    assert [record.message for record in caplog.records] == [
        f"{path}: columns that are not read: 'catgory', 'comment'; did you mean 'category'?"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video\na\n", "has no column 'label' \\(it has: video\\)"),
        ("video,label\na,0,1\n", "line 2: more values than columns"),
        ('video,label\n"a,0\n', "is no CSV"),
        ("", "has no column 'video'"),
    ],
)
def test_a_table_that_is_none_is_told_by_line(tmp_path, content, message):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_labels(path)


def test_a_text_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(2**40)  # no such room is taken
    with pytest.raises(UsageError, match="has 1,048,576 MiB of text; at most 256 are read"):
        list(read_lines(path))
    with pytest.raises(UsageError, match="MiB of text"):
        list(read_rows(path, ("video",)))


LARGE = {
    "card": (read_card_file, 2**40, "card has 1,048,576 MiB of text; at most"),
    "scores": (read_scores, 2**40, "scores has 1,048,576 MiB of text; at most"),
    "settings": (lambda path: read_toml(path, "train"), 2**21, "settings has 2 MiB of text; at m"),
    "zarr.json": (
        lambda path: FeatureStore.open(path.parent),
        2**40,
        "is not a feature store of vad",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_documents_that_are_too_large_are_refused_before_they_are_read(tmp_path, name):
    read, size, message = LARGE[name]
    with (tmp_path / name).open("wb") as file:
        file.truncate(size)
    with pytest.raises(UsageError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["card", "scores", "settings"])
def test_a_pipe_is_no_document(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match=f"{name} is no regular file"):
        LARGE[name][0](tmp_path / name)


def test_a_name_that_no_file_could_have_is_refused_by_line(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(f"video,label\na,0\n{'x' * 10**5},1\n")
    with pytest.raises(UsageError, match="line 3: the video's name has 100,000 bytes") as told:
        read_labels(path)
    assert len(str(told.value)) < 200 + len(str(path))

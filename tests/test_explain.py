"""Events in words: which frames a captioner is shown, what is kept, and where it is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertTokenizer, GitConfig, GitForCausalLM, GitProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import vad as package
from vad.errors import UsageError, VideoError
from vad.stages.infer.explained import (
    Explained,
    Explanation,
    event_windows,
    ordinary_windows,
    why_unusual,
)
from vad.stages.infer.scores_file import read_scores
from vad.stages.pipelines.explain import _Looking

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


@pytest.fixture(scope="module")
def tiny_git(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GIT of random weights, its processor and its tokenizer, as on the hub."""
    folder = tmp_path_factory.mktemp("models")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "runs", "car", "street"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    torch.manual_seed(0)
    config = GitConfig(
        vision_config={**SMALL, "image_size": 32, "patch_size": 16},
        vocab_size=len(words),
        num_image_with_embedding=6,
        max_position_embeddings=64,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
        **SMALL,
    )
    GitForCausalLM(config).save_pretrained(folder / "tiny-git")
    size: Any = {"crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 32}}
    GitProcessor(CLIPImageProcessorPil(**size), tokenizer).save_pretrained(folder / "tiny-git")
    return folder / "tiny-git"


def test_a_long_event_is_shown_at_its_begin_its_peak_and_its_end(make_scores: Any) -> None:
    scores = make_scores([0.1] * 4 + [0.6, 0.6, 0.9, 0.6, 0.6, 0.6] + [0.1] * 10)
    (event,) = scores.events  # frames 64 to 160, the peak from 96 on
    assert (event.start_frame, event.end_frame, event.peak_frame) == (64, 160, 96)
    assert event_windows(event, 16, 320) == [64, 88, 144]
    assert event_windows(event, 64, 320) == [64, 96]  # the begin is within half of the peak's 64
    assert event_windows(event, 64, 100) == [36]  # never beyond the video
    assert event_windows(event, 500, 320) == [0]


def test_ordinary_moments_are_the_lowest_that_overlap_nothing(make_scores: Any) -> None:
    values = [0.3] * 20
    values[9] = 0.9  # the event, frames 144 to 160
    values[8], values[2], values[3], values[15], values[18] = 0.0, 0.1, 0.11, 0.12, 0.13
    scores = make_scores(values)
    # snippet 8 would show the event, 3 overlaps 2, and the fourth is not needed
    assert ordinary_windows(scores, 32) == [32, 240, 288]
    assert ordinary_windows(scores, 16) == [32, 48, 128]


def test_what_is_new_is_said_and_nothing_is_made_up() -> None:
    ordinary = ["a man walks in the street", "an empty street"]
    assert why_unusual(["Two men fight in the street", "a man falls"], ordinary) == (
        "no ordinary moment is described with: two, men, fight, falls"
    )
    assert "the same words" in why_unusual(["a man in a street"], ordinary)
    assert "no ordinary moment of this video" in why_unusual(["a man"], [])


def test_a_captioner_is_shown_the_frames_of_its_windows_alone() -> None:
    shown: list[list[int]] = []

    class Numbers:
        offsets = (0, 2, 5)

        def __call__(self, windows: Any) -> list[str]:
            (window,) = windows
            shown.append(window[:, 0, 0, 0].tolist())
            return [f"from\n{shown[-1][0]}"]

    looking = _Looking(Numbers(), [0, 2, 7], n_frames=10)  # type: ignore[arg-type]  # not a model
    picture = np.zeros((2, 2, 3), np.uint8)  # one buffer for all frames, as decoders have
    for number in range(10):
        picture[:] = number
        looking.see(number, picture)
    assert shown == [[0, 2, 5], [2, 4, 7], [7, 9, 9]]  # beyond the end, the last frame again
    assert looking.captions == {0: "from 0", 2: "from 2", 7: "from 7"}


def test_events_are_explained_end_to_end(
    vad: Any, small_run: Path, tiny_git: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores"
    videos = [small_run / "videos" / f"v{i}.mp4" for i in (0, 1)]
    for video in videos:
        (tmp_path / video.name).write_bytes(video.read_bytes())
    code, _, err = vad(
        *("score", tmp_path / "v0.mp4", tmp_path / "v1.mp4", "--detector", small_run / "run"),
        *("--threshold", 0, "--out", out, "--format", "json", "--quiet"),
    )
    assert code == 0, err
    before = json.loads((out / "v1.json").read_text())
    captioner = f"git:{tiny_git}"
    options = ("--captioner", captioner, "--offline", "--quiet", "--device", "cpu")
    code, text, err = vad("explain", out, *options)
    assert code == 0, err
    after = json.loads((out / "v1.json").read_text())
    explained = after.pop("explained")
    assert after == {name: value for name, value in before.items() if name != "explained"}
    assert explained["generated"] is True
    assert explained["captioner"] == captioner
    assert explained["provenance"]["weights"]["name"] == "tiny-git"
    assert explained["ordinary"] == []  # all of it is the event
    (told,) = explained["events"]
    assert (told["start_frame"], told["end_frame"]) == (0, 20)
    assert told["why"] == "no ordinary moment of this video to compare with"
    (caption,) = told["seen"]
    assert f"seen, says {captioner}: {caption}" in text
    scores = read_scores(out / "v1.json")
    assert scores.explained is not None
    assert scores.explained.events[0].seen == (caption,)
    page = (out / "report.html").read_text()
    assert f"generated by {captioner}" in page
    assert f'<bdi class="told">{caption}</bdi>' in page
    assert "they can be wrong" in " ".join(page.split())

    (tmp_path / "v0.mp4").unlink()
    code, text, err = vad("explain", out, *options, "--no-report", "--json")
    assert code == 3
    assert "v0.mp4 is not there as it was" in err
    assert list(json.loads(text)) == ["v1"]
    with pytest.raises(VideoError, match="is not there as it was"):
        package.explain(out / "v0.json", captioner=captioner, offline=True, quiet=True)


def test_captioners_that_see_no_frames_are_refused(make_scores: Any, tmp_path: Path) -> None:
    make_scores([0.1, 0.9]).save(tmp_path / "scores")
    with pytest.raises(UsageError, match="it is a file"):
        package.explain(tmp_path / "scores", captioner="file:x.csv")
    with pytest.raises(UsageError, match="--top is 0"):
        package.explain(tmp_path / "scores", top=0)


def test_an_explanation_is_of_the_event_that_holds_the_peak() -> None:
    said = [Explanation(0, 10, ("a",), ""), Explanation(20, 30, ("b",), "")]
    explained = Explained("git", {}, (), tuple(said))
    assert [explained.of(frame) for frame in (9, 10, 29)] == [said[0], None, said[1]]
    assert replace(explained, events=()).of(0) is None

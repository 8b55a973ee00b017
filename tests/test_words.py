"""Scores and searches by sentences, with random weights and tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from vad.errors import UsageError
from vad.stages.extract.records import unseen_record
from vad.stages.extract.words import PHRASES, Words, words_of
from vad.stages.infer.words import ORDINARY, Sentences, search_rows, unit
from vad.store import FeatureStore, Provenance

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def tiny_tokenizer() -> Any:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    entries = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    return hf.CLIPTokenizer(vocab={entry: i for i, entry in enumerate(entries)}, merges=[])


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny CLIP, its processor and its tokenizer, as on the hub."""
    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    torch.manual_seed(0)
    text = {**SMALL, "vocab_size": 54, "bos_token_id": 52, "eos_token_id": 53}
    vision = {**SMALL, "image_size": 32, "patch_size": 8, "projection_dim": 16}
    text["projection_dim"] = 16
    config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    hf.CLIPModel(config).eval().save_pretrained(folder)
    short: Any = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    hf.CLIPImageProcessor(**short).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_sentence_is_the_mean_of_its_phrases(tiny_clip: Path) -> None:
    (vector,) = Words("image", str(tiny_clip)).vectors([" a fire "])
    model = hf.CLIPTextModelWithProjection.from_pretrained(tiny_clip).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(tiny_clip)
    found = []
    for phrase in PHRASES:
        tokens = torch.tensor([tokenizer(phrase.format("a fire"))["input_ids"]])
        with torch.no_grad():
            embedded = model(input_ids=tokens).text_embeds[0]
        found.append(embedded / embedded.norm())
    mean = torch.stack(found).mean(0)
    np.testing.assert_allclose(vector, mean / mean.norm(), atol=1e-6)


def test_sentences_that_cannot_be_read_are_told_in_one_line(
    tiny_clip: Path, tmp_path: Path
) -> None:
    words = Words("image", str(tiny_clip))
    with pytest.raises(UsageError, match="a sentence to look for is empty"):
        words.vectors(["fire", "  "])
    with pytest.raises(UsageError, match=r"tokens in its longest phrase, 77 fit; use a shorter"):
        words.vectors(["fire " * 40])
    with pytest.raises(UsageError, match="dinov2-base has no text tower; use --backbone clip-b16"):
        words_of("dinov2-base", None)
    without = tmp_path / "bare"
    hf.CLIPModel.from_pretrained(tiny_clip).save_pretrained(without)
    with pytest.raises(UsageError, match="bare has no tokenizer, which reads words; put its"):
        Words("image", str(without)).vectors(["fire"])


def test_shares_contrast_what_is_looked_for_with_what_is_ordinary() -> None:
    vectors = np.eye(3, 4, dtype=np.float32)
    said = Sentences(("fire", "fight"), ("street",), vectors, is_random=False)
    rows = np.zeros((2, 1, 4))
    rows[0, 0, 0] = 5.0  # a fire; lengths do not count
    rows[1, 0, 1:3] = 1.0  # half a fight, half a street
    kinds = said.kinds_of(rows)
    assert kinds.names == ("ordinary", "fire", "fight")
    wanted = np.array([[0, 1, 0], [0.5, 0, 0.5]])
    np.testing.assert_allclose(kinds.shares, wanted, atol=1e-6)


def test_the_run_decides_when_and_the_sentences_what() -> None:
    said = Sentences(("fire", "fight"), (), np.eye(2, 4, dtype=np.float32), is_random=False)
    rows = np.zeros((2, 1, 4))
    rows[0, 0, 0] = 5.0  # a fire
    rows[1, 0, :2] = 1.0  # half of each
    kinds = said.name(rows, np.array([0.9, 0.2]))
    assert kinds.names == ("normal", "fire", "fight")
    np.testing.assert_allclose(kinds.shares, [[0.1, 0.9, 0], [0.8, 0.1, 0.1]], atol=1e-6)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Two videos of 20 snippets of 4 values, each snippet in a direction of its own."""
    store = FeatureStore.create(tmp_path_factory.mktemp("search") / "features.zarr")
    for video in ("cam/a", "cam/b"):
        turn = np.linspace(0, 1, 20) + (video == "cam/b")
        rows = np.stack([np.cos(turn), np.sin(turn), 0 * turn, 0 * turn], 1)[:, None]
        record = unseen_record(Path(video), 320, 25.0, "repeat-last", decoder="none")
        draft = store.draft(video)
        draft.append("visual/x", rows.astype(np.float32))
        draft.commit(record, np.arange(320) / 25, {"visual/x": Provenance.of({"backbone": "x"})})
    return store


def test_moments_are_ranked_and_near_ones_listed_once(store: FeatureStore) -> None:
    vector = unit(np.array([np.cos(0.5), np.sin(0.5), 0, 0]))
    found = search_rows(store, "visual/x", vector, store.ids(), top=3)
    assert [m.video for m in found[:2]] == ["cam/a", "cam/a"]
    assert found[0].snippet in (9, 10)
    assert found[0].likeness == pytest.approx(1, abs=1e-3)
    assert abs(found[1].snippet - found[0].snippet) >= 3
    assert found[0].start_s == pytest.approx(found[0].snippet * 16 / 25)
    with pytest.raises(UsageError, match="has 4 values, what is searched 2"):
        search_rows(store, "visual/x", vector[:2], store.ids(), top=3)


def test_search_like_a_moment_leaves_that_moment_out(vad: Any, store: FeatureStore) -> None:
    code, out, _ = vad("search", store.path, "--like", "b@0.2", "--top", 2, "--json")
    assert code == 0
    moments = json.loads(out)["moments"]
    assert moments[0]["video"] in ("cam/a", "cam/b")
    assert all(m["video"] != "cam/b" or m["snippet"] >= 3 for m in moments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to search, or two things at once"),
        (["--like", "a"], "write VIDEO@SECONDS"),
        (["--like", "a@99"], "lasts 12.8 s, 99 s is not within it"),
        (["--like", "c@1"], "0 stored videos are called 'c'"),
        (["a fire"], "no backbone named 'x'"),
    ],
)
def test_a_search_that_cannot_be_is_told(
    vad: Any, store: FeatureStore, arguments: list[str], words: str
) -> None:
    code, _, err = vad("search", store.path, *arguments)
    assert code == 2
    assert words in err


def test_a_video_is_scored_and_searched_by_words_end_to_end(
    vad: Any, make_video: Any, tiny_clip: Path, tmp_path: Path
) -> None:
    video = make_video("street.mp4", 160)
    backbone = f"image:{tiny_clip}"
    code, out, err = vad(
        *("score", video, "--look-for", "two people fighting", "--look-for", "fire"),
        *("--backbone", backbone, "--store", tmp_path / "f.zarr", "--out", tmp_path / "scores"),
        *("--json", "--quiet", "--format", "json,html"),
    )
    assert code == 0, err
    told = json.loads(out)
    assert "more like" in told["meaning"]
    written = json.loads((tmp_path / "scores" / "street.json").read_text())
    assert written["threshold_from"] == "the 95% quantile of this video's scores"
    assert written["kinds"]["names"] == ["ordinary", "two people fighting", "fire"]
    assert written["provenance"]["ordinary"] == list(ORDINARY)
    assert {event["kind"] for event in written["events"]} <= {"two people fighting", "fire"}
    (page,) = (tmp_path / "scores").glob("*.html")
    assert "two people fighting" in page.read_text()
    code, out, err = vad(
        *("search", tmp_path / "f.zarr", "a fire", "--weights", tiny_clip),
        *("--sheet", tmp_path / "found.jpg", "--top", 3),
    )
    assert code == 0, err
    assert out.count("street") == 3
    with Image.open(tmp_path / "found.jpg") as sheet:
        assert sheet.size == (4 * 240, 160 + 28)


def test_sentences_name_the_events_of_a_run(
    vad: Any, make_video: Any, tiny_clip: Path, tmp_path: Path
) -> None:
    videos = [make_video(f"v{i}.mp4", 48) for i in range(4)]
    store, run = tmp_path / "features.zarr", tmp_path / "runs" / "topk"
    code, _, err = vad(
        *("extract", *videos, "--store", store, "--backbone", f"image:{tiny_clip}", "--quiet")
    )
    assert code == 0, err
    rows = "".join(f"{video.stem},{index % 2}\n" for index, video in enumerate(videos))
    (tmp_path / "labels.csv").write_text(f"video,label\n{rows}")
    code, _, err = vad(
        *("train", store, "--labels", tmp_path / "labels.csv", "--out", run, "--detector", "topk"),
        *("--set", "epochs=1", "--set", "validation=0", "--quiet"),
    )
    assert code == 0, err
    options = ("--detector", run, "--store", store, "--out", tmp_path / "scores", "--quiet")
    kinds = ("--kind", "a fire", "--kind", "two people fighting")
    code, _, err = vad("score", *options, *kinds, "--weights", tiny_clip, "--threshold", 0)
    assert code == 0, err
    written = json.loads(next((tmp_path / "scores").rglob("*.json")).read_text())
    shares = np.array(written["kinds"]["shares"])
    scores = [snippet["score"] for snippet in written["snippets"]]
    assert written["kinds"]["names"] == ["normal", "a fire", "two people fighting"]
    np.testing.assert_allclose(shares[:, 0], 1 - np.array(scores), atol=1e-4)
    np.testing.assert_allclose(shares.sum(1), 1, atol=3e-4)
    assert written["events"][0]["kind"] in ("a fire", "two people fighting")
    assert written["provenance"]["kinds"] == ["a fire", "two people fighting"]
    code, _, err = vad("score", *options, "--kind", "a fire")
    assert "one kind names all events alike" in err


def test_random_weights_are_said_on_every_output(vad: Any, make_video: Any, tmp_path: Path) -> None:
    video = make_video("street.mp4", 16)
    code, out, err = vad(
        *("score", video, "--look-for", "fire", "--backbone", "clip-b32", "--weights", "random:0"),
        *("--store", tmp_path / "f.zarr", "--out", tmp_path / "scores", "--quiet"),
    )
    assert code == 0, err
    said = "RANDOM WEIGHTS: these scores mean nothing"
    assert out.count(said) == 1
    for suffix in ("json", "html"):
        (path,) = (tmp_path / "scores").glob(f"*.{suffix}")
        assert said in path.read_text()
    assert f'<p class="warn">{said}.</p>' in path.read_text()
    code, out, err = vad("search", tmp_path / "f.zarr", "fire")
    assert code == 0, err
    assert said in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ordinary", "street"], "--ordinary goes with --look-for"),
        (["--look-for", "fire", "--detector", "runs/x"], "--look-for scores without a run"),
        (["--look-for", "fire", "--recall", "0.9"], "words alone know no recall"),
        (["--backbone", "clip-b16"], "--backbone goes with --look-for"),
        (["--look-for", "a", "--kind", "b"], "--kind names the events of a run"),
        (["--kind", "a", "--kind", "b"], "and there is none; train one"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    vad: Any, make_video: Any, options: list[str], words: str
) -> None:
    code, _, err = vad("score", make_video(), *options)
    assert code == 2
    assert words in err

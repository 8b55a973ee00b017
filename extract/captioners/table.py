"""The table of all captioners, readable without importing torch.

labels                    the embedded captioner git, git:FOLDER           a model by its name on
the Hugging Face hub, or from a local folder file:PATH                 captions that are read from a
file; `written.py` has the formats
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from vad.errors import UsageError
from vad.names import find_by_name
from vad.plugins import add_plugins


@dataclass(frozen=True, slots=True)
class CaptionerCard:
    """The facts about a captioner that are known before it is loaded."""

    name: str  # also the name of the array in the store
    # "MODULE:CLASS", empty if there is no model to load; a module that begins with a dot lies in
    # this package
    loader: str
    model: str  # name on the hub, folder or caption file; empty: a package ships the model
    window: int  # frames that a caption describes, from the first frame of the snippet
    n_frames: int  # frames of the window that the model sees
    licence: str = ""
    n_parameters: int | None = None
    says: str = ""

    @property
    def is_file(self) -> bool:
        """True if the captions come from a file, whose path is in `model`, and no captioner is
        loaded.
        """
        return not self.loader and bool(self.model)


_CARDS = (
    CaptionerCard(
        "labels",
        ".labels:Labels",
        "",
        window=16,
        n_frames=16,
        licence="Apache-2.0",
        says="what kind of place the ImageNet head of EfficientNet-Lite0 sees, how much moves, "
        "where: needs no network (wsvad[offline])",
    ),
    CaptionerCard(
        "git",
        ".generative:Git",
        "microsoft/git-base-vatex",
        window=64,
        n_frames=6,
        licence="MIT",
        n_parameters=176_623_674,
        says="GIT on VATEX, 6 of 64 frames, greedy: stands in for TEVAD's SwinBERT",
    ),
    CaptionerCard(
        "blip",
        ".generative:Blip",
        "Salesforce/blip-image-captioning-base",
        window=16,
        n_frames=1,
        licence="BSD-3-Clause",
        n_parameters=223_971_644,
        says="BLIP, the middle frame of the snippet, greedy",
    ),
    CaptionerCard(
        "instruct",
        ".generative:Instruct",
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        window=64,
        n_frames=6,
        licence="Apache-2.0",
        n_parameters=507_482_304,
        says="a model that follows instructions, with a fixed prompt; also "
        "instruct:Qwen/Qwen3-VL-2B-Instruct",
    ),
    CaptionerCard(
        "file",
        "",
        "",
        window=16,
        n_frames=0,
        says="captions made elsewhere: CSV, TEVAD's JSON lines, timed sentences such as UCA's",
    ),
)

CAPTIONERS: dict[str, CaptionerCard] = {card.name: card for card in _CARDS}


def find_captioner(name: str) -> CaptionerCard:
    """Return the card for NAME, NAME:MODEL or file:PATH.

    Captions from a file are named after the file. Raises UsageError, which lists the captioners, if
    there is no captioner of that name.
    """
    known, colon, model = name.partition(":")
    if known not in CAPTIONERS:
        add_plugins("captioner", CAPTIONERS)
    card = find_by_name("captioner", known, CAPTIONERS)
    if colon and not model:
        raise UsageError(f"captioner {name!r} names no model", hint=f"write {known}:MODEL")
    if known == "file":
        if not model:
            raise UsageError("no file of captions is named", hint="write file:captions.csv")
        stem = model.replace("\\", "/").rpartition("/")[2].partition(".")[0]
        called = re.sub(r"[^\w-]+", "-", stem).strip("-_").lower()
        return replace(card, name=called or "file", model=model)
    if model and not card.model:
        raise UsageError(f"{known} needs no model, and takes no {model!r}")
    return replace(card, model=model) if model else card

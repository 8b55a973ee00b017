"""TEVAD's sentence embeddings: `<video>_emb.npy`, float32 [snippets, 768].

A row is the pooler output of sup-simcse-bert-base-uncased for the caption of 64 frames from
16 i on; there are ceil(frames / 16) rows, often one more than the visual features have.
Source: github.com/coranholmes/TEVAD.
"""

from __future__ import annotations

from .layout import OneFile


class TevadText(OneFile):
    name = "tevad-text"
    says = "TEVAD's sentence embeddings: VIDEO_emb.npy [snippets, 768]"
    kind = "text"
    array = "simcse"
    endings = ("_emb.npy",)

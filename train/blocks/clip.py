"""Parts of CLIP that detectors use: its text tower, frozen, and its transformer block.

The tower reads class names and gives class vectors. Its weights are found under the names of
OpenAI's files or of transformers; they are not part of a detector's state_dict, because the class
vectors that they give are all that scoring needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, scaled_dot_product_attention

from vad.errors import UsageError

HEAD = 64  # width of a head of the text tower
OWN_VOCABULARY = 49_408  # entries of CLIP's own vocabulary
START, END = 49_406, 49_407  # its tokens that begin and end a sentence
# Tokens of the class names of UCF-Crime and XD-Violence in CLIP's vocabulary, so that published
# weights need no tokenizer.
TOKENS: Mapping[str, tuple[int, ...]] = {
    "normal": (5967,),
    "abuse": (7678,),
    "arrest": (9320,),
    "arson": (29937,),
    "assault": (9679,),
    "burglary": (32573,),
    "explosion": (13785,),
    "fighting": (4652,),
    "roadaccidents": (4370, 22072),
    "robbery": (16393,),
    "shooting": (3992,),
    "shoplifting": (5738, 10857),
    "stealing": (14242,),
    "vandalism": (45664,),
    "riot": (14218,),
    "car accident": (1615, 6608),
}
# names of transformers -> those of OpenAI, in the order in which they are replaced
RENAMED = (
    ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("text_model.final_layer_norm.", "ln_final."),
    ("layer_norm1.", "ln_1."),
    ("layer_norm2.", "ln_2."),
    ("self_attn.out_proj.", "attn.out_proj."),
    ("mlp.fc1.", "mlp.c_fc."),
    ("mlp.fc2.", "mlp.c_proj."),
)


def quick_gelu(x: Tensor) -> Tensor:
    """Return `x sigmoid(1.702 x)` of x [..., dim], CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


class QuickMLP(nn.Module):
    """Two linear layers with QuickGELU between them; the inner width is four times as large."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x, [..., width]."""
        out: Tensor = self.c_proj(quick_gelu(self.c_fc(x)))
        return out


class ResidualBlock(nn.Module):
    """CLIP's transformer block with one head: attention and MLP, each after a layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 1, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = QuickMLP(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x, [rows, positions, width]; positions see one another
        within a row.
        """
        normal = self.ln_1(x)
        x = x + self.attn(normal, normal, normal, need_weights=False)[0]
        return torch.add(x, self.mlp(self.ln_2(x)))


Adapt = Callable[[int, Tensor], Tensor]  # index of a block, its output -> what the next one reads


class TextTower(nn.Module):
    """CLIP's text tower with frozen weights, which are not saved with the module.

    It computes what `transformers.CLIPTextModelWithProjection` computes; in addition it takes
    sequences of vectors in place of tokens, and changes to the output of its blocks.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Take the tower's weights out of those of a whole CLIP.

        Raises UsageError if one is missing.
        """
        super().__init__()
        own = openai_names(weights)
        self.n_blocks = len({n.split(".")[2] for n in own if n.startswith("transformer.")})
        for name in tower_names(self.n_blocks):
            if name not in own:
                raise UsageError(
                    f"the text tower lacks {name}", hint="give the whole CLIP, with its text model"
                )
            self.register_buffer(_flat(name), own[name].float(), persistent=False)

    @property
    def width(self) -> int:
        """Return the width of the token vectors."""
        return self.get_buffer("token_embedding__weight").shape[1]

    @property
    def dim(self) -> int:
        """Return the width of the sentence vectors."""
        return self.get_buffer("text_projection").shape[1]

    @property
    def context(self) -> int:
        """Return the number of positions of a sequence."""
        return self.get_buffer("positional_embedding").shape[0]

    def tokens_to_vectors(self, tokens: Tensor) -> Tensor:
        """Return the embedding of tokens [...]: [..., width]."""
        return self.get_buffer("token_embedding__weight")[tokens]

    def encode(self, vectors: Tensor, slots: Tensor, adapt: Adapt | None = None) -> Tensor:
        """Return the normalised output at one slot of every sequence, [sentences, width].

        vectors are [sentences, positions, width], slots [sentences]; adapt changes the output of
        each block. The causal mask hides from a slot what stands after it.
        """
        x = vectors + self.get_buffer("positional_embedding")[: vectors.shape[1]]
        for index in range(self.n_blocks):
            x = self._block(index, x)
            x = x if adapt is None else adapt(index, x)
        x = layer_norm(x, x.shape[-1:], self._of("ln_final.weight"), self._of("ln_final.bias"))
        return x[torch.arange(len(x), device=x.device), slots]

    def project(self, read: Tensor) -> Tensor:
        """Map what `encode` returns to sentence vectors [sentences, dim], not normalised."""
        return read @ self.get_buffer("text_projection")

    def _of(self, name: str) -> Tensor:
        return self.get_buffer(_flat(name))

    def _block(self, index: int, x: Tensor) -> Tensor:
        def part(name: str) -> tuple[Tensor, Tensor]:
            prefix = f"transformer.resblocks.{index}.{name}"
            end = "_" if name == "attn.in_proj" else "."
            return self._of(f"{prefix}{end}weight"), self._of(f"{prefix}{end}bias")

        heads = max(1, self.width // HEAD)
        qkv = linear(layer_norm(x, x.shape[-1:], *part("ln_1")), *part("attn.in_proj"))
        query, key, value = (
            p.unflatten(-1, (heads, -1)).transpose(1, 2) for p in qkv.chunk(3, dim=-1)
        )
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + linear(seen.transpose(1, 2).flatten(2), *part("attn.out_proj"))
        inner = linear(layer_norm(x, x.shape[-1:], *part("ln_2")), *part("mlp.c_fc"))
        return x + linear(quick_gelu(inner), *part("mlp.c_proj"))


def tower_names(n_blocks: int) -> list[str]:
    """Return OpenAI's names of the weights of a text tower, without `logit_scale`."""
    parts = [
        *("attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias"),
        *("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"),
        *("mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"),
    ]
    blocks = [f"transformer.resblocks.{i}.{part}" for i in range(n_blocks) for part in parts]
    ends = ["ln_final.weight", "ln_final.bias", "text_projection"]
    return ["token_embedding.weight", "positional_embedding", *blocks, *ends]


def openai_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a text tower under OpenAI's names, from these or transformers' names.

    transformers has query, key and value apart, and the projection transposed. Weights of the
    image tower are left out.
    """
    found = {}
    for name, weight in weights.items():
        if name.startswith(("visual", "vision_model")):
            continue
        renamed = name
        for theirs, own in RENAMED:
            renamed = renamed.replace(theirs, own)
        if renamed == "text_projection.weight":
            found["text_projection"] = weight.T
        elif ".self_attn." not in renamed:
            found[renamed] = weight
    for name in weights:
        if name.startswith("text_model.") and name.endswith((".q_proj.weight", ".q_proj.bias")):
            joined = torch.cat([weights[name.replace(".q_", f".{part}_")] for part in "qkv"])
            layer, _, kind = name.removeprefix("text_model.encoder.layers.").split(".", 3)[:3]
            kind = name.rpartition(".")[2]
            found[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = joined
    return found


def _flat(name: str) -> str:
    return name.replace(".", "__")


def known_tokens(words: Sequence[str]) -> list[list[int]] | None:
    """Return the tokens of class names, without start and end; None if one is not in `TOKENS`."""
    if any(word.lower() not in TOKENS for word in words):
        return None
    return [list(TOKENS[word.lower()]) for word in words]


@lru_cache(maxsize=1)
def open_tower(model: str) -> TextTower:
    """Return the text tower of a CLIP, a folder or a name on the hub.

    Raises UsageError if it cannot be loaded.
    """
    from transformers import CLIPTextModelWithProjection

    from vad.pretrained import from_pretrained

    loaded = from_pretrained(CLIPTextModelWithProjection, model, offline=False)
    return TextTower(loaded.state_dict())


def tokenize(model: str, words: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each text without start and end, by the tokenizer of a CLIP.

    Raises UsageError if the tokenizer is not there.
    """
    known = known_tokens(words)
    if known is not None:
        return known
    from vad.pretrained import load_tokenizer

    tokenizer = load_tokenizer(model, offline=False)
    return [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]

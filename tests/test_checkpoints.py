"""Weights of strangers: what is read of a file, what is refused, and that nothing in it runs."""

import argparse
import io
import logging
import os
import pickle
import resource
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vad.checkpoints import read_weights_file
from vad.errors import UsageError
from vad.pickles import read_pickle


class Made:
    """Pickled as a call of a function, and perhaps a state that is set on the result."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def reconstruct(state):
    return Made(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=state)


def assert_equal(got, expected):
    assert type(got) is type(expected)
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        for name in expected:
            assert_equal(got[name], expected[name])
    elif isinstance(expected, np.ndarray):
        assert got.dtype == expected.dtype
        assert np.array_equal(got, expected)
    else:
        assert got == expected


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_arrays_are_read_as_pickle_reads_them(protocol):
    random = np.random.default_rng(0)
    shared = random.normal(size=(2, 3)).astype(np.float32)
    held = {
        "params": {"w": shared, "again": shared, "empty": np.zeros((0, 4), np.float32)},
        "fortran": np.asfortranarray(random.normal(size=(3, 4))),
        "big endian": np.arange(5, dtype=">i4"),
        "half": np.array(2.5, np.float16),
        "mask": np.array([True, False]),
        "numbers": [1, -2, 2**40, 2**70, 1.5, True, None, "caf\u00e9", b"\xff\x00"],
        "nested": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"a": []}),
    }
    assert_equal(read_pickle(pickle.dumps(held, protocol=protocol)), held)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_sets_the_state_of_a_dtype_is_refused(protocol):
    """NumPy itself follows a wild pointer here."""
    objects = Made(
        np.dtype,
        "V8",
        False,
        True,
        state=(3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 1),
    )
    wild = reconstruct((1, (2,), objects, False, b"\x41" * 16))
    with pytest.raises(ValueError, match="type 'V8', only numbers are read"):
        read_pickle(pickle.dumps({"blobs": {"z": wild}}, protocol=protocol))
    hidden = Made(np.dtype, "f8", False, True, state=(3, "<", None, ("a",), {}, 8, 1, 1))
    with pytest.raises(ValueError, match="another type than numbers"):
        read_pickle(pickle.dumps(reconstruct((1, (2,), hidden, False, b"\x41" * 16)), protocol))


FLOATS = np.dtype("f4")


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (reconstruct((1, (10**9,), FLOATS, False, b"abcd")), "4 bytes for an array"),
        (reconstruct((1, (-1, -1), FLOATS, False, b"abcd")), "shape"),
        (reconstruct((1, (2**62, 4), FLOATS, False, b"")), "0 bytes for an array"),
        (reconstruct((1, (2,), FLOATS, False, "text")), "4 bytes for an array"),
        (Made(np.dtype, "O", state=(3, "|", None, None, None, -1, -1, 63)), "'O', only numbers"),
        (Made(np.empty, (10**12,)), "asks for numpy.empty"),
        (np.array(["text"]), "only numbers are read"),
        (argparse.Namespace(a=1), "asks for|NEWOBJ|copyreg"),
        (os.mkdir, "holds a class"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(held, message):
    with pytest.raises(ValueError, match=message):
        read_pickle(pickle.dumps({"a": held}, protocol=2))


def test_a_pickle_runs_nothing(tmp_path):
    canary = tmp_path / "canary"
    with pytest.raises(ValueError, match="asks for .*mkdir, which is no array"):
        read_pickle(pickle.dumps({"w": Made(os.mkdir, str(canary))}))
    assert not canary.exists()


def test_damaged_pickles_end_in_an_error_of_ours():
    whole = pickle.dumps({"w": np.arange(6.0).reshape(2, 3), "n": [1, "a", (None,)]}, protocol=2)
    random, n_refused = np.random.default_rng(0), 0
    for _ in range(2000):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), size=random.integers(1, 4)):
            damaged[place] = random.integers(0, 256)
        try:
            read_pickle(bytes(damaged[: random.integers(1, len(whole) + 1)]))
        except ValueError:
            n_refused += 1
    assert n_refused > 1000


def test_values_that_hold_themselves_or_share_end():
    round_and_round = []
    round_and_round.append(round_and_round)
    with pytest.raises(ValueError, match="holds itself"):
        read_pickle(pickle.dumps(round_and_round))
    laughs = ["ha"]
    for _ in range(100):  # 2**100 values, if each is followed for itself
        laughs = [laughs, laughs]
    read_pickle(pickle.dumps(laughs))


# --- files


W = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


def prefixed(prefix):
    return {f"{prefix}{name}": tensor for name, tensor in W.items()}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (W, ""),
        ({"model_state": W, "epoch": 3}, ""),
        ({"state_dict": prefixed("model."), "hyper_parameters": {"lr": 1.0}}, ""),
        ({"model": prefixed("module."), "args": argparse.Namespace(lr=0.1)}, ""),
        ({"net": prefixed("module.model.")}, ""),
        ({**W, "best": np.float64(0.9), "args": argparse.Namespace()}, "best, args"),
    ],
)
def test_containers_that_people_have_hold_the_same_weights(tmp_path, caplog, content, named):
    torch.save(content, tmp_path / "w.pth")
    with caplog.at_level(logging.INFO, logger="vad"):
        read = read_weights_file(tmp_path / "w.pth")
    assert read.keys() == W.keys()
    assert all(torch.equal(read[name], W[name]) for name in W)
    assert (f"left out beside the weights: {named}" in caplog.text) == bool(named)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "is a web page, not weights"),
        (b"\n<html>", "is a web page, not weights"),
        (b"", "cannot be read as weights"),
        (b"PK\3\4rubbish", "cannot be read as weights|damaged"),
    ],
)
def test_what_is_no_weights_says_what_it_is(tmp_path, content, message):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_weights_file(tmp_path / "w.pth")


def test_the_state_of_an_optimizer_is_told(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.Adam([parameter])
    parameter.sum().backward()
    adam.step()
    torch.save(adam.state_dict(), tmp_path / "optimizer.pth")
    with pytest.raises(UsageError, match="holds the state of an optimizer, no weights"):
        read_weights_file(tmp_path / "optimizer.pth")


def test_a_small_file_that_claims_gigabytes_is_refused_in_little_memory(tmp_path):
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(4)}, buffer)
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in plain.namelist():
            with bomb.open(name, "w", force_zip64=True) as entry:
                entry.write(plain.read(name))
                for _ in range(400 if name.endswith("data/0") else 0):
                    entry.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match="its entries claim 419[0-9]* bytes"):
        read_weights_file(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_arrays_of_a_pickle_are_weights(tmp_path):
    arrays = {name: tensor.numpy() for name, tensor in W.items()}
    beside = {"lr": np.float32(0.1), "fc.weight_momentum": np.ones(3, np.float32)}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"blobs": {**arrays, **beside}}, protocol=2))
    save_file(W, tmp_path / "w.safetensors")
    for name in ("w.pkl", "w.safetensors"):
        read = read_weights_file(tmp_path / name)
        assert {n: t.tolist() for n, t in read.items()} == {n: t.tolist() for n, t in W.items()}

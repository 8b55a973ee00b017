"""Networks compiled for a CPU: the same features as PyTorch's, and a cache that heals."""

import sys

import pytest
import torch
from torch import nn

from vad.stages.extract.backbones.engine import Compiled, compiled


class Small(nn.Module):
    """A convolution and a mean: [views, 3, 16, 16] -> [views, 5] and the map."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, x):
        """Return both."""
        y = self.conv(x)
        return y.mean((2, 3)), y


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAD_CACHE", str(tmp_path))
    monkeypatch.setenv("VAD_ENGINE", "openvino")
    return tmp_path / "engine"


@pytest.mark.parametrize("n_views", [1, 2, 3, 5])  # fewer than compiled for, as many, and more
@torch.inference_mode()
def test_a_compiled_network_computes_what_pytorch_does(cache, n_views):
    network = Small().eval()
    fast = compiled(network, (3, 3, 16, 16), 1)
    assert isinstance(fast, Compiled)
    views = torch.randn(n_views, 3, 16, 16)
    for ours, theirs in zip(fast(views), network(views), strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    alone = fast(views[-1:])[0]
    assert torch.equal(alone, fast(views)[0][-1:])  # whatever its company


@torch.inference_mode()
def test_a_damaged_file_of_the_cache_is_made_again(cache):
    network, views = Small().eval(), torch.randn(2, 3, 16, 16)
    first = compiled(network, (2, 3, 16, 16), 1)(views)[0]
    (blob,) = cache.glob("*.blob")
    whole = blob.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", whole[:-9] + bytes(9)):
        blob.write_bytes(damage)
        again = compiled(network, (2, 3, 16, 16), 1)
        assert isinstance(again, Compiled)
        assert torch.equal(again(views)[0], first)
        assert blob.read_bytes() != damage


def test_another_network_or_shape_is_another_file(cache):
    network = Small().eval()
    compiled(network, (1, 3, 16, 16), 1)
    compiled(network, (2, 3, 16, 16), 1)
    with torch.no_grad():
        network.conv.bias += 1
    compiled(network, (1, 3, 16, 16), 1)
    assert len(list(cache.glob("*.blob"))) == 3


# Runs in five processes, one after the other; all but the first read the cache of the first.
BEGIN_TOGETHER = """
import os, signal, sys, threading, openvino, torch
from vad.stages.extract.backbones.engine import compiled

def begin_together():
    torch.manual_seed(0)
    network, barrier = compiled(torch.nn.Linear(4, 4).eval(), (2, 4), 8), threading.Barrier(8)

    def begin():
        views = torch.zeros(2, 4)
        barrier.wait()
        network(views)

    threads = [threading.Thread(target=begin, daemon=True) for _ in range(8)]
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(8)
    return any(thread.is_alive() for thread in threads)

for _ in range(5):
    if not (child := os.fork()):  # the imports are loaded, OpenVINO has shown no tensor
        signal.alarm(60)  # ends it even if no thread can run
        os._exit(begin_together())
    if os.waitpid(child, 0)[1]:
        sys.exit("threads wait for each other, or failed")
"""


def test_threads_whose_first_clips_come_together_do_not_wait_for_each_other(cache, python):
    python.run("-c", BEGIN_TOGETHER, check=True, timeout=120)
    assert len(list(cache.glob("*.blob"))) == 1


# OpenVINO tells of itself by connections of processes that it forks.
WATCHED = """
import sys, torch
from vad.stages.extract.backbones.engine import Compiled, compiled

def watch(event, _):
    if event in ("os.fork", "socket.connect", "socket.getaddrinfo"):
        print(event, flush=True)

sys.addaudithook(watch)
assert isinstance(compiled(torch.nn.Linear(4, 4).eval(), (2, 4), 1), Compiled)
print("compiled")
"""


def test_nobody_is_told_of_a_network_that_is_compiled(cache, python):
    assert python.run("-c", WATCHED, check=True, timeout=120).stdout == "compiled\n"


def test_pytorch_runs_what_the_engine_refuses_and_where_it_is_missing(cache, monkeypatch, caplog):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x)

    odd = Odd().eval()
    assert compiled(odd, (1, 3, 4, 4), 1) is odd
    assert "openvino refuses the network, PyTorch runs it" in caplog.text
    monkeypatch.setitem(sys.modules, "openvino", None)
    network = Small().eval()
    assert compiled(network, (1, 3, 16, 16), 1) is network

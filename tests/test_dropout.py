"""Dropout on a CPU: what a seed drops, whatever the processor."""

import pytest
import torch

from vad.stages.train.blocks.layers import DRAWN, Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.7, 1 / 3])
@pytest.mark.parametrize("shape", [(0, 3), (7,), (3, DRAWN // 2)])
def test_a_value_is_kept_where_a_uniform_one_is_below_the_share(p, shape):
    x = torch.randn(shape, requires_grad=True)
    torch.manual_seed(0)
    got, after = Dropout(p)(x), torch.rand(1)
    torch.manual_seed(0)
    kept = torch.rand(shape, dtype=torch.float64) < 1 - p
    assert torch.equal(after, torch.rand(1))
    scale = kept.float() / (1 - p)
    assert torch.equal(got, x * scale)
    assert torch.equal(torch.autograd.grad(got.sum(), x)[0], scale)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_all_or_nothing_is_kept(p):
    assert Dropout(p)(torch.ones(5)).sum() == 5 * (1 - p)


def test_in_use_nothing_is_dropped():
    x = torch.randn(9)
    assert torch.equal(Dropout(0.7).eval()(x), x)

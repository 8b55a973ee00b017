"""Minimal filtering: fewer products, the same convolution and the same gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vad.filtering import OF_4, OF_8
from vad.stages.train.blocks.layers import WIDE, conv, filtered


@pytest.mark.parametrize("way", [OF_4, OF_8])
def test_few_products_make_the_outputs_of_three_taps(way):
    """Taps 1, 2, 4 over 1, 10, 100, ...: every output shows which inputs it saw."""
    seen, taps = 10.0 ** np.arange(way.n_inputs), np.array([1.0, 2.0, 4.0])
    outputs = way.back @ ((way.taps @ taps) * (way.inputs @ seen))
    np.testing.assert_allclose(outputs, 421 * 10.0 ** np.arange(way.n_outputs), rtol=1e-6)
    assert way.n_inputs == way.n_outputs + 2


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 4, 7, 16, 32, 33])
def test_a_filtered_convolution_is_that_of_torch_and_so_are_its_gradients(length, dilation):
    torch.manual_seed(0)
    x = torch.randn(3, 5, length, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(4, 5, 3, dtype=torch.float64, requires_grad=True)
    got, expected = (
        filtered(x, taps, dilation),
        F.conv1d(x, taps, padding=dilation, dilation=dilation),
    )
    towards = torch.randn_like(expected)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        torch.autograd.grad(got, (x, taps), towards),
        torch.autograd.grad(expected, (x, taps), towards),
    )


def test_a_wide_layer_in_training_agrees_with_itself_in_use():
    torch.manual_seed(0)
    layer = conv(WIDE, 2 * WIDE, kernel=3, dilation=2)
    x = torch.randn(2, WIDE, 37)
    trained, used = layer.train()(x), layer.eval()(x)
    assert not torch.equal(trained, used)  # computed otherwise
    assert (trained - used).abs().max() <= 1e-5 * used.abs().max()
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert isinstance(layer, nn.Conv1d)

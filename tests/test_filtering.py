"""Minimal filtering: fewer products, the same outputs."""

import numpy as np

from vad.stages.extract.backbones.filtering import OF_4


def test_few_products_make_the_outputs_of_three_taps():
    """Taps 1, 2, 4 over 1, 10, 100, ...: every output shows which inputs it saw."""
    seen, taps = 10.0 ** np.arange(OF_4.n_inputs), np.array([1.0, 2.0, 4.0])
    outputs = OF_4.back @ ((OF_4.taps @ taps) * (OF_4.inputs @ seen))
    np.testing.assert_allclose(outputs, 421 * 10.0 ** np.arange(OF_4.n_outputs), rtol=1e-6)
    assert OF_4.n_inputs == OF_4.n_outputs + 2

import fctoolbox_zebrafish
import numpy as np

from fctoolbox.testing import check_source


def test_the_source_keeps_the_contract():
    (source,) = fctoolbox_zebrafish.fctoolbox_sources()
    check_source(source, n_times=200)


def test_the_first_neuron_listens_to_the_upper_layers():
    weights = fctoolbox_zebrafish.load().projection.weights
    assert np.argmax(weights[0]) == 2

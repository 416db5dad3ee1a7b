"""Zebrafish optic tectum as a source for fctoolbox; the numbers are made up."""

import numpy as np

import fctoolbox as fct

CITATION = "none: made-up numbers of the fctoolbox tutorial"


def load(*, n_times: int = 600, seed: int = 0) -> fct.RecurrentSystem:
    """Tectal neurons, the layers of retinal axons that reach them, and their calcium signals."""
    rng = np.random.default_rng(seed)
    depth = np.repeat([0.2, 0.5, 0.8], 12)
    # From layer j onto neuron i: a neuron samples the layers near its own depth.
    weights = np.exp(-(((depth[:, None] - np.linspace(0, 1, 10)) / 0.15) ** 2))
    weights += 0.1 * rng.random(weights.shape)
    signals = rng.standard_normal((n_times, 10)) @ weights.T + rng.standard_normal((n_times, 36))
    return fct.RecurrentSystem(
        name="zebrafish-toy (synthetic)",
        units=tuple(f"neuron-{i}" for i in range(36)),
        projection=fct.InputProjection(weights, tuple(f"retinal-layer-{j}" for j in range(10))),
        activity=fct.RecurrentActivity(signals, sampling_interval=0.5),
        annotations={"depth": tuple(map(str, depth))},
        provenance=fct.Provenance(CITATION, "CC0-1.0", species="zebrafish (synthetic)", synthetic=True),
    )


@fct.hookimpl
def fctoolbox_sources() -> list[fct.Source]:
    """What this plugin brings."""
    summary = "synthetic: 36 tectal neurons, inputs from 10 layers of retinal axons"
    return [fct.Source("zebrafish-toy", load, summary, CITATION, "CC0-1.0", synthetic=True)]

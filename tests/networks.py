"""A network without training, whose modules do what they were made for."""

from dataclasses import dataclass, replace

import numpy as np

import fctoolbox as fct


@dataclass(frozen=True, eq=False)
class Linear:
    """Units that add up their inputs and, by `weights`, each other's last state."""

    inward: np.ndarray
    weights: np.ndarray
    output_weights: np.ndarray
    output_bias: np.ndarray
    silent: tuple = ()

    def step(self, state, inputs):
        following = self.input_drive(inputs) + state @ self.weights.T
        following[..., list(self.silent)] = 0
        return following

    def input_drive(self, inputs):
        return inputs @ self.inward.T

    def readout(self, state):
        return state @ self.output_weights.T + self.output_bias

    def lesion(self, units):
        return replace(self, silent=(*self.silent, *units))


def decisions(
    rng, *, n_trials=60, length=12, n_units=24, carriers=8, noise=0.05, feedback=0.0, bias=(0.0, 0.0, 0.0), **changes
):
    """A network that says which of two stimuli is shown: the answer is read from its first `carriers` units alone.

    The first module receives the first input minus the second, the second module the cue, the third nothing but noise.
    Outputs: 0 to wait, 1 and 2 for the stimuli; the response is asked for at the last step of a trial.
    """
    right = rng.permutation(np.arange(n_trials) % 2)
    coherence = rng.choice([0.5, 1.0], n_trials)
    inputs = np.zeros((n_trials, length, 4))
    inputs[np.arange(n_trials), :, right] = coherence[:, None]
    inputs[..., 2] = 1 + 0.2 * rng.standard_normal((n_trials, length))
    inputs[..., 3] = rng.standard_normal((n_trials, length))
    module = np.repeat(
        np.arange(3), [carriers, (n_units - carriers) // 2, n_units - carriers - (n_units - carriers) // 2]
    )
    inward = noise * rng.standard_normal((n_units, 4))
    inward[module == 0, 0] += 1
    inward[module == 0, 1] -= 1
    inward[module == 1, 2] += 1
    inward[module == 2, 3] += 1
    output_weights = 1e-3 * rng.standard_normal((3, n_units))
    output_weights[1, module == 0] = 1
    output_weights[2, module == 0] = -1
    weights = np.zeros((n_units, n_units))
    weights[np.ix_(module == 0, module == 1)] = feedback
    model = Linear(inward, weights, output_weights, np.array(bias, dtype=float))
    state, states = np.zeros((n_trials, n_units)), []
    for step in range(length):
        state = model.step(state, inputs[:, step])
        states.append(state)
    target = np.zeros((n_trials, length, 3))
    target[:, :-1, 0] = 1
    target[np.arange(n_trials), -1, right + 1] = 1
    choice = np.eye(3)[model.readout(state).argmax(axis=1)]

    def rows(values):
        return values.reshape(n_trials * length, -1)

    def throughout(values):
        return np.repeat(values, length, axis=0)

    parts = {
        "name": "made up (synthetic)",
        "units": tuple(f"u{i}" for i in range(n_units)),
        "projection": fct.InputProjection(inward),
        "activity": fct.RecurrentActivity(
            rows(np.stack(states, axis=1)),
            sampling_interval=0.02,
            trials=np.repeat(np.arange(n_trials), length),
            variables={
                "inputs": rows(inputs),
                "stimulus": rows(inputs[..., :2]),
                "output": rows(np.stack([model.readout(each) for each in states], axis=1)),
                "target": rows(target),
                "choice": throughout(choice),
                "coherence": throughout(coherence),
                "period": rows(np.broadcast_to(np.arange(length), (n_trials, length))),
            },
        ),
        "model": model,
        "provenance": fct.Provenance(citation="nobody", license="CC0-1.0", synthetic=True),
    }
    return fct.RecurrentSystem(**{**parts, **changes}), module


def with_variables(system, **changes):
    """The same system with other variables, and without those that are None."""
    variables = {**system.activity.variables, **changes}
    kept = {name: values for name, values in variables.items() if values is not None}
    return replace(system, activity=replace(system.activity, variables=kept))

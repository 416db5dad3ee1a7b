"""What input weights alone make: functional connectivity out of noise, and modules out of signs and sizes.

All functions take plain matrices, so that a thalamocortical projection will do as well as a network's input weights.
The paper's text was not at hand when this was written: noise through a projection is its model, but the sign,
difference and sign-difference models, the six rules and the relation of modules to inputs are built from a description
in words, and their closed forms are derived here (docs/explanation/generative.md).
"""

from fctoolbox.generative._projection import Projection
from fctoolbox.generative.module_counts import ModuleCounts, modules_by_chosen_inputs, modules_by_inputs
from fctoolbox.generative.module_profiles import ModuleInputs, module_inputs
from fctoolbox.generative.noise import (
    Nonlinearity,
    SampleCurve,
    connectivity_by_samples,
    expected_connectivity,
    sample_connectivity,
)
from fctoolbox.generative.weight_models import (
    SIX_RULES,
    difference_model,
    difference_model_q,
    sign_difference_model,
    sign_model,
    sign_model_q,
    six_rules,
)

__all__ = [
    "SIX_RULES",
    "ModuleCounts",
    "ModuleInputs",
    "Nonlinearity",
    "Projection",
    "SampleCurve",
    "connectivity_by_samples",
    "difference_model",
    "difference_model_q",
    "expected_connectivity",
    "module_inputs",
    "modules_by_chosen_inputs",
    "modules_by_inputs",
    "sample_connectivity",
    "sign_difference_model",
    "sign_model",
    "sign_model_q",
    "six_rules",
]

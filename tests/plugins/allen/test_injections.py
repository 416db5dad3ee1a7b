from dataclasses import replace

import numpy as np
import pytest
from fctoolbox_allen.experiments import MEASURES
from fctoolbox_allen.experiments_miniature import LINE
from fctoolbox_allen.injections import Choice, chosen_experiments, injection_projection
from fctoolbox_allen.miniature import divisions

from fctoolbox import InputError


def areas(export, *acronyms):
    return [export.structures[acronym] for acronym in acronyms]


def row(export, experiment, acronym, hemisphere):
    table = export.unionizes
    (index,) = np.flatnonzero(
        (table["experiment_id"] == experiment)
        & (table["structure_id"] == export.structures[acronym].id)
        & (table["hemisphere_id"] == hemisphere)
        & (table["is_injection"] == 0)
    )
    return {name: float(values[index]) for name, values in table.items()}


def without(export, keep):
    return replace(export, unionizes={name: values[keep] for name, values in export.unionizes.items()})


def test_other_structures_are_other_inputs(export):
    both, groups = chosen_experiments(export, Choice(("VISp", "STR")))
    assert [each.structure for each in both] == ["VISp", "CP"]
    assert groups == ("Primary visual area", "Striatum")
    parts, groups = chosen_experiments(export, Choice(("LGd", "TH")))
    assert groups.count("Dorsal part of the lateral geniculate complex") == 2
    assert len(parts) == 2 * len(divisions()["Thalamus"])


def test_weights_are_the_rows_of_the_table_on_the_injected_side(export):
    units = ("VISp", "MOp")
    for side, of_injected in (("ipsi", lambda side: side), ("contra", lambda side: 3 - side), ("both", lambda side: 3)):
        for measure in ("projection_volume", "projection_density", "projection_energy", "normalized_projection_volume"):
            projection, left_out = injection_projection(
                areas(export, *units), export, Choice(measure=measure, side=side)
            )
            assert left_out == {}
            for j, name in enumerate(projection.inputs):
                experiment = int(name.split()[1])
                injected = 1 if (experiment - 100140756) // 7 % 5 == 0 else 2
                expected = [row(export, experiment, unit, of_injected(injected))[measure] for unit in units]
                np.testing.assert_array_equal(projection.weights[:, j], expected)


def test_an_area_that_the_table_lacks_is_made_of_its_parts(export):
    aca, parts = export.structures["ACA"], ("ACAd", "ACAv")
    apart = without(export, export.unionizes["structure_id"] != aca.id)
    for measure in MEASURES:
        whole, _ = injection_projection([aca], export, Choice(measure=measure))
        made, _ = injection_projection([aca], apart, Choice(measure=measure))
        np.testing.assert_allclose(made.weights, whole.weights, rtol=1e-12)
    # By hand: a density is per pixel, so the larger part counts more.
    experiment = apart.experiments[1]
    values = [row(apart, experiment.id, part, 2) for part in parts]
    expected = sum(each["projection_density"] * each["sum_pixels"] for each in values) / sum(
        each["sum_pixels"] for each in values
    )
    made, _ = injection_projection([aca], apart, Choice(measure="projection_density"))
    assert made.weights[0, made.inputs.index(experiment.name)] == pytest.approx(expected, rel=1e-12)


def test_an_injection_without_a_row_for_an_area_is_left_out_and_named(export):
    first = export.experiments[0]
    table = export.unionizes
    keep = ~((table["experiment_id"] == first.id) & (table["structure_id"] == export.structures["MOp"].id))
    projection, left_out = injection_projection(areas(export, "VISp", "MOp"), without(export, keep), Choice())
    assert left_out == {first.name: "no unionize of MOp"}
    assert first.name not in projection.inputs
    nowhere = without(export, table["structure_id"] != export.structures["MOp"].id)
    with pytest.raises(InputError, match=r"none of the 32 experiments has a unionize for every area: LGd .* MOp"):
        injection_projection(areas(export, "VISp", "MOp"), nowhere, Choice())


def test_an_injection_on_no_side_is_left_out(export):
    first = export.experiments[0]
    table = export.unionizes
    keep = ~((table["experiment_id"] == first.id) & (table["is_injection"] == 1))
    _, left_out = injection_projection(areas(export, "VISp"), without(export, keep), Choice())
    assert left_out == {first.name: "its injection site lies in neither hemisphere, or in both alike"}
    _, left_out = injection_projection(areas(export, "VISp"), without(export, keep), Choice(side="both"))
    assert left_out == {}


def test_the_injection_site_is_no_projection(export):
    visp = next(each for each in export.experiments if each.structure == "VISp")
    projection, _ = injection_projection(areas(export, "VISp"), export, Choice(("VISp",), "projection_volume"))
    assert projection.weights[0, 0] == row(export, visp.id, "VISp", 2)["projection_volume"]
    assert projection.weights[0, 0] != visp.volume


def test_the_order_of_the_rows_does_not_matter(export, rng):
    order = rng.permutation(len(export.unionizes["structure_id"]))
    one, _ = injection_projection(areas(export, "VISp", "ACA"), export, Choice())
    other, _ = injection_projection(areas(export, "VISp", "ACA"), without(export, order), Choice())
    np.testing.assert_array_equal(one.weights, other.weights)


def test_lines_and_volumes_choose_experiments(export):
    every, _ = chosen_experiments(export, Choice())
    wild, _ = chosen_experiments(export, Choice(line="wild-type"))
    cre, _ = chosen_experiments(export, Choice(line="cre"))
    assert set(wild) | set(cre) == set(every)
    assert not any(each.line for each in wild)
    assert chosen_experiments(export, Choice(line=LINE))[0] == cre
    large, _ = chosen_experiments(export, Choice(min_injection_volume=0.2))
    assert set(large) == {each for each in every if each.volume >= 0.2}
    assert 0 < len(large) < len(every)

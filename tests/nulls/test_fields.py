import numpy as np
import pytest
from scipy.special import k1

import fctoolbox as fct
from fctoolbox import InputError
from fctoolbox.nulls import euclidean_distances
from fctoolbox.nulls.fields import covariance_of, smooth_fields, smooth_fields_at, smooth_fields_on_mesh
from tests.nulls.meshes import sphere


@pytest.fixture
def positions(rng):
    return rng.uniform(0, 10, (30, 3))


@pytest.mark.parametrize(
    ("kernel", "formula"), [("gaussian", lambda d: np.exp(-(d**2) / 18)), ("exponential", lambda d: np.exp(-d / 3))]
)
def test_covariance_is_the_kernels(positions, kernel, formula):
    distances = euclidean_distances(positions)
    wanted = formula(distances)
    np.testing.assert_allclose(covariance_of(distances, length_scale=3, kernel=kernel), wanted, atol=1e-6)
    fields = smooth_fields(distances, length_scale=3, n_fields=20_000, rng=0, kernel=kernel)
    assert fields.shape == (20_000, 30)
    np.testing.assert_allclose(fields.T @ fields / 20_000, wanted, atol=5 / np.sqrt(20_000) * np.sqrt(2))
    np.testing.assert_allclose(fields.mean(axis=0), 0, atol=5 / np.sqrt(20_000))


def test_random_features_have_the_same_covariance(positions):
    fields = smooth_fields_at(positions[:8], length_scale=3, n_fields=4000, rng=0)
    wanted = covariance_of(euclidean_distances(positions[:8]), length_scale=3)
    np.testing.assert_allclose(fields.T @ fields / 4000, wanted, atol=5 / np.sqrt(4000) * np.sqrt(2))
    kurtosis = (fields**4).mean() / (fields**2).mean() ** 2
    assert kurtosis == pytest.approx(3, abs=0.15)  # Gaussian


def test_fields_of_many_units_do_not_depend_on_blocks(positions, monkeypatch):
    whole = smooth_fields_at(positions, length_scale=3, n_fields=2, rng=0)
    monkeypatch.setattr("fctoolbox.nulls.fields._BLOCK_VALUES", 2000 * 7)
    np.testing.assert_allclose(smooth_fields_at(positions, length_scale=3, n_fields=2, rng=0), whole)


def test_mesh_fields_have_the_matern_covariance():
    surface = sphere(2000, radius=10)
    fields = smooth_fields_on_mesh(surface, length_scale=8, n_fields=600, rng=0)
    assert fields.shape == (600, 2000)
    assert (fields**2).mean() == pytest.approx(1, abs=0.03)
    some = np.arange(0, 2000, 10)
    apart = 10 * np.arccos(np.clip(surface.vertices[some] @ surface.vertices.T / 100, -1, 1))
    found = fields[:, some].T @ fields / 600
    kappa = np.sqrt(8) / 8
    for low, high in ((2, 3), (4, 5), (6, 7), (8, 9)):
        ring = (apart >= low) & (apart < high)
        d = apart[ring]
        assert found[ring].mean() == pytest.approx((kappa * d * k1(kappa * d)).mean(), abs=0.03)


def test_separate_meshes_have_independent_fields_of_the_same_variance():
    one = sphere(300, radius=10)
    both = fct.Surface(
        vertices=np.concatenate([one.vertices, one.vertices * 2 + 100]),
        faces=np.concatenate([one.faces, one.faces + 300]),
        unit_of_vertex=np.arange(600),
    )
    fields = smooth_fields_on_mesh(both, length_scale=6, n_fields=2000, rng=0)
    assert (fields[:, :300] ** 2).mean() == pytest.approx(1, abs=0.1)
    assert (fields[:, 300:] ** 2).mean() == pytest.approx(1, abs=0.1)
    assert abs((fields[:, 0] * fields[:, 300]).mean()) < 0.1


def test_a_covariance_that_is_none_is_repaired_and_told():
    n = 12  # along a circle, gaussian kernels of long scale are not positive definite
    steps = np.abs(np.arange(n)[:, None] - np.arange(n))
    circle = np.minimum(steps, n - steps).astype(float)
    with pytest.warns(UserWarning, match=r"not positive definite .* [0-9.]+ % of the variance"):
        covariance = covariance_of(circle, length_scale=8)
    np.testing.assert_allclose(np.diag(covariance), 1)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    covariance_of(circle, length_scale=8, kernel="exponential")  # positive definite on circles and spheres


def test_same_rng_same_fields(positions):
    distances, mesh = euclidean_distances(positions), sphere(100)
    for make in (
        lambda rng: smooth_fields(distances, length_scale=2, n_fields=2, rng=rng),
        lambda rng: smooth_fields_at(positions, length_scale=2, n_fields=2, rng=rng),
        lambda rng: smooth_fields_on_mesh(mesh, length_scale=2, n_fields=2, rng=rng),
    ):
        np.testing.assert_array_equal(make(3), make(3))
        assert (make(3) != make(4)).any()


def test_bad_input(positions):
    distances = euclidean_distances(positions)
    with pytest.raises(InputError, match=r"length_scale is 0; it must be a positive number"):
        smooth_fields(distances, length_scale=0, n_fields=1)
    with pytest.raises(InputError, match=r"length_scale is nan"):
        smooth_fields_at(positions, length_scale=float("nan"), n_fields=1)
    with pytest.raises(InputError, match="kernel is 'round'"):
        smooth_fields(distances, length_scale=1, n_fields=1, kernel="round")
    with pytest.raises(InputError, match=r"\(30, 2\)"):
        smooth_fields(distances[:, :2], length_scale=1, n_fields=1)
    with pytest.raises(InputError, match="zeros on the diagonal"):
        smooth_fields(distances + 1, length_scale=1, n_fields=1)
    with pytest.raises(InputError, match="n_fields is 0"):
        smooth_fields(distances, length_scale=1, n_fields=0)
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]])
    loose = fct.Surface(vertices=vertices, faces=np.array([[0, 1, 2]]), unit_of_vertex=np.arange(4))
    with pytest.raises(InputError, match="vertex 3 of the mesh"):
        smooth_fields_on_mesh(loose, length_scale=1, n_fields=1)
    flat = fct.Surface(vertices=vertices, faces=np.array([[0, 1, 1], [0, 2, 3]]), unit_of_vertex=np.arange(4))
    with pytest.raises(InputError, match="face 0 of the mesh"):
        smooth_fields_on_mesh(flat, length_scale=1, n_fields=1)

import os
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from fctoolbox import InputError, Surface
from fctoolbox.nulls.spin import random_rotations, sphere_positions, spin, spin_by, unit_hemispheres

MIRROR = np.diag([-1.0, 1.0, 1.0])
QUARTER = np.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])  # x -> y -> -x
SQUARE = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])


def on_sphere(rng, n, radius=1.0):
    points = rng.standard_normal((n, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.fixture
def sphere(rng):
    return on_sphere(rng, 150)


@pytest.fixture
def sides(rng):
    return np.array(["left", "right"])[rng.integers(2, size=150)]


class TestRotations:
    turns = random_rotations(20_000, rng=0)

    def test_they_are_rotations(self):
        np.testing.assert_allclose(
            self.turns @ self.turns.transpose(0, 2, 1), np.tile(np.eye(3), (20_000, 1, 1)), atol=1e-12
        )
        np.testing.assert_allclose(np.linalg.det(self.turns), 1)

    def test_moments_of_the_haar_measure(self):
        # E R_ij = 0, E R_ij R_kl = δ_ik δ_jl / 3; traces are characters: E tr^m counts the trivial parts of m vectors
        flat = self.turns.reshape(-1, 9)
        np.testing.assert_allclose(flat.mean(axis=0), 0, atol=5 / np.sqrt(3 * 20_000))
        np.testing.assert_allclose(flat.T @ flat / 20_000, np.eye(9) / 3, atol=5 * np.sqrt(0.2 / 20_000))
        trace = np.trace(self.turns, axis1=1, axis2=2)
        for power, moment, spread in (
            (1, 0, 1),
            (2, 1, np.sqrt(3 - 1)),
            (3, 1, np.sqrt(15 - 1)),
            (4, 3, np.sqrt(91 - 9)),
        ):
            assert (trace**power).mean() == pytest.approx(moment, abs=5 * spread / np.sqrt(20_000))

    def test_distribution_of_angles(self):
        # the angle has density (1 - cos) / π on [0, π]
        angles = np.sort(np.arccos(np.clip((np.trace(self.turns, axis1=1, axis2=2) - 1) / 2, -1, 1)))
        expected = (angles - np.sin(angles)) / np.pi
        assert np.abs(expected - np.arange(0.5, 20_000) / 20_000).max() < 1.95 / np.sqrt(20_000)

    def test_a_point_goes_anywhere(self):
        heights = np.sort((self.turns @ [0.6, 0, 0.8])[:, 2])  # uniform on [-1, 1] (Archimedes)
        assert np.abs((heights + 1) / 2 - np.arange(0.5, 20_000) / 20_000).max() < 1.95 / np.sqrt(20_000)


@pytest.mark.parametrize("assignment", ["hungarian", "vasa", "nearest"])
class TestEveryAssignment:
    def test_by_hand(self, assignment):
        # a quarter turn brings unit 0 to the place of 1, so that 1 has the value of 0
        np.testing.assert_array_equal(spin_by(QUARTER, SQUARE, assignment=assignment), [[3, 0, 1, 2]])
        nothing = spin_by(np.eye(3)[None], SQUARE, assignment=assignment)
        np.testing.assert_array_equal(nothing, [[0, 1, 2, 3]])

    def test_the_right_hemisphere_turns_the_other_way(self, assignment):
        both = np.vstack([SQUARE, SQUARE @ MIRROR])
        orders = spin_by(QUARTER, both, hemispheres=["left"] * 4 + ["right"] * 4, assignment=assignment)
        np.testing.assert_array_equal(orders, [[3, 0, 1, 2, 7, 4, 5, 6]])

    def test_mirror_images_get_mirrored_nulls(self, assignment, rng):
        left = on_sphere(rng, 60)
        sides = ["left"] * 60 + ["right"] * 60
        orders = spin(np.vstack([left, left @ MIRROR]), hemispheres=sides, n_nulls=5, rng=3, assignment=assignment)
        np.testing.assert_array_equal(orders[:, 60:], orders[:, :60] + 60)

    def test_invariances(self, assignment, sphere, sides, rng):
        cortex = rng.random(150) < 0.9
        keywords = {"n_nulls": 6, "rng": 8, "assignment": assignment}
        orders = spin(sphere, hemispheres=sides, cortex=cortex, **keywords)
        assert orders.shape == (6, 150)
        # radius
        np.testing.assert_array_equal(orders, spin(100 * sphere, hemispheres=sides, cortex=cortex, **keywords))
        # threads
        np.testing.assert_array_equal(orders, spin(sphere, hemispheres=sides, cortex=cortex, n_jobs=2, **keywords))
        # order of the units
        new = rng.permutation(150)
        shuffled = spin(sphere[new], hemispheres=sides[new], cortex=cortex[new], **keywords)
        np.testing.assert_array_equal(new[shuffled], orders[:, new])

    def test_one_null_keeps_its_axis_and_the_caller_keeps_its_array(self, assignment, sphere):
        before = sphere.copy()
        assert spin(sphere, n_nulls=1, rng=0, assignment=assignment).shape == (1, 150)
        np.testing.assert_array_equal(sphere, before)

    def test_medial_wall(self, assignment, sphere):
        cortex = sphere[:, 0] > -0.7
        orders = spin(sphere, cortex=cortex, n_nulls=20, rng=1, assignment=assignment)
        assert cortex[orders[:, cortex]].all()
        np.testing.assert_array_equal(orders[:, ~cortex], np.tile(np.flatnonzero(~cortex), (20, 1)))
        # leaving the wall out of the system is the same
        alone = spin(sphere[cortex], n_nulls=20, rng=1, assignment=assignment)
        np.testing.assert_array_equal(np.flatnonzero(cortex)[alone], orders[:, cortex])

    def test_values_stay_in_their_hemisphere(self, assignment, sphere, sides):
        orders = spin(sphere, hemispheres=sides, n_nulls=5, rng=1, assignment=assignment)
        assert (sides[orders] == sides).all()

    def test_smooth_maps_stay_smooth(self, assignment, sphere):
        neighbour = np.argsort(cdist(sphere, sphere), axis=1)[:, 1]
        smooth = sphere @ [1.0, 0.3, -0.4]

        def roughness(maps):
            return ((maps - maps[..., neighbour]) ** 2).mean() / maps.var()

        nulls = smooth[spin(sphere, n_nulls=30, rng=2, assignment=assignment)]
        # The points are scattered at random, the hardest case for the assignments that use each value once.
        assert roughness(nulls) < 0.2 * roughness(np.random.default_rng(0).permutation(smooth))

    def test_few_units(self, assignment):
        np.testing.assert_array_equal(spin([[1.0, 0, 0]], n_nulls=2, rng=0, assignment=assignment), [[0], [0]])
        both = spin(SQUARE[:2], hemispheres=["left", "right"], n_nulls=2, rng=0, assignment=assignment)
        np.testing.assert_array_equal(both, [[0, 1], [0, 1]])


@pytest.mark.parametrize("assignment", ["hungarian", "vasa"])
def test_each_value_is_used_once(sphere, sides, assignment):
    orders = spin(sphere, hemispheres=sides, n_nulls=10, rng=0, assignment=assignment)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(150), (10, 1)))


def test_hungarian_is_the_cheapest_and_vasa_is_not(rng):
    points = on_sphere(rng, 40)
    turns = random_rotations(10, rng=4)
    costs = np.stack([cdist(points, points @ turn.T) for turn in turns])

    def total(assignment):
        orders = spin_by(turns, points, assignment=assignment)
        return np.take_along_axis(costs, orders[:, :, None].astype(int), axis=2).sum(axis=(1, 2))

    from scipy.optimize import linprog

    one_of_each = np.vstack([np.kron(np.eye(40), np.ones(40)), np.kron(np.ones(40), np.eye(40))])
    least = linprog(costs[0].ravel(), A_eq=one_of_each, b_eq=np.ones(80)).fun
    assert total("hungarian")[0] == pytest.approx(least)
    assert (total("hungarian") < total("vasa")).all()


def masked_vasa(costs):
    """As published: the closest pair of the worst-off row; then the row and the column are crossed out."""
    costs, column_of = costs.copy(), np.empty(len(costs), dtype=int)
    for _ in range(len(costs)):
        row = np.nanargmax(np.where(np.isinf(costs).all(axis=1), np.nan, costs.min(axis=1)))
        column_of[row] = costs[row].argmin()
        costs[:, column_of[row]] = np.inf
        costs[row] = np.inf
    return column_of


def test_vasa_as_published(sphere):
    turns = random_rotations(5, rng=2)
    expected = [masked_vasa(cdist(sphere, sphere @ turn.T)) for turn in turns]
    np.testing.assert_array_equal(spin_by(turns, sphere, assignment="vasa"), expected)


@pytest.mark.parametrize("n", [4, 5, 30, 2000])
def test_nearest_is_exact(rng, n):
    points = on_sphere(rng, n)
    turns = random_rotations(4, rng=n)
    expected = [cKDTree(points @ turn.T).query(points)[1] for turn in turns]
    np.testing.assert_array_equal(spin_by(turns, points, assignment="nearest"), expected)


@pytest.mark.parametrize("shape", ["cap", "ring", "grid", "twins"])
def test_nearest_is_exact_on_awkward_spheres(rng, shape):
    points = on_sphere(rng, 300)
    if shape == "cap":
        points = points[points[:, 2] > 0.5]
    elif shape == "ring":  # in a plane: no convex hull
        points = points * [1, 1, 0]
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    elif shape == "grid":  # four corners of each face in a plane
        cube = np.array([each for each in product(np.linspace(-1, 1, 5), repeat=3) if max(np.abs(each)) == 1])
        points = cube / np.linalg.norm(cube, axis=1, keepdims=True)
    else:
        points = np.vstack([points, points[:20]])
    turns = random_rotations(6, rng=1)
    orders = spin_by(turns, points, assignment="nearest")
    for turn, order in zip(turns, orders, strict=True):
        least, _ = cKDTree(points @ turn.T).query(points)
        np.testing.assert_allclose(np.linalg.norm((points @ turn.T)[order] - points, axis=1), least, atol=1e-9)


@pytest.fixture
def brainspace_spins():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("brainspace.null_models.spin")


def brainspace_rotations(seed, n):
    """The right factors that brainspace draws."""
    state = np.random.RandomState(seed)
    turns = []
    for _ in range(n):
        turn, upper = np.linalg.qr(state.normal(size=(3, 3)))
        turn *= np.sign(np.diag(upper))
        turn[:, 0] *= np.sign(np.linalg.det(turn))
        turns.append(turn)
    return np.array(turns)


@pytest.mark.parametrize(("unique", "assignment"), [(True, "hungarian"), (False, "nearest")])
def test_agrees_with_brainspace(brainspace_spins, rng, unique, assignment):
    left, right = on_sphere(rng, 70), on_sphere(rng, 65)
    theirs = brainspace_spins.SpinPermutations(unique=unique, n_rep=8, random_state=5).fit(left, right)
    turns = brainspace_rotations(5, 8)  # positions @ turn
    # For the nearest it asks which unit lies where this one goes, rather than which unit comes here: the inverse.
    turns = turns.transpose(0, 2, 1) if unique else turns
    ours = spin_by(turns, np.vstack([left, right]), hemispheres=["left"] * 70 + ["right"] * 65, assignment=assignment)
    np.testing.assert_array_equal(ours, np.hstack([theirs.spin_lh_, theirs.spin_rh_ + 70]))


@pytest.mark.parametrize(
    ("method", "assignment"), [("hungarian", "hungarian"), ("vasa", "vasa"), ("original", "nearest")]
)
def test_agrees_with_neuromaps(rng, method, assignment):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pytest.importorskip("neuromaps.nulls.spins")
    points, right = on_sphere(rng, 90), rng.random(90) < 0.5
    state = np.random.RandomState(3)
    turns = [next(iter(theirs._gen_rotation(seed=state))).T for _ in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.gen_spinsamples(
            points, right.astype(int), n_rotate=6, method=method, seed=np.random.RandomState(3), check_duplicates=False
        )
    sides = np.where(right, "right", "left")
    np.testing.assert_array_equal(spin_by(turns, points, hemispheres=sides, assignment=assignment), expected.T)


def octahedron(unit_of_vertex, *, sphere=True, hemispheres=None, radius=2.0):
    corners = radius * np.vstack([np.eye(3), -np.eye(3)])
    faces = [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
    return Surface(corners, faces, unit_of_vertex, corners if sphere else None, hemispheres)


def test_centres_on_the_sphere():
    surface = octahedron([0, 0, 1, -1, 0, 2])  # unit 0: the corners at +x, +y and -y
    positions = sphere_positions(surface, 3)
    np.testing.assert_allclose(positions, np.array([[1.0, 0, 0], [0, 0, 2], [0, 0, -2]]) * [[2], [1], [1]], atol=1e-12)


def test_hemisphere_of_a_unit():
    assert unit_hemispheres(octahedron([0, 2, 2, 1, 2, 2]), 3) == ("right", "left", "right")  # by x
    sides = ["left", "right", "right", "left", "right", "right"]
    assert unit_hemispheres(octahedron([0, 1, 1, 0, -1, 1], hemispheres=sides), 2) == ("left", "right")
    with pytest.raises(InputError, match="units 0 have vertices in both hemispheres"):
        unit_hemispheres(octahedron([0, 0, 1, 0, 1, 1], hemispheres=sides), 2)


def test_bad_input(sphere):
    for arguments, message in [
        ({"sphere": sphere[:, :2]}, r"shape \(150, 2\); they need \(n_units, 3\)"),
        ({"sphere": sphere * np.linspace(0.6, 1, 150)[:, None]}, "0.6 to 1 away from the origin, .* sphere_positions"),
        ({"sphere": np.zeros((4, 3))}, "do not lie on a sphere"),
        ({"sphere": np.where(np.arange(150)[:, None] == 7, np.nan, sphere)}, "the sphere has 3 values .* row 7"),
        ({"hemispheres": ["left"] * 3}, "hemispheres has 3 entries, but the sphere has 150 units"),
        ({"hemispheres": ["lh"] * 150}, "hemispheres holds 'lh'; it may hold 'left' and 'right'"),
        ({"cortex": np.ones(3, dtype=bool)}, r"cortex has shape \(3,\) .* the 150 units"),
        ({"cortex": np.arange(150)}, "cortex has shape .* holds int64; it needs True or False"),
        ({"cortex": np.zeros(150, dtype=bool)}, "nothing to spin"),
        ({"assignment": "hungarain"}, "no assignment named 'hungarain'. Did you mean 'hungarian'"),
        ({"n_nulls": 0}, "n_nulls is 0"),
        ({"n_jobs": 0}, "n_jobs is 0"),
        ({"rng": 1.5}, r"rng is 1\.5"),
    ]:
        with pytest.raises(InputError, match=message):
            spin(**{"sphere": sphere, "n_nulls": 1, **arguments})
    with pytest.raises(InputError, match=r"up to 10,000 units .* there are 10,001; use 'nearest'"):
        spin(on_sphere(np.random.default_rng(0), 10_001), n_nulls=1)
    with pytest.raises(InputError, match="this surface has none"):
        sphere_positions(octahedron([0] * 6, sphere=False), 1)
    with pytest.raises(InputError, match="units 0 surround the whole sphere"):
        sphere_positions(octahedron([0] * 6), 1)
    with pytest.raises(InputError, match="no vertex of the surface belongs to units 1 "):
        sphere_positions(octahedron([0, -1, 2, -1, -1, -1]), 3)
    with pytest.raises(InputError, match="names unit 2, but units are 0 … 1"):
        unit_hemispheres(octahedron([0, -1, 2, -1, -1, 1]), 2)


@pytest.mark.mirror
@pytest.mark.slow
def test_all_vertices_of_a_hemisphere():
    mirror = Path(os.environ.get("FCTOOLBOX_MIRROR", "")) / "human" / "hcp_geometry"
    if not mirror.is_dir():
        pytest.skip("FCTOOLBOX_MIRROR holds no human/hcp_geometry")
    import nibabel

    sphere = nibabel.load(mirror / "S1200.L.sphere.32k_fs_LR.surf.gii").agg_data()[0].astype(float)
    cortex = np.zeros(len(sphere), dtype=bool)
    cortex[np.load(mirror / "fMRI_vertex_info_32k.npz")["grayl"]] = True
    spin(sphere, cortex=cortex, n_nulls=1, rng=0, assignment="nearest")
    start = time.perf_counter()
    orders = spin(sphere, cortex=cortex, n_nulls=1000, rng=0, assignment="nearest", n_jobs=2)
    assert time.perf_counter() - start < 60
    points = sphere[cortex] / np.linalg.norm(sphere[cortex], axis=1, keepdims=True)
    for turn, order in zip(random_rotations(1000, rng=0)[:3], orders, strict=False):
        expected = np.flatnonzero(cortex)[cKDTree(points).query(points @ turn)[1]]
        np.testing.assert_array_equal(order[cortex], expected)

"""CIFTI files that can be read, and those that cannot."""

import logging

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp.cifti import brain_models, open_cifti, read_labels
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, ParcelsAxis, ScalarAxis

from fctoolbox import DataFile
from fctoolbox.data import locate
from fctoolbox.errors import InputError

CIFTI_1 = DataFile(
    "RSN-networks.32k_fs_LR.dlabel.nii",
    "",
    "e3370453ad64f846680e88e14d3d8bec586fcd05277f64a4026780455238784b",
    1_070_688,
)


def cortex(n_vertices=400):
    return BrainModelAxis.from_surface(np.arange(n_vertices), n_vertices, name="CIFTI_STRUCTURE_CORTEX_LEFT")


def written(path, values, *axes):
    image = Cifti2Image(np.asarray(values, dtype=np.float32), axes)
    image.update_headers()
    image.to_filename(path)
    return path


@pytest.fixture
def scalar(tmp_path):
    return written(tmp_path / "ones.dscalar.nii", np.ones((1, 400)), ScalarAxis(["ones"]), cortex())


def test_version_1_is_refused_with_the_way_out(scalar, tmp_path):
    old = tmp_path / "RSN.32k_fs_LR.dlabel.nii"
    content = scalar.read_bytes()
    assert content.count(b'<CIFTI Version="2.0"') == 1
    old.write_bytes(content.replace(b'<CIFTI Version="2.0"', b'<CIFTI Version="1.0"'))
    with pytest.raises(InputError, match=r"is a CIFTI-1 file.*-cifti-version-convert RSN\S+ 2 NEW\.dlabel\.nii"):
        open_cifti(old)


def test_files_of_other_kinds_are_refused(tmp_path):
    nifti, text = tmp_path / "volume.nii", tmp_path / "text.dscalar.nii"
    nibabel.Nifti1Image(np.zeros((2, 2, 2), dtype=np.float32), np.eye(4)).to_filename(nifti)
    text.write_text("not an image")
    with pytest.raises(InputError, match=r"volume\.nii is a Nifti1Image, not a CIFTI-2 file.*human-parcellated"):
        open_cifti(nifti)
    with pytest.raises(InputError, match=r"text\.dscalar\.nii cannot be read as a CIFTI-2 file"):
        open_cifti(text)


def test_half_a_file_is_refused(scalar):
    scalar.write_bytes(scalar.read_bytes()[:600])
    with pytest.raises(InputError, match=r"ones\.dscalar\.nii"):
        open_cifti(scalar)


def test_a_parcellated_file_has_no_grayordinates(tmp_path):
    parcels = ParcelsAxis.from_brain_models([("all", cortex())])
    path = written(tmp_path / "areas.pscalar.nii", [[1.0]], ScalarAxis(["one"]), parcels)
    with pytest.raises(InputError, match="it is parcellated"):
        brain_models(path)


def test_label_keys_do_not_wrap_around(tmp_path):
    table = {
        0: ("???", (1, 1, 1, 0)),
        **{key: (f"R_{key}_ROI", (0, 0, 0, 1)) for key in (127, 128, 255, 360)},
    }
    values = np.repeat([0, 127, 128, 360], 100)[None, :]
    path = written(tmp_path / "areas.dlabel.nii", values, LabelAxis(["areas"], [table]), cortex())
    keys, labels = read_labels(path)
    np.testing.assert_array_equal(keys, values[0])
    assert labels[360][0] == "R_360_ROI"


def test_only_label_files_hold_labels(scalar):
    with pytest.raises(InputError, match=r"holds no labels; a label file ends in \.dlabel\.nii"):
        read_labels(scalar)


def test_opening_says_nothing_and_leaves_the_logger_as_it_was(scalar, monkeypatch, caplog):
    # the published files have no voxel size: pixdim[1:4], at byte 112 of a NIfTI-2 header
    content = scalar.read_bytes()
    scalar.write_bytes(content[:112] + bytes(24) + content[136:])
    logger, remarks = logging.getLogger("nibabel.global"), []
    monkeypatch.setattr(logger, "handle", remarks.append)
    caplog.set_level(logging.INFO, logger="nibabel.global")  # until the test ends
    nibabel.load(scalar)
    assert [record.getMessage()[:6] for record in remarks] == ["pixdim"]  # what there is to keep quiet about
    remarks.clear()
    brain_models(scalar)
    assert not remarks
    assert logger.level == logging.INFO


@pytest.mark.mirror
def test_the_published_version_1_file():
    path = locate(CIFTI_1)
    if path is None:
        pytest.skip("the CIFTI-1 file is not in FCTOOLBOX_MIRROR")
    with pytest.raises(InputError, match="is a CIFTI-1 file"):
        read_labels(path)

"""The range of uncertainty over subjects, members and chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrail.errors import ArtifactError
from segtrail.posterior import store
from segtrail.posterior.ranges import uncertainty_range

SHAPE = (2, 3, 2, 4, 5)  # members, Z, K, Y, X


def write(folder, subject, uncertainty):
    with store.writing(folder, "isic17", subject, SHAPE, {}, uncertainty is not None) as arrays:
        arrays.probabilities[:] = 0.5
        if uncertainty is not None:
            arrays.uncertainty[:] = uncertainty


def test_the_range_is_that_of_all_subjects_and_members(tmp_path):
    values = np.random.default_rng(0).normal(0, 5, (3, 2, 3, 4, 5)).astype(np.float32)
    for index, one in enumerate(values):
        write(tmp_path / f"test_{index // 2:03d}", f"s{index}", one)
    found = uncertainty_range([tmp_path / "test_000", tmp_path / "test_001"])
    assert found == {"min": values.min(), "max": values.max(), "subjects": 3}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=4))
def test_constant_uncertainties(tmp_path_factory, constants):
    """Each subject constant: the range is theirs, without width where they agree, and not rounded."""
    folder = tmp_path_factory.mktemp("posteriors")
    for index, constant in enumerate(constants):
        write(folder, f"s{index}", constant)
    found = uncertainty_range([folder])
    assert found == {"min": min(constants), "max": max(constants), "subjects": len(constants)}


def test_a_chunk_of_excluded_subjects_adds_nothing(tmp_path):
    write(tmp_path / "some", "a", 2.0)
    (tmp_path / "none").mkdir()
    assert uncertainty_range([tmp_path / "none", tmp_path / "some"])["subjects"] == 1
    with pytest.raises(ArtifactError, match="no posterior in"):
        uncertainty_range([tmp_path / "none"])
    with pytest.raises(ArtifactError, match="no folder"):
        uncertainty_range([])


def test_a_posterior_without_uncertainty_is_refused(tmp_path):
    write(tmp_path, "a", 2.0)
    write(tmp_path, "b", None)
    with pytest.raises(ArtifactError, match=r"isic17__b\.json(.|\n)*no uncertainty"):
        uncertainty_range([tmp_path])


def test_a_subject_in_two_chunks_is_refused(tmp_path):
    write(tmp_path / "one", "a", 2.0)
    write(tmp_path / "two", "a", 2.0)
    with pytest.raises(ArtifactError, match="second"):
        uncertainty_range([tmp_path / "one", tmp_path / "two"])

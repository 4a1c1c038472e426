import numpy as np
import pytest
from disks import small_disk

from segtrail.errors import ArtifactError
from segtrail.files import read_json, write_json
from segtrail.posterior import store

SHAPE = (2, 3, 4, 5, 6)  # members, Z, K, Y, X


PLACES = (2, 3, 5, 6)  # members, Z, Y, X


def write(folder, values, uncertainty=None):
    about, uncertain = {"predictor": "p", "members": ["000", "001"]}, uncertainty is not None
    with store.writing(folder, "acdc", "patient001_ED", SHAPE, about, uncertain) as arrays:
        arrays.probabilities[:] = values
        if uncertain:
            arrays.uncertainty[:] = uncertainty


def test_what_is_written_is_read_within_the_stated_error(tmp_path):
    values = np.random.default_rng(0).random(SHAPE)
    write(tmp_path, values)
    posterior = store.load(tmp_path, "acdc", "patient001_ED")
    assert np.abs(posterior.probabilities - values).max() <= posterior.about["max_error"] == 2**-12
    assert posterior.about["axes"] == ["member", "z", "class", "y", "x"]
    assert (posterior.about["kind"], posterior.about["members"]) == ("probabilities", ["000", "001"])


def test_raw_uncertainty_is_kept_as_it_is(tmp_path):
    """σ has no unit: the largest may be thousands, more digits than float16 has."""
    values = np.random.default_rng(0).lognormal(0, 6, PLACES).astype(np.float32)
    write(tmp_path, 0.5, values)
    posterior = store.load(tmp_path, "acdc", "patient001_ED")
    assert values.max() > np.finfo(np.float16).max
    assert np.array_equal(posterior.uncertainty, values)
    for member, one in enumerate(values):
        assert posterior.range(member) == (one.min(), one.max())
    slices = list(posterior.uncertainty_slices())
    assert np.array_equal(np.stack(slices, axis=1), values)
    assert all(type(one) is np.ndarray for one in slices)  # not of a mapping that stays
    assert np.array_equal(np.stack(list(posterior.slices()), axis=1), posterior.probabilities)


def test_a_constant_uncertainty_has_a_range_of_no_width(tmp_path):
    constant = np.float32(0.1)
    write(tmp_path, 0.5, constant)
    assert store.load(tmp_path, "acdc", "patient001_ED").range(1) == (constant, constant)


def test_without_uncertainty_there_is_no_range(tmp_path):
    write(tmp_path, 0.5)
    posterior = store.load(tmp_path, "acdc", "patient001_ED")
    assert posterior.uncertainty is posterior.about["uncertainty_range"] is None
    with pytest.raises(ArtifactError, match=r"patient001_ED(.|\n)*no uncertainty of its own"):
        posterior.range(0)
    with pytest.raises(ArtifactError, match="no uncertainty of its own"):
        next(posterior.uncertainty_slices())
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".json"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_uncertainty_that_is_no_number_is_refused(tmp_path, bad):
    values = np.ones(PLACES, np.float32)
    values[1, 2, 3, 4] = bad
    with pytest.raises(ArtifactError, match=r"patient001_ED(.|\n)*finite(.|\n)*by member 001"):
        write(tmp_path, 0.5, values)
    assert list(tmp_path.iterdir()) == []


def test_another_uncertainty_is_refused(tmp_path):
    write(tmp_path, 0.5, 1.0)
    path = tmp_path / "acdc__patient001_ED.uncertainty.npy"
    np.save(path, np.ones(PLACES))
    with pytest.raises(ArtifactError, match=r"expected:.*float32 \(2, 3, 5, 6\)(.|\n)*found:.*float64"):
        store.load(tmp_path, "acdc", "patient001_ED")
    path.unlink()
    with pytest.raises(ArtifactError, match="FileNotFoundError"):
        store.load(tmp_path, "acdc", "patient001_ED")


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_failure_leaves_nothing(tmp_path, uncertain):
    def fail():
        with store.writing(tmp_path, "acdc", "a", SHAPE, {}, uncertain):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_computed(tmp_path):
    """Without room for it the mapped array would end the process by SIGBUS."""
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        computed = []
        with (
            pytest.raises(ArtifactError, match=r"No space left on device: 1\.0 MiB were to be written"),
            store.writing(disk, "acdc", "a", (1, 2, 4, 256, 256), {}),
        ):
            computed.append("too late")
        assert computed == list(disk.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"), [("subject", "another"), ("shape", [1, 3, 4, 5, 6]), ("kind", "logits"), ("axes", None)]
)
def test_another_description_is_refused(tmp_path, key, value):
    write(tmp_path, 0.5)
    path = tmp_path / "acdc__patient001_ED.json"
    write_json(path, read_json(path) | {key: value})
    with pytest.raises(ArtifactError, match=str(value)):
        store.load(tmp_path, "acdc", "patient001_ED")


def test_missing_or_damaged_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="patient001_ED"):
        store.load(tmp_path, "acdc", "patient001_ED")
    write(tmp_path, 0.5)
    path = tmp_path / "acdc__patient001_ED.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="patient001_ED"):
        store.load(tmp_path, "acdc", "patient001_ED")

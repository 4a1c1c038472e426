import numpy as np
import pytest
from disks import small_disk

from segtrail.errors import ArtifactError
from segtrail.files import read_json, write_json
from segtrail.posterior import store

SHAPE = (2, 3, 4, 5, 6)  # members, Z, K, Y, X


def write(folder, values):
    with store.writing(folder, "acdc", "patient001_ED", SHAPE, {"members": ["000", "001"]}) as array:
        array[:] = values


def test_what_is_written_is_read_within_the_stated_error(tmp_path):
    values = np.random.default_rng(0).random(SHAPE)
    write(tmp_path, values)
    posterior = store.load(tmp_path, "acdc", "patient001_ED")
    assert np.abs(posterior.probabilities - values).max() <= posterior.about["max_error"] == 2**-12
    assert posterior.about["axes"] == ["member", "z", "class", "y", "x"]
    assert (posterior.about["kind"], posterior.about["members"]) == ("probabilities", ["000", "001"])


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        with store.writing(tmp_path, "acdc", "a", SHAPE, {}):
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

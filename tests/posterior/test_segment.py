"""Segmentations of what each member has not seen."""

import logging

import numpy as np
import pytest
from drawn import image, jungo, member, model, weights, write_arrays

from segtrail.config import Predictor
from segtrail.errors import ArtifactError, ConfigError
from segtrail.files import read_json
from segtrail.posterior import store
from segtrail.posterior.predict import sample_chunk
from segtrail.posterior.segment import segmentation, write_segmentations

LOG = logging.getLogger("t")
SINGLE = Predictor(title="one", model="m", kind="single")
# Member 000 has not seen a and d, member 001 not b, c and the excluded e.
HELD_OUT = {"000": [("acdc", "a"), ("acdc", "d")], "001": [("acdc", "b"), ("acdc", "c"), ("acdc", "e")]}


@pytest.fixture
def members(tmp_path):
    return [weights(tmp_path / f"{index:03d}.safetensors", jungo(), index) for index in range(2)]


@pytest.fixture
def arrays(tmp_path):
    """Train and validation part."""
    train = write_arrays(tmp_path / "train", "a", "b", "c", excluded=["e"], alike=False)
    return [train, write_arrays(tmp_path / "val", "d", alike=False)]


def write(out, members, arrays, held_out=HELD_OUT):
    write_segmentations(members, held_out, arrays, out, LOG, device="cpu")


def test_every_subject_is_segmented_by_the_member_that_has_not_seen_it(tmp_path, members, arrays):
    """Once, and as that member's own posterior segments it, voxel by voxel."""
    out = tmp_path / "out"
    write(out, members, arrays)
    found = read_json(out / "manifest.json")
    assert {one["subject"]: one["member"] for one in found["subjects"]} == {
        "a": "000",
        "b": "001",
        "c": "001",
        "d": "000",
    }
    assert found["member_keys"] == {"000": "k0", "001": "k1"}
    assert {path.name for path in out.glob("*.npy")} == {one["file"] for one in found["subjects"]}
    for folder in arrays:
        sample_chunk(members, folder, SINGLE, (1,), tmp_path / "own" / folder.name, LOG, device="cpu")
    for one in found["subjects"]:
        place = "val" if one["subject"] == "d" else "train"
        posterior = store.load(tmp_path / "own" / place, "acdc", one["subject"])
        labels = posterior.probabilities.argmax(axis=2)
        mine = np.load(out / one["file"])
        assert (mine.dtype, mine.shape) == (np.uint8, (20, 12, 14))
        assert np.array_equal(mine, labels[int(one["member"])])
        assert not np.array_equal(mine, labels[1 - int(one["member"])])


def test_the_same_segmentations_have_the_same_bytes(tmp_path, members, arrays):
    write(tmp_path / "one", members, arrays)
    write(tmp_path / "two", members[::-1], arrays[::-1])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("one", [model(), model(dims=3)])
def test_a_volume_is_segmented_slices_first(one):
    picture = image()
    labels = segmentation(member(one), picture)
    assert labels.shape == picture.shape[1:]
    if one.dims == 2:
        alone = [segmentation(member(one), picture[:, z : z + 1])[0] for z in range(len(labels))]
        assert np.mean(labels == np.stack(alone)) > 0.999


def test_a_subject_of_two_folds_is_refused(tmp_path, members, arrays):
    twice = HELD_OUT | {"001": [*HELD_OUT["001"], ("acdc", "a")]}
    with pytest.raises(ConfigError, match=r"subject: +a\n(.|\n)*members 000 and 001"):
        write(tmp_path / "out", members, arrays, twice)
    assert not (tmp_path / "out").exists()


def test_every_subject_must_be_there_once(tmp_path, members, arrays):
    out = tmp_path / "out"
    with pytest.raises(ArtifactError, match=r"subject: +b\n(.|\n)*no member holds it out"):
        write(out, members, arrays, {"000": [*HELD_OUT["000"], ("acdc", "c"), ("acdc", "e")]})
    with pytest.raises(ArtifactError, match=r"subject: +d\n(.|\n)*not in .*train"):
        write(out, members, arrays[:1])
    with pytest.raises(ArtifactError, match=r"subject: +a\n(.|\n)*it is in .*train too"):
        write(out, members, [*arrays, arrays[0]])
    with pytest.raises(ArtifactError, match="001 too, which hold out subjects"):
        write(out, members[:1], arrays)
    assert not out.exists()


def test_a_failure_leaves_what_was_there(tmp_path, members, arrays):
    out = tmp_path / "out"
    write(out, members, arrays)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (arrays[1] / "acdc__d.npz").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="acdc__d"):
        write(out, members, arrays)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not list(tmp_path.glob(".out*"))

"""From trained segmentation members to error networks and their posteriors, through the files between."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from drawn import jungo

from segtrail.config import Predictor
from segtrail.data import prepared
from segtrail.data.geometry import Geometry
from segtrail.errors import ArtifactError
from segtrail.files import write_json
from segtrail.models.training import train_member
from segtrail.posterior import store
from segtrail.posterior.predict import sample_chunk
from segtrail.posterior.segment import write_segmentations

LOG = logging.getLogger("t")
AUXILIARY = Predictor(title="aux", model="m", kind="auxiliary", rescale={"over": "subject"})
TRAINING = {"epochs": 20, "batch_size": 4, "learning_rate": 0.02, "plateau": None, "early_stopping": None}
SEGMENTS = jungo(filters=[8, 16], training=TRAINING)
BY_FEATURES = jungo(
    architecture="pointwise",
    filters=[8, 8],
    auxiliary={"model": "base", "input": "features"},
    training=TRAINING,
)
BY_SEGMENTATION = jungo(
    filters=[8, 16],
    auxiliary={"model": "base", "input": "segmentation", "folds": "cv"},
    training=TRAINING,
)


def foggy(name, part, seed):
    """Squares, bright but for those in fog, which the second channel shows."""
    rng = np.random.default_rng(seed)
    bright, fog = np.zeros((2, 4, 16, 16), bool)
    for plane, cloud in zip(bright, fog, strict=True):
        y, x, v, u = rng.integers(0, 10, 4)
        plane[y : y + 6, x : x + 6] = True
        cloud[v : v + 6, u : u + 6] = True
    image = np.stack([bright & ~fog, fog]) + rng.normal(0, 0.05, (2, *fog.shape))
    geometry = Geometry.of_scan(fog.shape[::-1], np.eye(4), (1, 1, 1))
    about = dict(zip(prepared.NAMES, (name, name, "drawn", "", "", "", part), strict=True))
    label = (bright | fog).astype(np.uint8)
    return prepared.Prepared(**about, image=image.astype(np.float32), label=label, geometry=geometry)


def bright_alone(subjects):
    """The subjects as one would label them who looks at the first channel: who learns from that is wrong
    wherever there is fog."""
    return [replace(one, label=(one.image[0] > 0.5).astype(np.uint8)) for one in subjects]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """part → folder of prepared subjects."""
    folder, seed = tmp_path_factory.mktemp("arrays"), 0
    for part, count in (("train", 8), ("val", 2), ("test", 3)):
        entries = []
        for number in range(count):
            one, seed = foggy(f"{part}{number}", part, seed), seed + 1
            file = prepared.file_name("drawn", one.subject)
            prepared.save(folder / part / file, one)
            entries.append({"dataset": "drawn", "subject": one.subject, "file": file, "excluded": ""})
        write_json(folder / part / "manifest.json", {"subjects": entries})
    return {part: folder / part for part in ("train", "val", "test")}


def trained(folder, model, train, val, member="000", **source):
    path = folder / f"{member}.safetensors"
    where = {"history_path": folder / f"{member}.csv", "resume_dir": folder / f"resume_{member}"}
    train_member(
        model, train, val, classes=2, seed_parts=(1, member), weights_path=path, log=LOG, device="cpu",
        **where, **source,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory, parts):
    train, val = (prepared.load_folder(parts[part]) for part in ("train", "val"))
    return trained(tmp_path_factory.mktemp("base"), SEGMENTS, bright_alone(train), bright_alone(val))


def check(out, parts):
    """The error network is far less sure where the segmentation is wrong."""
    wrong, right = [], []
    for one in prepared.load_folder(parts["test"]):
        posterior = store.load(out, "drawn", one.subject)
        is_wrong = posterior.probabilities[0].argmax(axis=1) != one.label
        wrong.append(posterior.uncertainty[0][is_wrong])
        right.append(posterior.uncertainty[0][~is_wrong])
    wrong, right = np.concatenate(wrong), np.concatenate(right)
    assert 0 <= min(wrong.min(), right.min()) <= max(wrong.max(), right.max()) <= 1
    assert len(wrong) > 200
    assert wrong.mean() > 0.5 > 4 * right.mean()


def test_errors_learnt_from_features(tmp_path, parts, base):
    train, val = (prepared.load_folder(parts[part]) for part in ("train", "val"))
    path = trained(tmp_path / "aux", BY_FEATURES, train, val, base=base)
    sample_chunk([path], parts["test"], AUXILIARY, (1,), tmp_path / "out", LOG, "cpu", base=[base])
    check(tmp_path / "out", parts)
    other = trained(tmp_path / "other", SEGMENTS, val, train)
    with pytest.raises(ArtifactError, match="trained on the features of the member with key"):
        sample_chunk([path], parts["test"], AUXILIARY, (1,), tmp_path / "out", LOG, "cpu", base=[other])


def test_errors_learnt_from_segmentations_of_unseen_subjects(tmp_path, parts, base):
    """Two members, each without half of the subjects; an error network on what they say of those."""
    train, val = (prepared.load_folder(parts[part]) for part in ("train", "val"))
    everybody = [*train, *val]
    halves = {"000": everybody[::2], "001": everybody[1::2]}
    members = [
        trained(tmp_path / "cv", SEGMENTS, bright_alone(halves[other]), bright_alone(halves[name]), name)
        for name, other in (("000", "001"), ("001", "000"))
    ]
    held_out = {name: [(one.dataset, one.subject) for one in unseen] for name, unseen in halves.items()}
    segmentations = tmp_path / "predictions"
    write_segmentations(members, held_out, [parts["train"], parts["val"]], segmentations, LOG, "cpu")
    path = trained(tmp_path / "aux", BY_SEGMENTATION, train, val, segmentations=segmentations)
    sample_chunk([path], parts["test"], AUXILIARY, (1,), tmp_path / "out", LOG, "cpu", base=[base])
    check(tmp_path / "out", parts)

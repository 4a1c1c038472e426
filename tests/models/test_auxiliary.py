"""Networks that learn where another is wrong."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from trainings import Labelled, model, subjects, train

from segtrail.errors import ArtifactError, ConfigError
from segtrail.models import auxiliary, training
from segtrail.models.arrays import stack
from segtrail.models.auxiliary import Base
from segtrail.models.checkpoints import load_member, load_tensors

CPU = torch.device("cpu")
SUBJECTS = {
    "train": subjects(6),
    "val": [dataclasses.replace(one, subject=f"v{one.subject}") for one in subjects(2, seed=1)],
}


def features_model(**changes):
    named = {"model": "m", "input": "features"}
    return model(architecture="pointwise", filters=[4, 4], auxiliary=named, **changes)


def segmentation_model(**changes):
    named = {"model": "m", "input": "segmentation", "folds": "cv"}
    return model(architecture="upsampling_unet", auxiliary=named, **changes)


@pytest.fixture(params=["unet", "upsampling_unet"])
def base(request, tmp_path):
    """The weights of a segmentation member."""
    noise = {"aleatoric": {}} if request.param == "upsampling_unet" else {}
    return train(tmp_path / "base", model(architecture=request.param, **noise))


def write_segmentations(folder, empty=False):
    """Of everything: the outer square of each subject without the inner one, or nothing."""
    folder.mkdir()
    for one in (*SUBJECTS["train"], *SUBJECTS["val"]):
        found = np.zeros_like(one.label) if empty else (one.label == 1).astype(np.uint8)
        np.save(folder / f"{one.dataset}__{one.subject}.npy", found)
    return folder


def segmented(base, one):
    """The member's arg-max (Z, Y, X)."""
    member = load_member(base)
    with torch.no_grad():
        outputs = member.network(torch.from_numpy(one.image).transpose(0, 1))
    return outputs[:, : member.classes].argmax(1).numpy()


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_errors_are_where_the_arg_max_is_not_the_label(base):
    part = stack(SUBJECTS["train"], 2, CPU)
    found = Base(base, features_model(), CPU).errors(part, 4)
    expected = np.concatenate([segmented(base, one) != one.label for one in SUBJECTS["train"]])
    assert 0 < expected.mean() < 1
    assert np.array_equal(found.labels.numpy(), expected)
    assert found.labels.dtype == torch.uint8
    assert found.images is part.images


def test_a_network_on_features_learns_the_member_s_errors(tmp_path, base):
    one = features_model(training={"epochs": 40, "learning_rate": 0.02})
    member = load_member(train(tmp_path / "aux", one, base=base, **SUBJECTS))
    rows = member.about["training"]
    assert (member.classes, member.about["in_channels"]) == (2, 4)
    assert member.about["base"] == load_member(base).about["key"]
    found = []
    for subject in SUBJECTS["val"]:
        features = load_member(base).network.features(torch.from_numpy(subject.image).transpose(0, 1))
        wrong = member.network(features).argmax(1).numpy() == 1
        found.append(dice(wrong, segmented(base, subject) != subject.label))
    assert np.mean(found) == pytest.approx(rows["val_dice"])
    assert rows["val_dice"] > 0.5


def test_the_member_that_is_learnt_from_does_not_change(tmp_path, base, monkeypatch):
    """Neither its file, nor its weights and its batch norms' statistics in memory."""
    before, loaded = base.read_bytes(), []

    def load(path):
        loaded.append(load_member(path))
        return loaded[-1]

    monkeypatch.setattr(auxiliary, "load_member", load)
    train(tmp_path / "aux", features_model(), base=base, **SUBJECTS)
    assert base.read_bytes() == before
    (member,) = loaded
    for name, tensor in load_tensors(base)[0].items():
        assert torch.equal(tensor, member.network.state_dict()[name]), name
    assert not any(module.training for module in member.network.modules())
    assert all(parameter.grad is None for parameter in member.network.parameters())


def test_a_network_on_segmentations_learns_their_errors(tmp_path):
    folder = write_segmentations(tmp_path / "segmentations")
    one = segmentation_model(training={"epochs": 20})
    member = load_member(train(tmp_path / "aux", one, segmentations=folder, **SUBJECTS))
    assert (member.classes, member.about["in_channels"]) == (2, 2)
    assert "base" not in member.about
    found = []
    for subject in SUBJECTS["val"]:
        seen = np.concatenate([subject.image, (subject.label == 1)[None]]).astype(np.float32)
        wrong = member.network(torch.from_numpy(seen).transpose(0, 1)).argmax(1).numpy() == 1
        found.append(dice(wrong, subject.label == 2))
    assert np.mean(found) == pytest.approx(member.about["training"]["val_dice"])
    assert np.mean(found) > 0.7


def test_the_segmentation_is_the_last_channel(tmp_path):
    folder = write_segmentations(tmp_path / "segmentations")
    one = SUBJECTS["train"][0]
    given = np.load(folder / "drawn__s0.npy")
    part = stack([one], 2, CPU, [given])
    images, labels = part.batch(torch.tensor([1, 0]))
    assert part.channels == 2
    assert np.array_equal(images[:, 0].numpy(), one.image[0, ::-1])
    assert np.array_equal(images[:, 1].numpy(), (one.label == 1)[::-1])
    assert np.array_equal(labels.numpy(), (one.label != given)[::-1])


@pytest.fixture(params=["features", "segmentation"])
def learner(request, tmp_path):
    """An auxiliary model, and what train_member takes for it."""
    if request.param == "features":
        source = {"base": train(tmp_path / "base", model())}
        return features_model(), SUBJECTS | source
    source = {"segmentations": write_segmentations(tmp_path / "segmentations")}
    return segmentation_model(dropout={"rate": 0.2, "layout": "all"}), SUBJECTS | source


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, learner, monkeypatch, caplog):
    one, given = learner
    whole = train(tmp_path / "whole", one, **given)
    save, saved = training._save, []

    def killed(*arguments):
        save(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", one, **given)
    caplog.set_level(logging.INFO)
    resumed = train(tmp_path / "killed", one, **given)
    assert "goes on after epoch 2" in caplog.text
    assert resumed.read_bytes() == whole.read_bytes()
    assert resumed.with_suffix(".csv").read_bytes() == whole.with_suffix(".csv").read_bytes()


def test_another_source_is_another_training(tmp_path, learner, monkeypatch):
    one, given = learner
    weights = train(tmp_path / "aux", one, **given)
    before = load_member(weights).about["key"]
    with monkeypatch.context() as patch:
        patch.setattr(training, "_train_epoch", None)
        train(tmp_path / "aux", one, **given)  # the same source: nothing to do
    if "base" in given:
        given |= {"base": train(tmp_path / "other", model(), seed_parts=(9,))}
    else:
        given |= {"segmentations": write_segmentations(tmp_path / "other", empty=True)}
    assert load_member(train(tmp_path / "aux", one, **given)).about["key"] != before


def test_a_missing_source_is_refused(tmp_path, learner):
    one, given = learner
    with pytest.raises(ConfigError, match="base for an auxiliary of input features"):
        train(tmp_path / "aux", one, **SUBJECTS)
    with pytest.raises(ConfigError, match="a training on labels"):
        train(tmp_path / "aux", model(), **given)


def test_a_base_without_feature_maps_is_refused(tmp_path):
    base = train(tmp_path / "base", model())
    error = train(tmp_path / "error", features_model(), base=base, **SUBJECTS)
    with pytest.raises(ConfigError, match=r"expected: *a U-Net with dims 2"):
        train(tmp_path / "aux", features_model(), base=error, **SUBJECTS)


def test_a_segmentation_that_is_missing_damaged_or_of_another_shape_is_refused(tmp_path):
    folder = write_segmentations(tmp_path / "segmentations")
    file = folder / "drawn__s3.npy"
    for damage in (
        file.unlink,
        lambda: file.write_bytes(b"half"),
        lambda: np.save(file, np.zeros((2, 3, 3))),
    ):
        damage()
        with pytest.raises(ArtifactError, match=r"drawn__s3\.npy") as error:
            train(tmp_path / "aux", segmentation_model(), segmentations=folder, **SUBJECTS)
        assert error.value.subject == "s3"


def test_a_segmentation_that_is_always_right_leaves_no_error_to_find(tmp_path):
    """To call nothing wrong is right there, and no dead class."""
    folder = tmp_path / "segmentations"
    folder.mkdir()
    for one in (*SUBJECTS["train"], *SUBJECTS["val"]):
        np.save(folder / f"drawn__{one.subject}.npy", one.label)
    one = segmentation_model(class_weights="uniform", training={"epochs": 5})
    about = load_member(train(tmp_path / "aux", one, segmentations=folder, **SUBJECTS)).about
    assert about["val_dice"] == [1.0]
    assert about["training"]["dead_classes"] == ""


def black(one: Labelled, *slices: int) -> Labelled:
    image = one.image.copy()
    image[:, list(slices)] = -np.abs(image[:, list(slices)])
    return dataclasses.replace(one, image=image)


def without(one: Labelled, *slices: int) -> Labelled:
    return Labelled(one.subject, np.delete(one.image, slices, 1), np.delete(one.label, slices, 0))


def test_not_black_leaves_out_slices_without_a_value_above_0():
    some = [black(one, *gone) for one, gone in zip(subjects(3, channels=2), [(0,), (), (0, 1)], strict=True)]
    some[0].image[1, 0, 3, 4] = 1e-6  # one value, in one channel, is enough
    everything, chosen = (stack(some, 2, CPU, not_black=value) for value in (False, True))
    assert len(everything) == 6
    assert (len(chosen), chosen.owners.tolist()) == (4, [0, 0, 1, 1])
    assert torch.equal(chosen.images, everything.images[:4])
    assert torch.equal(chosen.labels, everything.labels[:4])
    some[2].image[0, 1, 0, 0] = np.nan  # nothing is left out for being damaged
    assert stack(some, 2, CPU, not_black=True).owners.tolist() == [0, 0, 1, 1, 2]
    some[2].image[0, 1, 0, 0] = -1
    given = [np.zeros_like(one.label) for one in some]
    assert len(stack(some, 2, CPU, given, not_black=True).segmentations) == 4
    with pytest.raises(ConfigError, match="'not_black', but none of 2 images"):
        stack(some[2:], 2, CPU, not_black=True)


def test_not_black_trains_as_if_the_slices_were_not_there(tmp_path):
    """And validates on all slices."""
    train_on = [black(one, 0) for one in SUBJECTS["train"]]
    val = [black(one, 1) for one in SUBJECTS["val"]]
    chosen = train(tmp_path / "a", model(training={"slices": "not_black"}), train=train_on, val=val)
    cut = [without(one, 0) for one in train_on]
    expected = train(tmp_path / "b", model(), train=cut, val=val)
    for name, tensor in load_tensors(expected)[0].items():
        assert torch.equal(tensor, load_tensors(chosen)[0][name]), name
    assert chosen.with_suffix(".csv").read_bytes() == expected.with_suffix(".csv").read_bytes()


def test_a_member_without_subjects_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no subjects to train on"):
        train(tmp_path, model(), val=[])

import monai.losses
import numpy as np
import pytest
import torch
from trainings import model

from segtrail.models.losses import dice_loss, inverse_frequencies, make_loss, weighted_cross_entropy


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, 6, generator=generator)
    return logits, torch.randint(0, 4, (3, 5, 6), generator=generator)


def test_cross_entropy_by_hand():
    p = torch.tensor([[[0.7, 0.2], [0.3, 0.8]]])  # batch, class, voxel
    loss = weighted_cross_entropy(p.log(), torch.tensor([[0, 1]]), torch.tensor([1.0, 3.0]))
    expected = -(1 * np.log(p[0, 0, 0].item()) + 3 * np.log(p[0, 1, 1].item())) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_with_equal_weights_is_torch_s(batch):
    logits, labels = batch
    torch.testing.assert_close(
        weighted_cross_entropy(logits, labels, torch.ones(4)),
        torch.nn.functional.cross_entropy(logits, labels),
    )


def test_dice_by_hand():
    p = torch.tensor([[0.9, 0.6, 0.1], [0.0, 0.5, 0.5]]).view(1, 2, 3)  # two foreground classes, three voxels
    labels = torch.tensor([[1, 0, 2]])
    expected = -2 * (1 * 0.9 / (1.6 + 1) + 3 * 0.5 / (1.0 + 1))
    assert dice_loss(p, labels, torch.tensor([1.0, 3.0])).item() == pytest.approx(expected, rel=1e-4)


def test_dice_agrees_with_monai(batch):
    """MONAI's batch Dice is 1 − Dice, averaged over classes; ours is minus the weighted sum (eq. 2)."""
    logits, labels = batch
    theirs = monai.losses.DiceLoss(
        include_background=False, to_onehot_y=True, sigmoid=True, batch=True, smooth_nr=0, smooth_dr=1e-5
    )(logits, labels[:, None])
    ours = dice_loss(logits[:, 1:].sigmoid(), labels, torch.ones(3))
    assert ours.item() == pytest.approx(3 * (theirs.item() - 1), rel=1e-5)


def test_dice_of_a_class_that_is_nowhere_is_finite():
    p = torch.zeros(1, 1, 4, requires_grad=True)
    loss = dice_loss(p, torch.zeros(1, 4, dtype=torch.int64), torch.ones(1))
    loss.backward()
    assert loss.item() == 0
    assert bool(torch.isfinite(p.grad).all())


def test_inverse_frequencies():
    torch.testing.assert_close(
        inverse_frequencies(torch.tensor([80, 10, 10])), torch.tensor([1, 8, 8]) * 3 / 17
    )
    assert inverse_frequencies(torch.tensor([90, 10, 0])).tolist() == pytest.approx([0.2, 1.8, 0])


def test_weights_of_segments_act_on_dice_only(batch):
    logits, labels = batch
    counts = labels.ravel().bincount(minlength=4)
    weighted = model(activation="sigmoid", segment_weights={2: 3})
    p = logits[:, 1:].sigmoid()
    expected = dice_loss(p, labels, torch.tensor([1.0, 3.0, 1.0]))
    torch.testing.assert_close(make_loss(weighted, counts)(logits[:, 1:], labels), expected)
    plain, changed = (make_loss(model(segment_weights=w), counts)(logits, labels) for w in ({}, {2: 3}))
    assert plain == changed


def test_untrained_background_has_no_part_in_the_loss(batch):
    logits, labels = batch
    logits = logits.clone().requires_grad_()
    counts = labels.ravel().bincount(minlength=4)
    make_loss(model(activation="sigmoid", background="untrained"), counts)(logits, labels).backward()
    assert logits.grad[:, 0].abs().max() == 0
    assert logits.grad[:, 1:].abs().min() > 0

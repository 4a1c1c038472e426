import monai.losses
import numpy as np
import pytest
import torch
from trainings import model

from segtrail.models.losses import (
    aleatoric_cross_entropy,
    dice_loss,
    inverse_frequencies,
    make_loss,
    weighted_cross_entropy,
)


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


def noisy_batch():
    generator = torch.Generator().manual_seed(0)
    logits, s = torch.randn(2, 2, 3, 5, 6, generator=generator)
    return logits, 2 * s.abs(), torch.randint(0, 3, (2, 5, 6), generator=generator)


def test_aleatoric_loss_by_hand(monkeypatch):
    """One voxel of label 1, logits 1 and 0, σ 2 and 1, two draws: ε (0, 1) and (−1, 0)."""
    drawn = iter([torch.tensor([0.0, 1.0]).view(1, 2, 1), torch.tensor([-1.0, 0.0]).view(1, 2, 1)])
    monkeypatch.setattr(torch, "randn", lambda *shape, **how: next(drawn))
    x, sigma = (torch.tensor(v).view(1, 2, 1) for v in ([1.0, 0.0], [2.0, 1.0]))
    loss = aleatoric_cross_entropy(x, sigma, torch.tensor([[1]]), torch.ones(2), draws=2)
    # Logits (1, 1), then (−1, 0): p₁ = ½, then 1 / (1 + e⁻¹).
    assert loss.item() == pytest.approx(-np.log((0.5 + 1 / (1 + np.exp(-1))) / 2), rel=1e-6)


def test_aleatoric_loss_is_the_mean_probability_of_normal_logits():
    """Against torch.distributions, which draws the same noise."""
    x, sigma, labels = noisy_batch()
    weights = torch.tensor([1.0, 2.0, 0.5])
    torch.manual_seed(7)
    found = aleatoric_cross_entropy(x, sigma, labels, weights, draws=10)
    torch.manual_seed(7)
    normal = torch.distributions.Normal(x, sigma)
    logits = torch.stack([normal.rsample() for _ in range(10)]).double()
    logp = torch.distributions.Categorical(logits=logits.movedim(2, -1)).log_prob(
        labels.expand(10, -1, -1, -1)
    )
    expected = -(weights[labels] * (logp.logsumexp(0) - np.log(10))).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_aleatoric_loss_tends_to_the_integral():
    """Two classes: the difference of their logits is normal with the sum of their variances."""
    mean, deviation = 0.8, np.hypot(1.5, 0.7)
    z = np.linspace(-12, 12, 20_001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    expected = -np.log(np.trapezoid(density / (1 + np.exp(-(mean + deviation * z))), z))
    x = torch.tensor([0.0, mean]).view(1, 2, 1).expand(1, 2, 64)
    sigma = torch.tensor([1.5, 0.7]).view(1, 2, 1).expand(1, 2, 64)
    torch.manual_seed(0)
    loss = aleatoric_cross_entropy(x, sigma, torch.ones(1, 64, dtype=torch.int64), torch.ones(2), 2000)
    assert loss.item() == pytest.approx(expected, rel=5e-3)


def test_without_noise_it_is_the_cross_entropy(batch):
    logits, labels = batch
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(
        aleatoric_cross_entropy(logits, torch.zeros_like(logits), labels, weights, 3),
        weighted_cross_entropy(logits, labels, weights),
    )


def test_aleatoric_loss_of_a_probability_below_the_smallest_float_is_finite():
    x = torch.tensor([300.0, -300.0]).view(1, 2, 1).requires_grad_()
    loss = aleatoric_cross_entropy(x, torch.ones(1, 2, 1), torch.tensor([[1]]), torch.ones(2), 10)
    loss.backward()
    assert loss.item() == pytest.approx(600, abs=5)
    assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize("sigma", ["absolute", "exponential", "softplus"])
def test_the_loss_of_an_aleatoric_model_reads_both_heads(sigma):
    x, s, labels = noisy_batch()
    outputs = torch.cat([x, s - 1], 1).requires_grad_()
    one = model(
        architecture="upsampling_unet", aleatoric={"draws": 4, "sigma": sigma}, class_weights="uniform"
    )
    torch.manual_seed(5)
    found = make_loss(one, torch.ones(3, dtype=torch.int64))(outputs, labels)
    torch.manual_seed(5)
    deviation = {"absolute": torch.abs, "exponential": torch.exp, "softplus": torch.nn.Softplus()}[sigma](
        s - 1
    )
    torch.testing.assert_close(found, aleatoric_cross_entropy(x, deviation, labels, torch.ones(3), 4))
    found.backward()
    assert outputs.grad.abs().amin(dim=(0, 2, 3)).shape == (6,)
    assert bool((outputs.grad.abs().amax(dim=(0, 2, 3)) > 0).all())

"""Cross-entropy and Dice loss as Mehrtash 2020 writes them, and the loss of noisy logits of Jungo 2019."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ..config import Model
from .networks import split_noise

Loss = Callable[[Tensor, Tensor], Tensor]
# ε in the denominator of the Dice loss; the paper does not give its value.
EPSILON = 1e-5


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """L_CE = −(1/N) Σ_i ω_{y_i} ln p(y_i), N the voxels of the mini-batch (Mehrtash 2020, eq. 1).

    `logits` (B, K, …), `labels` (B, …) int64, `weights` (K,). torch's weighted mean divides by Σ ω_{y_i}.
    """
    return functional.cross_entropy(logits.float(), labels, weights, reduction="sum") / labels.numel()


def aleatoric_cross_entropy(
    logits: Tensor, sigma: Tensor, labels: Tensor, weights: Tensor, draws: int
) -> Tensor:
    """L = −(1/N) Σ_i ω_{y_i} ln (1/S) Σ_s softmax(x_i + σ_i ε_is)_{y_i}, ε from N(0, 1), S = `draws`.

    N are the voxels of the mini-batch. `logits` x and `sigma` ≥ 0 (B, K, …), `labels` (B, …) int64, `weights`
    (K,). The noise comes from torch's own generator, seeded by the caller.
    Source: Jungo 2019, §2.3, after Kendall and Gal 2017, eq. 12.
    """
    x, where = logits.float(), labels.unsqueeze(1)
    sigma = sigma.float()
    # ln p of the label alone is kept of each draw; the mean of p is taken in logarithms, where none is 0.
    drawn = [
        (x + sigma * torch.randn(x.shape, device=x.device)).log_softmax(1).gather(1, where)
        for _ in range(draws)
    ]
    log_mean = torch.cat(drawn, 1).logsumexp(1) - math.log(draws)
    return -(weights[labels] * log_mean).sum() / labels.numel()


def dice_loss(foreground: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """L_DSC = −2 Σ_k ω_k Σ_i p_ik y_ik / (Σ_i (p_ik + y_ik) + ε) (Mehrtash 2020, eq. 2).

    k runs over foreground classes, i over all voxels of the mini-batch. `foreground` (B, K−1, …) are
    probabilities, `labels` (B, …) class indices, `weights` (K−1,). The loss lies in [−Σ ω_k, 0].
    """
    classes = torch.arange(1, foreground.shape[1] + 1, device=labels.device, dtype=labels.dtype)
    shape = (1, -1, *[1] * (labels.dim() - 1))
    reference = (labels.unsqueeze(1) == classes.view(shape)).to(foreground.dtype)
    voxels = [0, *range(2, foreground.dim())]
    overlap = (foreground * reference).sum(voxels)
    return -2 * (weights * overlap / (foreground.sum(voxels) + reference.sum(voxels) + EPSILON)).sum()


def inverse_frequencies(counts: Tensor) -> Tensor:
    """ω_k ∝ 1 / (voxels of class k), with mean 1 over the classes that occur; 0 for one that does not.

    Mehrtash 2020 §VI.A: inverse frequencies over the voxels of training and validation data together; the
    normalisation is ours and leaves Adam's steps unchanged but for its ε.
    """
    present = counts > 0
    weights = torch.where(present, 1 / counts.clamp_min(1).double(), 0.0)
    return (weights * present.sum() / weights.sum()).float()


def make_loss(model: Model, counts: Tensor) -> Loss:
    """The model's loss of (the network's outputs, labels).

    `counts` (K,) are the voxels of each class in training and validation data. `segment_weights` act on the
    Dice loss only.
    """
    base = (
        inverse_frequencies(counts) if model.class_weights == "inverse_frequency" else torch.ones(len(counts))
    )
    weights = base.to(counts.device)
    if model.aleatoric is not None:
        draws = model.aleatoric.draws
        return lambda outputs, labels: aleatoric_cross_entropy(
            *split_noise(outputs, model), labels, weights, draws
        )
    if model.loss == "cross_entropy":
        return lambda logits, labels: weighted_cross_entropy(logits, labels, weights)
    factors = [model.segment_weights.get(k, 1.0) for k in range(1, len(counts))]
    weights = weights[1:] * torch.tensor(factors, device=counts.device)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        p = logits.float().softmax(1) if model.activation == "softmax" else logits.float().sigmoid()
        return dice_loss(p[:, -len(weights) :], labels, weights)

    return loss

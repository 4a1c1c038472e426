"""Cross-entropy and Dice loss as Mehrtash 2020 writes them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ..config import Model

Loss = Callable[[Tensor, Tensor], Tensor]
# ε in the denominator of the Dice loss; the paper does not give its value.
EPSILON = 1e-5


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """L_CE = −(1/N) Σ_i ω_{y_i} ln p(y_i), N the voxels of the mini-batch (Mehrtash 2020, eq. 1).

    `logits` (B, K, …), `labels` (B, …) int64, `weights` (K,). torch's weighted mean divides by Σ ω_{y_i}.
    """
    return functional.cross_entropy(logits.float(), labels, weights, reduction="sum") / labels.numel()


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
    """The model's loss of (logits, labels).

    `counts` (K,) are the voxels of each class in training and validation data. `segment_weights` act on the
    Dice loss only.
    """
    base = (
        inverse_frequencies(counts) if model.class_weights == "inverse_frequency" else torch.ones(len(counts))
    )
    weights = base.to(counts.device)
    if model.loss == "cross_entropy":
        return lambda logits, labels: weighted_cross_entropy(logits, labels, weights)
    factors = [model.segment_weights.get(k, 1.0) for k in range(1, len(counts))]
    weights = weights[1:] * torch.tensor(factors, device=counts.device)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        p = logits.float().softmax(1) if model.activation == "softmax" else logits.float().sigmoid()
        return dice_loss(p[:, -len(weights) :], labels, weights)

    return loss

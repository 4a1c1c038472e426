"""The networks, how a model's is built, and how its output becomes probabilities."""

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ...config import Model
from .pointwise import Pointwise
from .unet import UNet
from .upsampling_unet import UpsamplingUNet

Network = UNet | UpsamplingUNet | Pointwise
N = TypeVar("N", bound=nn.Module)


def build(model: Model, in_channels: int, classes: int) -> Network:
    """The network of a model: K = `classes` output channels, K−1 where the background has none of its own,
    twice as many with a noise head."""
    foreground_only = model.activation == "sigmoid" and model.background != "untrained"
    outputs = classes - 1 if foreground_only else classes
    rate = model.dropout.rate if model.dropout else 0.0
    if model.architecture == "pointwise":
        return Pointwise(in_channels, outputs, model.filters)
    if model.architecture == "upsampling_unet":
        layout = model.dropout.layout if model.dropout else None
        noise = model.aleatoric is not None
        return UpsamplingUNet(in_channels, outputs, model.filters, rate, layout, noise)
    levels = model.dropout.levels if model.dropout else None
    return UNet(in_channels, outputs, model.filters, model.dims, rate, levels or 0)


def split_noise(outputs: Tensor, model: Model) -> tuple[Tensor, Tensor]:
    """Logits (N, K, …) and the deviation σ ≥ 0 (N, K, …) of their noise, float32, of an aleatoric model's
    outputs (N, 2K, …).

    Source: Jungo 2019, §2.3, and its public code; see `config.Aleatoric.sigma`. Raises ValueError for a model
    without noise head.
    """
    if model.aleatoric is None:
        raise ValueError("the model has no noise head")
    logits, s = outputs.float().chunk(2, 1)
    if model.aleatoric.sigma == "absolute":
        return logits, s.abs()
    return logits, s.exp() if model.aleatoric.sigma == "exponential" else functional.softplus(s)


def logits_of(outputs: Tensor, model: Model) -> Tensor:
    """The logits (N, K or K−1, …) among a network's outputs: all of them, without a noise head."""
    return outputs if model.aleatoric is None else split_noise(outputs, model)[0]


def probabilities(logits: Tensor, model: Model) -> Tensor:
    """Class probabilities (N, K, …) float32 of logits (N, K or K−1, …).

    Softmax, or sigmoids with one of three backgrounds, which Mehrtash 2020 leaves open:
    `product` p_0 = Π_k (1 − p_k) and `remainder` p_0 = max(0, 1 − Σ_k p_k), both then renormalised over
    classes (the sum is never below 1), or `untrained`, K sigmoids that need not sum to 1.
    """
    logits = logits.float()
    if model.activation == "softmax":
        return logits.softmax(1)
    p = logits.sigmoid()
    if model.background == "untrained":
        return p
    if model.background == "product":
        background = (1 - p).prod(1, keepdim=True)
    else:
        background = (1 - p.sum(1, keepdim=True)).clamp_min(0)
    p = torch.cat([background, p], 1)
    return p / p.sum(1, keepdim=True)


def dropouts(network: nn.Module, on: bool) -> list[nn.Module]:
    """Switches dropout alone on or off, and returns its modules; batch norm stays as in evaluation."""
    found: list[nn.Module] = [
        m for m in network.modules() if isinstance(m, nn.Dropout | nn.Dropout2d | nn.Dropout3d)
    ]
    for module in found:
        module.train(on)
    return found


def layout_of(dims: int) -> torch.memory_format:
    """The memory format in which convolutions are fastest, on CPU and GPU alike."""
    return torch.channels_last if dims == 2 else torch.channels_last_3d


def channels_last(network: N) -> N:
    dims = 3 if any(isinstance(module, nn.Conv3d) for module in network.modules()) else 2
    return network.to(memory_format=layout_of(dims))  # type: ignore[call-overload]


def folded(network: N, dropout: bool = False) -> N:
    """A copy for inference whose batch norms are folded into the convolutions before them.

    With `dropout`, which is to be switched on, a batch norm that follows one stays; without, such a dropout
    is gone: the copy cannot be used with it.
    """
    network = copy.deepcopy(network).eval()
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        start = 0
        for index, layer in enumerate(block):
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                start = index
            elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d) and not (dropout and index > start + 1):
                block[start] = fuse_conv_bn_eval(cast(nn.Conv2d, block[start]), layer)
                for between in range(start + 1, index + 1):
                    block[between] = nn.Identity()
    return network

"""The U-Net of Mehrtash 2020 (§VI.A; 3D twin: Appendix F).

MONAI's blocks would fit, but importing any of them loads all of MONAI, and pandas, scipy and matplotlib with
it: 5 s in every training and sampling job, more than a demo member trains. So the blocks are torch's own
layers; a test holds them to MONAI's `Convolution` with the same weights.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import cropped, padded

LAYERS: dict[int, tuple[type[nn.Module], ...]] = {
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.MaxPool2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.MaxPool3d),
}


class Features(NamedTuple):
    """What `UNet.prefix` computes once: everything before the first dropout."""

    deep: Tensor  # input of the first dropout
    skips: list[Tensor]  # what each deterministic encoder level adds to its decoder level's first convolution
    size: tuple[int, ...]  # spatial size of the network's input


class UNet(nn.Module):
    """Two 3-convolutions with batch norm and ReLU a level, max-pool 2, transposed convolution 2 upwards.

    Mehrtash 2020 §VI.A: encoder filters 8, 8, 16, 16, 32, 32, 64, 64, 128, 128; the decoder mirrors it; skips
    are concatenated. Weights start as He's Gaussian; no bias where batch norm follows.

    Dropout (§VI.C) acts, as in Bayesian SegNet, after the pooling of the inner-most encoder levels (the last
    has no pooling: after its convolutions) and after the convolutions of as many decoder levels; so what a
    skip carries is not dropped. A size that the poolings do not divide is padded with zeros and cropped back.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int],
        dims: int = 2,
        dropout: float = 0.0,
        dropout_levels: int = 0,
    ) -> None:
        super().__init__()
        conv, transposed, _, pool = LAYERS[dims]
        depth = len(filters)
        self.encoder = nn.ModuleList(_convolutions(dims, a, b) for a, b in pairwise([in_channels, *filters]))
        self.up = nn.ModuleList(transposed(b, a, 2, stride=2) for a, b in pairwise(filters))
        self.decoder = nn.ModuleList(_convolutions(dims, 2 * a, a) for a in filters[:-1])
        self.head = conv(filters[0], out_channels, 1)
        self.pool = pool(2)
        self.dropout = nn.Dropout(dropout)
        # Encoder levels from this one on, and decoder levels from that one on, are followed by dropout.
        self.encoder_dropped = depth - dropout_levels
        self.decoder_dropped = max(0, depth - 1 - dropout_levels) if dropout_levels else depth
        for module in self.modules():
            if isinstance(module, conv | transposed):
                nn.init.kaiming_normal_(cast(Tensor, module.weight), nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(cast(Tensor, module.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, out_channels, …) of images (N, in_channels, …)."""
        return self.from_features(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """The last feature maps before the head, (N, filters[0], …)."""
        size = x.shape[2:]
        x, skips = self._encode(padded(x, 2 ** len(self.decoder)), 0, len(self.encoder))
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat([skips[level], self.up[level](x)], 1))
            x = self._dropped(x, level >= self.decoder_dropped)
        return cropped(x, size)

    def from_features(self, features: Tensor) -> Tensor:
        """What `forward` puts out, from what `features` did."""
        logits: Tensor = self.head(features)
        return logits

    def prefix(self, x: Tensor) -> Features:
        """The part that dropout does not reach, for `rest`; only in eval mode (batch norm)."""
        last = self.encoder_dropped  # its convolutions are the last deterministic ones
        deep, skips = padded(x, 2 ** len(self.decoder)), []
        for level in range(last + 1):
            deep = self.encoder[level](deep)
            if level < len(self.decoder):
                skips.append(self._first_convolution(level, deep, from_skip=True))
                deep = self.pool(deep)
        return Features(deep, skips, tuple(x.shape[2:]))

    def rest(self, features: Features) -> Tensor:
        """Logits from what `prefix` computed; each call drops other elements.

        The convolution of two concatenated tensors is the sum of two: the skips' terms are computed once.
        """
        first = self.encoder_dropped
        x, skips = self._encode(self.dropout(features.deep), first + 1, len(self.encoder))
        for level in reversed(range(len(self.decoder))):
            up = self.up[level](x)
            if level < len(features.skips):
                x = self._first_convolution(level, up, from_skip=False) + features.skips[level]
            else:
                x = self._block(level)[0](torch.cat([skips[level - first - 1], up], 1))
            x = self._dropped(self._block(level)[1:](x), level >= self.decoder_dropped)
        return cropped(self.head(x), features.size)

    def _encode(self, x: Tensor, start: int, stop: int) -> tuple[Tensor, list[Tensor]]:
        """Encoder levels start…stop−1 and their skips; each level's pooling and dropout included."""
        skips = []
        for level in range(start, stop):
            x = self.encoder[level](x)
            if level < len(self.decoder):
                skips.append(x)
                x = self.pool(x)
            x = self._dropped(x, level >= self.encoder_dropped)
        return x, skips

    def _dropped(self, x: Tensor, wanted: bool) -> Tensor:
        return self.dropout(x) if wanted else x

    def _first_convolution(self, level: int, x: Tensor, *, from_skip: bool) -> Tensor:
        """The skip's or the upsampled half of a decoder level's first convolution."""
        conv = cast(nn.Conv2d | nn.Conv3d, self._block(level)[0])
        weight = conv.weight[:, : x.shape[1]] if from_skip else conv.weight[:, -x.shape[1] :]
        convolve = functional.conv2d if x.dim() == 4 else functional.conv3d
        return convolve(x, weight, None if from_skip else conv.bias, padding=1)

    def _block(self, level: int) -> nn.Sequential:
        return cast(nn.Sequential, self.decoder[level])


def _convolutions(dims: int, inputs: int, outputs: int) -> nn.Sequential:
    conv, _, norm, _ = LAYERS[dims]
    layers: list[nn.Module] = []
    for a in (inputs, outputs):
        layers += [conv(a, outputs, 3, padding=1, bias=False), norm(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)

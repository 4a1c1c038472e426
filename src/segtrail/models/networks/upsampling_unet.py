"""The U-Net of Jungo 2019, §2.2 (Implementation); what the paper leaves open is as in its public code."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from .layers import cropped, padded


class UpsamplingUNet(nn.Module):
    """Two convolutions a level, max-pool 2, nearest upsampling ×2 with a convolution upwards; 2D.

    A block is convolution 3×3 (with bias), dropout of whole channels where the layout has one, batch norm,
    ReLU. The convolution after upsampling is followed by nothing; skips are concatenated behind it. The head
    is one more block and a 1×1 convolution. Weights start as torch draws them. A size that the poolings do
    not divide is padded with zeros; the last feature maps are cropped back.

    `layout` places dropout of rate `dropout`, which acts before batch norm: `all`, in each of the 19 blocks;
    `center`, in nine: the second of each encoder level but the inner-most, the first of each decoder level,
    and the head's. With `noise` a second head, of the same form, puts out as many channels again.

    Source: Jungo 2019, §2.2, §2.3, and its public code.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: Sequence[int],
        dropout: float = 0.0,
        layout: Literal["all", "center"] | None = None,
        noise: bool = False,
    ) -> None:
        super().__init__()
        everywhere, somewhere = layout == "all", layout is not None
        outer, inner = filters[:-1], filters[-1]
        encoder = [
            _convolutions(a, b, dropout, (everywhere, somewhere)) for a, b in pairwise([in_channels, *outer])
        ]
        encoder.append(_convolutions(outer[-1], inner, dropout, (everywhere, everywhere)))
        self.encoder = nn.ModuleList(encoder)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(b, a, 3, padding=1))
            for a, b in pairwise(filters)
        )
        self.decoder = nn.ModuleList(_convolutions(2 * a, a, dropout, (somewhere, everywhere)) for a in outer)
        self.pool = nn.MaxPool2d(2)
        self.head = _head(filters[0], out_channels, dropout, somewhere)
        self.noise = _head(filters[0], out_channels, dropout, somewhere) if noise else None

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, out_channels, Y, X) of images (N, in_channels, Y, X); with noise head, its output behind
        them (N, 2·out_channels, Y, X), which `split_noise` understands."""
        return self.from_features(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """The last feature maps before the head, (N, filters[0], Y, X)."""
        size, skips = x.shape[2:], []
        x = self.encoder[0](padded(x, 2 ** len(self.decoder)))
        for level in range(1, len(self.encoder)):
            skips.append(x)
            x = self.encoder[level](self.pool(x))
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat([self.up[level](x), skips[level]], 1))
        return cropped(x, size)

    def from_features(self, features: Tensor) -> Tensor:
        """What `forward` puts out, from what `features` did."""
        logits: Tensor = self.head(features)
        return logits if self.noise is None else torch.cat([logits, self.noise(features)], 1)


def _convolutions(inputs: int, outputs: int, dropout: float, dropped: tuple[bool, bool]) -> nn.Sequential:
    return nn.Sequential(
        *_block(inputs, outputs, dropout, dropped[0]), *_block(outputs, outputs, dropout, dropped[1])
    )


def _head(filters: int, outputs: int, dropout: float, dropped: bool) -> nn.Sequential:
    return nn.Sequential(*_block(filters, filters, dropout, dropped), nn.Conv2d(filters, outputs, 1))


def _block(inputs: int, outputs: int, dropout: float, dropped: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1)]
    if dropped:
        layers.append(nn.Dropout2d(dropout))
    return [*layers, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

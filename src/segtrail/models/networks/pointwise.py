"""The network of Jungo 2019, §2.3 (auxiliary feat.), that looks at each pixel's features alone."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class Pointwise(nn.Module):
    """1×1 convolution (with bias), batch norm, ReLU for each of `filters`, then a 1×1 convolution; 2D.

    Source: Jungo 2019, §2.3, speaks of three 1×1 convolutions; in its public code the last one is a fourth.
    """

    def __init__(self, in_channels: int, out_channels: int, filters: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise([in_channels, *filters]):
            layers += [nn.Conv2d(a, b, 1), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv2d(filters[-1], out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, out_channels, Y, X) of feature maps (N, in_channels, Y, X)."""
        logits: Tensor = self.head(self.layers(features))
        return logits

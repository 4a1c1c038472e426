"""What the networks share: padding to a size that the poolings divide, and back."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def padded(x: Tensor, multiple: int) -> Tensor:
    """Maps (N, C, …) with zeros around them, so that `multiple` divides every spatial size."""
    missing = [-size % multiple for size in reversed(x.shape[2:])]
    if not any(missing):
        return x
    return functional.pad(x, [part for m in missing for part in (m // 2, m - m // 2)])


def cropped(x: Tensor, size: Sequence[int]) -> Tensor:
    """The centre of maps (N, C, …): what `padded` added is taken away."""
    for axis, length in enumerate(size, start=2):
        x = x.narrow(axis, (x.shape[axis] - length) // 2, length)
    return x

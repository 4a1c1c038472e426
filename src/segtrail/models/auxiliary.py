"""What an auxiliary network learns from: the errors of a segmentation member (Jungo 2019, §2.3)."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..config import Model
from ..errors import ConfigError
from .arrays import Stack
from .checkpoints import load_member
from .networks import UNet, UpsamplingUNet, logits_of, probabilities

# A pixel of the segmentation is right (0) or wrong (1).
CLASSES = 2


class Base:
    """A segmentation member as it is: no weight and no statistic of it changes."""

    def __init__(self, path: Path, model: Model, device: torch.device) -> None:
        """Raises ConfigError where the member has no feature maps that `model` can read, ArtifactError where
        its file is damaged."""
        self.member = load_member(path)
        network = self.member.network
        if not isinstance(network, UNet | UpsamplingUNet) or self.member.model.dims != model.dims:
            raise ConfigError(
                f"auxiliary.model: {self.member.model.architecture} with dims {self.member.model.dims}",
                file=path,
                expected=f"a U-Net with dims {model.dims}",
                remedy="name another model in auxiliary.model",
            )
        self.network = network.to(device)

    @property
    def key(self) -> str:
        return str(self.member.about["key"])

    @torch.no_grad()  # not inference_mode: what comes out goes into a training
    def features(self, images: Tensor) -> Tensor:
        """Feature maps (N, filters[0], …) of images (N, C, …)."""
        return self.network.features(images)

    @torch.no_grad()
    def errors(self, stack: Stack, batch_size: int) -> Stack:
        """The stack with new labels: 1 where the member's arg-max is not the label, else 0."""
        labels = torch.empty_like(stack.labels)
        for index in torch.arange(len(stack), device=labels.device).split(batch_size):
            images, reference = stack.batch(index)
            logits = logits_of(self.network(images), self.member.model)
            labels[index] = (probabilities(logits, self.member.model).argmax(1) != reference).to(labels.dtype)
        return replace(stack, labels=labels)

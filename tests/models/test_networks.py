"""What all networks share: noise, dropout."""

import pytest
import torch
from torch import nn
from trainings import model

from segtrail.models.networks import UNet, UpsamplingUNet, dropouts, logits_of, split_noise


def noisy(sigma="absolute"):
    return model(architecture="upsampling_unet", aleatoric={"sigma": sigma})


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [
        ("absolute", [2.0, 0.5]),
        ("exponential", [0.1353352832, 1.6487212707]),  # e⁻², e^½
        ("softplus", [0.1269280110, 0.9740769842]),  # ln(1 + e⁻²), ln(1 + e^½)
    ],
)
def test_sigma_by_hand(sigma, expected):
    outputs = torch.tensor([0.3, -0.7, -2.0, 0.5], dtype=torch.bfloat16).view(1, 4, 1, 1)
    logits, deviation = split_noise(outputs, noisy(sigma))
    assert logits.dtype == deviation.dtype == torch.float32
    assert logits.ravel().tolist() == pytest.approx([0.3, -0.7], abs=2e-3)
    assert deviation.ravel().tolist() == pytest.approx(expected, rel=1e-6)


def test_logits_are_what_is_not_noise():
    outputs = torch.randn(2, 4, 3, 3)
    assert torch.equal(logits_of(outputs, noisy()), outputs[:, :2])
    assert logits_of(outputs, model()) is outputs
    with pytest.raises(ValueError, match="noise head"):
        split_noise(outputs, model())


@pytest.mark.parametrize(
    "network", [UNet(1, 2, [4, 8], dropout=0.5, dropout_levels=1), UpsamplingUNet(1, 2, [4, 8], 0.5, "all")]
)
def test_dropout_alone_is_switched(network):
    network.eval()
    x = torch.randn(4, 1, 8, 8)
    expected, before = network(x), {name: t.clone() for name, t in network.state_dict().items()}
    found = dropouts(network, True)
    assert found
    assert all(isinstance(module, nn.Dropout | nn.Dropout2d) for module in found)
    assert not torch.equal(network(x), expected)
    assert [m for m in network.modules() if m.training] == found
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert dropouts(network, False) == found
    assert torch.equal(network(x), expected)

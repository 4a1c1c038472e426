import pytest
import torch
from test_unet import random_statistics
from torch import nn
from torch.nn import functional
from trainings import model

from segtrail.models.networks import UpsamplingUNet, build, channels_last, dropouts, folded
from segtrail.models.networks.pointwise import Pointwise

PAPER = [32, 64, 128, 256, 512]
SMALL = [4, 8, 16]


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def block(a, b):
    """A 3×3 convolution with bias, and batch norm's scale and shift."""
    return 9 * a * b + b + 2 * b


@pytest.mark.parametrize(("channels", "counted"), [(4, 8_646_018), (3, 8_645_730), (5, 8_646_306)])
def test_parameter_count_by_hand(channels, counted):
    """The counts of the authors' network for BraTS, for ISIC and for BraTS with a segmentation."""
    down = [(channels, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
    encoder = sum(block(a, b) + block(b, b) for a, b in down)
    up = sum(9 * 2 * a * a + a for a in PAPER[:-1])
    decoder = sum(block(2 * a, a) + block(a, a) for a in PAPER[:-1])
    head = block(32, 32) + 32 * 2 + 2
    assert count(UpsamplingUNet(channels, 2, PAPER)) == encoder + up + decoder + head == counted


def test_parameter_count_with_a_noise_head():
    assert count(UpsamplingUNet(4, 2, PAPER, noise=True)) == 8_646_018 + block(32, 32) + 66 == 8_655_396


def test_parameter_count_of_the_pointwise_network():
    """Three 1×1 convolutions of 32 maps with bias and batch norm, and the one that gives the logits."""
    assert count(Pointwise(32, 2, [32, 32, 32])) == 3 * (32 * 32 + 32 + 64) + 32 * 2 + 2


def dropped(network, size=32):
    """Shapes (C, Y, X) of what each dropout saw, in order."""
    seen = []
    for module in dropouts(network, True):
        module.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:])))
    network(torch.randn(2, 4, size, size))
    return seen


def test_all_drops_after_every_convolution_of_a_block():
    expected = [
        *[(32, 32, 32)] * 2,
        *[(64, 16, 16)] * 2,
        *[(128, 8, 8)] * 2,
        *[(256, 4, 4)] * 2,
        *[(512, 2, 2)] * 2,
        *[(256, 4, 4)] * 2,
        *[(128, 8, 8)] * 2,
        *[(64, 16, 16)] * 2,
        *[(32, 32, 32)] * 2,
        (32, 32, 32),
    ]
    assert len(expected) == 19
    assert dropped(UpsamplingUNet(4, 2, PAPER, 0.05, "all")) == expected


def test_center_drops_at_nine_places():
    """Once in each level but the inner-most, down and up, and before the output."""
    network = UpsamplingUNet(4, 2, PAPER, 0.5, "center")
    levels = [(32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4)]
    assert dropped(network) == [*levels, *reversed(levels), (32, 32, 32)]
    kinds = [[type(layer).__name__ for layer in part] for part in (network.encoder[0], network.decoder[0])]
    plain, with_dropout = ["Conv2d", "BatchNorm2d", "ReLU"], ["Conv2d", "Dropout2d", "BatchNorm2d", "ReLU"]
    assert kinds == [plain + with_dropout, with_dropout + plain]


@pytest.mark.parametrize(("layout", "places"), [("all", 20), ("center", 10), (None, 0)])
def test_a_noise_head_is_dropped_as_the_other(layout, places):
    network = UpsamplingUNet(4, 2, SMALL, 0.5, layout, noise=True)
    wanted = {"all": 4 * 3 - 2 + 2, "center": 2 * 2 + 2, None: 0}[layout]  # of three levels
    assert len(dropouts(network, True)) == wanted
    assert len(dropouts(UpsamplingUNet(4, 2, PAPER, 0.5, layout, noise=True), True)) == places


def test_dropout_takes_whole_channels():
    network = UpsamplingUNet(1, 2, SMALL, 0.5, "all").eval()
    seen = []
    dropouts(network, True)[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(torch.randn(8, 1, 8, 8))
    zeros = (seen[0] == 0).flatten(2)
    assert bool((zeros.all(2) | ~zeros.any(2)).all())
    assert 0 < zeros.all(2).sum() < 32


def test_network_equals_its_formula():
    """The same sums written with functions: two blocks a level, upsampled maps before the skip."""
    network = random_statistics(UpsamplingUNet(2, 3, SMALL, noise=True))
    weights = dict(network.state_dict())

    def convolved(x, name):
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def normal(x, name):
        mean, variance, scale, shift = (
            weights[f"{name}.{part}"].view(1, -1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).relu()

    def two(x, name):
        return normal(convolved(normal(convolved(x, f"{name}.0"), f"{name}.1"), f"{name}.3"), f"{name}.4")

    def head(x, name):
        x = normal(convolved(x, f"{name}.0"), f"{name}.1")
        return functional.conv2d(x, weights[f"{name}.3.weight"], weights[f"{name}.3.bias"])

    x = torch.randn(2, 2, 16, 24)
    first = two(x, "encoder.0")
    second = two(functional.max_pool2d(first, 2), "encoder.1")
    deep = two(functional.max_pool2d(second, 2), "encoder.2")
    for level, skip in ((1, second), (0, first)):
        larger = deep.repeat_interleave(2, 2).repeat_interleave(2, 3)
        deep = two(torch.cat([convolved(larger, f"up.{level}.1"), skip], 1), f"decoder.{level}")
    torch.testing.assert_close(network.features(x), deep)
    torch.testing.assert_close(network(x), torch.cat([head(deep, "head"), head(deep, "noise")], 1))


@pytest.mark.parametrize("size", [(20, 33), (16, 16), (9, 7)])
def test_any_size_comes_back_as_it_was(size):
    network = channels_last(UpsamplingUNet(2, 3, [4, 8, 8, 8, 8], noise=True)).eval()
    x = torch.randn(2, 2, *size)
    assert network(x).shape == (2, 6, *size)
    assert network.features(x).shape == (2, 4, *size)


def test_padding_equals_padding_by_hand():
    network = random_statistics(UpsamplingUNet(1, 2, SMALL))
    x = torch.randn(1, 1, 18, 16)
    by_hand = network.features(functional.pad(x, [0, 0, 1, 1]))[:, :, 1:-1]
    torch.testing.assert_close(network.features(x), by_hand)
    torch.testing.assert_close(network(x), network.from_features(by_hand))


@pytest.mark.parametrize("layout", ["all", "center", None])
def test_every_weight_learns(layout):
    network = UpsamplingUNet(1, 2, SMALL, 0.1, layout, noise=True)
    network(torch.randn(4, 1, 16, 16)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("layout", ["all", "center", None])
def test_folded_equals_the_whole(layout):
    network = random_statistics(UpsamplingUNet(2, 3, SMALL, 0.5, layout, noise=True))
    x = torch.randn(2, 2, 16, 16)
    for dropout in (False, True):
        torch.testing.assert_close(folded(network, dropout)(x), network(x), atol=1e-4, rtol=1e-4)
    norms = [m for m in folded(network).modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms == dropouts(folded(network), True) == []


@pytest.mark.parametrize("layout", ["all", "center"])
def test_folded_for_dropout_drops_the_same_as_the_whole(layout):
    """A batch norm is not folded into a convolution whose maps are dropped before it."""
    network = random_statistics(UpsamplingUNet(1, 2, SMALL, 0.5, layout))
    copy = folded(network, dropout=True)
    x, found = torch.randn(2, 1, 16, 16), []
    for one in (network, copy):
        dropouts(one, True)
        torch.manual_seed(3)
        found.append(one(x))
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)
    kept = sum(isinstance(module, nn.BatchNorm2d) for module in copy.modules())
    assert kept == len(dropouts(network, True))


def test_pointwise_sees_one_pixel():
    network = random_statistics(Pointwise(4, 2, [4, 4]))
    x = torch.randn(1, 4, 5, 6)
    changed = x.clone()
    changed[0, :, 2, 3] += 1
    moved = (network(x) != network(changed)).any(1).nonzero().tolist()
    assert moved == [[0, 2, 3]]
    torch.testing.assert_close(folded(network)(x), network(x), atol=1e-5, rtol=1e-5)


def test_built_from_its_model():
    values = {"architecture": "upsampling_unet", "dropout": {"rate": 0.25, "layout": "center"}}
    one = build(model(**values, aleatoric={}, class_weights="uniform"), 4, 2)
    assert isinstance(one, UpsamplingUNet)
    assert [module.p for module in dropouts(one, False)] == [0.25] * 6
    assert one.noise[-1].out_channels == one.head[-1].out_channels == 2
    assert build(model(architecture="upsampling_unet"), 4, 2).noise is None
    auxiliary = {"model": "m", "input": "features"}
    error = build(model(architecture="pointwise", filters=[5, 6], auxiliary=auxiliary), 4, 2)
    assert [layer.out_channels for layer in error.modules() if isinstance(layer, nn.Conv2d)] == [5, 6, 2]

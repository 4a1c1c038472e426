import monai.networks.blocks
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from trainings import model

from segtrail.models.networks import build, channels_last, folded, probabilities
from segtrail.models.networks.unet import UNet

PAPER = [8, 16, 32, 64, 128]


def random_statistics(network):
    """Gives batch norms something to do: fresh ones are the identity in evaluation."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return network.eval()


def test_parameter_count_by_hand():
    """3×3 convolutions without bias, scale and shift each; 2×2 transposed ones and a 1×1 head with bias."""
    encoder = sum(9 * (a * b + b * b) + 4 * b for a, b in [(1, 8), (8, 16), (16, 32), (32, 64), (64, 128)])
    up = sum(4 * 2 * a * a + a for a in PAPER[:-1])
    decoder = sum(9 * (2 * a * a + a * a) + 4 * a for a in PAPER[:-1])
    counted = sum(p.numel() for p in UNet(1, 4, PAPER).parameters())
    assert counted == encoder + up + decoder + (8 * 4 + 4) == 486_436
    assert sum(p.numel() for p in UNet(4, 4, PAPER).parameters()) == 486_652


def test_twin_in_3d_has_the_same_layers():
    flat, deep = UNet(1, 2, PAPER), UNet(1, 2, PAPER, dims=3)
    assert [name for name, _ in flat.named_parameters()] == [name for name, _ in deep.named_parameters()]
    assert deep.encoder[0][0].weight.shape == (8, 1, 3, 3, 3)


@pytest.mark.parametrize(("dims", "size"), [(2, (20, 33)), (2, (16, 16)), (3, (7, 16, 18))])
def test_any_size_comes_back_as_it_was(dims, size):
    network = channels_last(UNet(2, 3, [4, 8, 16], dims)).eval()
    assert network(torch.randn(2, 2, *size)).shape == (2, 3, *size)


def test_padding_is_the_same_on_both_paths_and_equals_padding_by_hand():
    network = random_statistics(UNet(1, 2, [4, 8, 16]))
    x = torch.randn(1, 1, 18, 16)
    by_hand = network(nn.functional.pad(x, [0, 0, 1, 1]))[:, :, 1:-1]
    torch.testing.assert_close(network(x), by_hand)


def test_block_equals_monai():
    """MONAI's Convolution with the same weights computes the same."""
    block = random_statistics(UNet(3, 2, [4, 8]))._modules["encoder"][0]
    theirs = [
        monai.networks.blocks.Convolution(2, a, 4, kernel_size=3, act="RELU", norm="BATCH", bias=False)
        for a in (3, 4)
    ]
    for index, one in enumerate(theirs):
        one.adn.add_module("D", nn.Identity())
        one.conv.load_state_dict(block[3 * index].state_dict())
        one.adn.N.load_state_dict(block[3 * index + 1].state_dict())
        one.adn = nn.Sequential(one.adn.N, nn.ReLU())
        one.eval()
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(block(x), theirs[1](theirs[0](x)))


def test_he_initialisation():
    torch.manual_seed(0)
    weight = UNet(1, 2, PAPER).encoder[3][3].weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("fold", [False, True])
def test_prefix_and_rest_equal_the_whole(levels, fold):
    """With dropout off the divided network is the whole one, batch norms folded or not."""
    network = random_statistics(UNet(2, 3, [4, 8, 8, 16], dropout=0.5, dropout_levels=levels))
    x = torch.randn(2, 2, 20, 16)
    expected = network(x)
    network = folded(network) if fold else network
    torch.testing.assert_close(network.rest(network.prefix(x)), expected, atol=1e-4, rtol=1e-4)


def test_rest_drops_the_same_elements_as_the_whole():
    """With the same random state `prefix` and `rest` drop what `forward` drops."""
    network = random_statistics(UNet(1, 2, [4, 8, 8, 16], dropout=0.5, dropout_levels=2))
    network.dropout.train()
    x = torch.randn(2, 1, 16, 16)
    torch.manual_seed(3)
    expected = network(x)
    torch.manual_seed(3)
    torch.testing.assert_close(network.rest(network.prefix(x)), expected, atol=1e-4, rtol=1e-4)


def test_dropout_sits_in_the_inner_levels():
    """Dropped maps, in order: encoder levels 3, 4 (pooled) and 5, decoder levels 4, 3 and 2."""
    network = UNet(1, 2, PAPER, dropout=0.5, dropout_levels=3)
    seen = []
    network.dropout.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:])))
    network(torch.randn(2, 1, 32, 32))
    assert seen == [(32, 4, 4), (64, 2, 2), (128, 2, 2), (64, 4, 4), (32, 8, 8), (16, 16, 16)]


@pytest.mark.parametrize("background", ["product", "remainder", "untrained"])
def test_output_channels(background):
    one = model(activation="sigmoid", background=background)
    assert build(one, 1, 4).head.out_channels == (4 if background == "untrained" else 3)
    assert build(model(), 1, 4).head.out_channels == 4


@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3), st.sampled_from(["product", "remainder"]))
def test_probabilities_sum_to_one(logits, background):
    p = probabilities(
        torch.tensor(logits).view(1, 3, 1, 1), model(activation="sigmoid", background=background)
    )
    assert p.shape == (1, 4, 1, 1)
    assert p.sum().item() == pytest.approx(1, abs=1e-6)
    assert bool(((p >= 0) & (p <= 1)).all())


def test_backgrounds_by_hand():
    logits = torch.tensor([0.5, 0.8]).logit().view(1, 2, 1, 1)
    product = probabilities(logits, model(activation="sigmoid", background="product")).ravel()
    torch.testing.assert_close(product, torch.tensor([0.1, 0.5, 0.8]) / 1.4)
    remainder = probabilities(logits, model(activation="sigmoid", background="remainder")).ravel()
    torch.testing.assert_close(remainder, torch.tensor([0.0, 0.5, 0.8]) / 1.3)
    three = torch.tensor([0.3, 0.5, 0.8])
    untrained = model(activation="sigmoid", background="untrained")
    torch.testing.assert_close(probabilities(three.logit().view(1, 3, 1, 1), untrained).ravel(), three)
    torch.testing.assert_close(probabilities(three.log().view(1, 3, 1, 1), model()).ravel(), three / 1.6)

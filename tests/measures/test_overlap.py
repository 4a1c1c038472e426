import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_dice

from segtrail.measures.overlap import dice

masks = hnp.arrays(bool, (3, 4, 5), elements=st.booleans())


@given(a=masks, b=masks)
def test_dice_is_symmetric_and_monais(a, b):
    assert dice(a, b) == dice(b, a)
    monai = compute_dice(*(torch.from_numpy(mask[None, None]).float() for mask in (a, b)), ignore_empty=False)
    assert dice(a, b) == pytest.approx(float(monai), abs=1e-6)


def test_degenerate_masks():
    full, empty = np.ones((2, 2), bool), np.zeros((2, 2), bool)
    assert dice(empty, empty) == 1.0
    assert dice(full, empty) == 0.0
    assert dice(full, full) == 1.0
    assert dice(full, np.array([[True, False], [False, False]])) == 0.4
    with pytest.raises(ValueError, match="shapes"):
        dice(full, full[0])

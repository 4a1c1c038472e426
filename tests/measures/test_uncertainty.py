import numpy as np
import pytest
from scipy import stats

from segtrail.measures.calibration import tally
from segtrail.measures.uncertainty import binary_entropy, segment_entropy


def test_binary_entropy_agrees_with_scipy_and_has_its_ends():
    p = np.linspace(0, 1, 101)
    np.testing.assert_allclose(binary_entropy(p), stats.entropy([p, 1 - p]), atol=1e-12)
    assert binary_entropy(np.array([0.0, 0.5, 1.0])) == pytest.approx([0, np.log(2), 0])


def test_segment_entropy_is_what_the_one_pass_sums():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 400).T.astype(np.float16)
    got, labels = tally(p, np.zeros(400, np.uint8), np.zeros(400, bool), 10)
    for k in (1, 2):
        assert got.seg_entropy(k) == pytest.approx(segment_entropy(p[k], labels == k), rel=1e-6)


def test_an_empty_segment_has_no_entropy():
    assert np.isnan(segment_entropy(np.full(5, 0.4), np.zeros(5, bool)))

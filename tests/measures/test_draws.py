import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrail.measures.draws import draw_subsets


@given(members=st.integers(1, 12), data=st.data(), draws=st.integers(1, 40), seed=st.integers(0, 2**63 - 1))
def test_subsets_are_distinct_of_one_size_and_as_many_as_there_can_be(members, data, draws, seed):
    size = data.draw(st.integers(1, members))
    subsets = draw_subsets(members, size, draws, seed)
    assert (subsets.sum(axis=1) == size).all()
    assert len(np.unique(subsets, axis=0)) == len(subsets)
    combinations = np.prod([(members - i) / (i + 1) for i in range(size)]).round()
    assert len(subsets) == min(draws, combinations)
    np.testing.assert_array_equal(draw_subsets(members, size, draws, seed), subsets)
    fewer = draw_subsets(members, size, max(draws // 2, 1), seed)
    np.testing.assert_array_equal(fewer, subsets[: len(fewer)])


def test_the_papers_draws_use_all_members_evenly():
    subsets = draw_subsets(100, 50, 50, seed=1)
    assert subsets.shape == (50, 100)
    assert subsets.sum(axis=0).min() > 10
    assert draw_subsets(100, 100, 50, seed=1).all()
    assert not np.array_equal(subsets, draw_subsets(100, 50, 50, seed=2))


@pytest.mark.parametrize(("size", "draws"), [(0, 5), (6, 5), (2, 0)])
def test_impossible_draws_are_refused(size, draws):
    with pytest.raises(ValueError, match="draws of"):
        draw_subsets(5, size, draws, 0)

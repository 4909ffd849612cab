"""Early stopping must watch other persons than those trained on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit, PredefinedSplit, ShuffleSplit

from sklearn_mmfuse._training import validation_split


def split(fraction, y, groups=None, *, classification=True, seed=0):
    return validation_split(
        fraction,
        X=np.zeros((len(y), 1)),
        y=np.asarray(y),
        groups=groups,
        classification=classification,
        random_state=np.random.RandomState(seed),
    )


@settings(max_examples=60, deadline=None)
@given(
    n_groups=st.integers(2, 12),
    fraction=st.floats(0.05, 0.6),
    classification=st.booleans(),
    seed=st.integers(0, 100),
)
def test_no_group_is_on_both_sides_and_no_row_is_lost(n_groups, fraction, classification, seed):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(n_groups), rng.integers(n_groups, size=60)])
    y = rng.integers(3, size=len(groups)).astype(float)
    train, validation = split(fraction, y, groups, classification=classification, seed=seed)
    assert not set(groups[train]) & set(groups[validation])
    assert sorted([*train, *validation]) == list(range(len(y)))


def test_classes_keep_their_shares():
    y = np.repeat([0, 1, 2], [600, 300, 100])
    _, validation = split(0.1, y)
    np.testing.assert_array_equal(np.bincount(y[validation]), [60, 30, 10])


def test_a_class_of_two_rows_stays_in_training():
    y = np.repeat([0, 1], [98, 2])
    for seed in range(20):
        train, _ = split(0.5, y, seed=seed)
        assert set(y[train]) == {0, 1}


def test_a_class_of_a_single_person_stays_in_training():
    groups = np.repeat(np.arange(10), 10)
    y = (groups == 3).astype(int)
    for seed in range(20):
        train, _ = split(0.2, y, groups, seed=seed)
        assert set(y[train]) == {0, 1}


def test_same_seed_same_split():
    y = np.arange(50) % 2
    first, second, other = (split(0.2, y, seed=seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_explicit_rows_and_splitters():
    y = np.arange(20) % 2
    fold = np.where(np.arange(20) < 5, 0, -1)
    for explicit in (PredefinedSplit(fold), [(np.arange(5, 20), np.arange(5))]):
        train, validation = split(explicit, y)
        np.testing.assert_array_equal(validation, np.arange(5))
        np.testing.assert_array_equal(train, np.arange(5, 20))
    groups = np.repeat(np.arange(5), 4)
    _, validation = split(GroupShuffleSplit(1, test_size=0.4, random_state=0), y, groups)
    assert len(set(groups[validation])) == 2


@pytest.mark.parametrize(
    ("fraction", "groups", "message"),
    [
        (0.1, np.zeros(20), "single value"),
        (ShuffleSplit(1, random_state=0), np.repeat(np.arange(2), 10), "both sides"),
        ([(np.arange(20), [])], None, "rows on both sides"),
        ([], None, "yields no split"),
        (GroupShuffleSplit(1), None, "keeps groups apart; pass them to fit"),
    ],
)
def test_impossible_splits_say_why(fraction, groups, message):
    with pytest.raises(ValueError, match=message):
        split(fraction, np.arange(20) % 2, groups)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((range(6), range(4, 10)), "has 2 rows on both sides"),
        ((range(6), [6, 99]), r"among the 10 rows of fit; got \[ 6 99\]"),
        ((range(6), [6.5]), "among the 10 rows of fit"),
        (([], range(4)), "gives 0 for training"),
    ],
)
def test_a_split_of_the_users_is_checked(sides, message):
    with pytest.raises(ValueError, match=message):
        split([sides], np.zeros(10))


def test_a_split_of_the_users_may_be_masks_or_count_from_the_end():
    watched = np.arange(10) > 6
    for sides in ((~watched, watched), (np.arange(7), [-3, -2, -1])):
        train, validation = split([sides], np.zeros(10))
        np.testing.assert_array_equal(train, np.arange(7))
        np.testing.assert_array_equal(validation, [7, 8, 9])

"""Groups: one per sample, whatever they are made of."""

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_mmfuse._groups import check_groups, members


def test_groups_are_one_per_sample():
    assert check_groups(None, 3) is None
    for groups in ([1, 2, 2], ["a", "b", "a"], pd.Series(["a", "b", "a"]), torch.tensor([1, 2, 3])):
        array = check_groups(groups, 3)
        assert isinstance(array, np.ndarray)
        assert array.tolist() == (groups.tolist() if hasattr(groups, "tolist") else groups)
    with pytest.raises(ValueError, match=r"each of the 3 samples; got shape \(2,\)"):
        check_groups([1, 2], 3)
    with pytest.raises(ValueError, match=r"got shape \(3, 1\)"):
        check_groups([[1], [2], [3]], 3)
    for groups in ([1.0, np.nan, 2.0], ["a", None, "b"]):
        with pytest.raises(ValueError, match="groups has missing entries"):
            check_groups(groups, 3)


def test_members_are_numbered():
    count, member = members(4, ["b", "a", "b", "c"])
    assert (count, member.tolist()) == (3, [1, 0, 1, 2])
    count, member = members(3, None)
    assert (count, member.tolist()) == (3, [0, 1, 2])

"""The bundled three-modality data set is scikit-learn's, column for column."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from sklearn_mmfuse import MultimodalData
from sklearn_mmfuse.datasets import load_breast_cancer_modalities

STOCK_NAME = {"mean": "mean {}", "error": "{} error", "worst": "worst {}"}


@pytest.fixture(scope="module")
def stock():
    return load_breast_cancer(as_frame=True)


def test_every_column_is_the_stock_column_of_that_name(stock):
    bunch = load_breast_cancer_modalities()
    assert isinstance(bunch.data, MultimodalData)
    assert list(bunch.feature_names) == ["mean", "error", "worst"]
    for modality, names in bunch.feature_names.items():
        expected = stock.data[[STOCK_NAME[modality].format(name) for name in names]]
        assert expected.shape == (569, 10)
        np.testing.assert_array_equal(np.asarray(bunch.data[modality]), expected)


def test_modalities_share_their_ten_measurements():
    names = load_breast_cancer_modalities().feature_names
    assert names["mean"] == names["error"] == names["worst"]


def test_target_is_the_stock_target(stock):
    bunch = load_breast_cancer_modalities()
    np.testing.assert_array_equal(bunch.target, stock.target)
    assert list(bunch.target_names) == ["malignant", "benign"]


def test_as_frame_holds_the_same_numbers():
    bunch, framed = load_breast_cancer_modalities(), load_breast_cancer_modalities(as_frame=True)
    assert list(framed.data.columns[[0, 10, 29]]) == [
        "mean__radius",
        "error__radius",
        "worst__fractal dimension",
    ]
    np.testing.assert_array_equal(framed.target, bunch.target)
    for modality, names in bunch.feature_names.items():
        columns = [f"{modality}__{name}" for name in names]
        np.testing.assert_array_equal(framed.data[columns], np.asarray(bunch.data[modality]))


def test_description_tells_the_modalities_and_keeps_the_source():
    description = load_breast_cancer_modalities().DESCR
    assert "three modalities" in description
    assert load_breast_cancer().DESCR in description

"""The separation error: the papers' formula, written out, and what purification leaves of it."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfuse import ModalityColumnTransformer, MROClassifier, MRORegressor, MultimodalData
from sklearn_mmfuse.inspection import separation_error
from tests.estimators._data import UNREGULARIZED

RNG = np.random.default_rng(0)
N = 8
X = MultimodalData(
    acoustic=RNG.normal(size=(N, 2)), text=RNG.normal(size=(N, 2)), vision=RNG.normal(size=(N, 1))
)
Y = X["text"][:, 0] * X["vision"][:, 0] + X["acoustic"][:, 0]
CLASSES = np.array(["a", "b", "c"])[[0, 1, 2, 0, 1, 2, 0, 1]]
MODES = ["mro", "smro", "joint", "single"]


def fit(cls=MRORegressor, y=Y, **params):
    params = {"max_epochs": 5, "hidden_layer_sizes": (5,), "tensor_dim": 3} | params
    return cls(random_state=0, learning_rate=0.02, **params).fit(X, y)


def table_of_terms(model):
    """Terms of orders 2 and 3 on all N^3 combinations, axes acoustic, text, vision, output."""
    index = np.indices((N, N, N)).reshape(3, -1)
    rows = {name: X[name][i] for name, i in zip(X, index, strict=True)}
    by_order = model.decompose(rows).by_order()
    shape = (N, N, N, -1)
    zero = np.zeros((N**3, 1))
    return [by_order.get(order, zero).reshape(shape) for order in (2, 3)]


def uc(f):
    """Equation 1."""
    one = [f.mean(axis=tuple({0, 1, 2} - {axis}), keepdims=True) for axis in range(3)]
    return one[0] + one[1] + one[2] - 2 * f.mean(axis=(0, 1, 2), keepdims=True)


def bi(f):
    """Equation 2."""
    rest = f - uc(f)
    return sum(rest.mean(axis=axis, keepdims=True) for axis in range(3))


@pytest.mark.parametrize("optimization", MODES)
@pytest.mark.parametrize("fusion", ["concat", "tensor"])
@pytest.mark.parametrize(("cls", "y"), [(MRORegressor, Y), (MROClassifier, CLASSES)])
def test_it_is_the_papers_formula(optimization, fusion, cls, y):
    model = fit(cls, y, optimization=optimization, fusion=fusion)
    y_bi, y_tri = table_of_terms(model)
    rows = np.arange(N)
    size = np.abs(uc(y_bi + y_tri))[rows, rows, rows] + np.abs(bi(y_tri))[rows, rows, rows]
    result = separation_error(model, X, scale=1.0)
    np.testing.assert_allclose(result.per_sample, size.mean(axis=1), atol=1e-10)
    assert result.error == pytest.approx(size.mean())
    assert sum(result.by_order.values()) == pytest.approx(result.error)
    low, high = result.interval
    assert low <= result.error <= high


@pytest.mark.parametrize("optimization", MODES)
@pytest.mark.parametrize("fusion", ["concat", "tensor"])
def test_purified_terms_have_none(optimization, fusion):
    model = fit(optimization=optimization, fusion=fusion, **UNREGULARIZED)
    assert separation_error(model, X).error > 1e-3
    assert separation_error(model, X, purify=True).error < 1e-10
    assert separation_error(model, X[:4], background=X[3:], purify=True).error < 1e-10


def test_purified_classifiers_and_lower_orders_have_none():
    assert separation_error(fit(MROClassifier, CLASSES), X, purify=True).error < 1e-10
    assert separation_error(fit(max_order=2), X, purify=True).error < 1e-10
    assert separation_error(fit(max_order=1), X, purify=True).error == 0
    assert separation_error(fit(max_order=1), X).error == 0


def test_the_unit_is_the_targets_standard_deviation():
    model = fit()
    plain = separation_error(model, X, scale=1.0).error
    assert separation_error(model, X).error == pytest.approx(plain / Y.std())
    assert separation_error(model, X, scale=2).error == pytest.approx(plain / 2)
    spread = model.predict(X).std()
    assert separation_error(model, X, scale="prediction").error == pytest.approx(plain / spread)
    classifier = fit(MROClassifier, CLASSES)
    spread = classifier.decision_function(X).std(axis=0).mean()
    expected = separation_error(classifier, X, scale=1.0).error / spread
    assert separation_error(classifier, X).error == pytest.approx(expected)


def test_the_interval_is_that_of_the_mean_and_wider_over_persons():
    model = fit()
    rows = np.repeat(np.arange(N), 4)
    many = X[rows]
    by_row = separation_error(model, many, random_state=1)
    by_person = separation_error(model, many, groups=rows, random_state=1)
    assert np.ptp(by_person.interval) > 1.5 * np.ptp(by_row.interval)
    spread = by_row.per_sample.std() / np.sqrt(len(rows))
    assert np.ptp(by_row.interval) == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert separation_error(model, many, random_state=1).interval == by_row.interval


def test_a_pipeline_is_looked_at_through_its_last_step():
    array = X.to_numpy()
    columns = ModalityColumnTransformer(
        [("a", StandardScaler(), [0, 1]), ("t", StandardScaler(), [2, 3, 4])]
    )
    pipe = make_pipeline(columns, MRORegressor(max_epochs=3, random_state=0)).fit(array, Y)
    through = separation_error(pipe, array, background=array)
    direct = separation_error(pipe[-1], pipe[0].transform(array))
    assert through.error == pytest.approx(direct.error)


def test_bad_input_gets_one_clear_sentence():
    with pytest.raises(TypeError, match="Ridge has no terms to look at"):
        separation_error(Ridge().fit(X.to_numpy(), Y), X)
    with pytest.raises(ValueError, match="scale must be a positive number"):
        separation_error(fit(), X, scale=-1)
    with pytest.raises(ValueError, match="scale must be a positive number"):
        separation_error(fit(MROClassifier, CLASSES), X, scale="target")
    many = X[np.repeat(np.arange(N), 10)]
    with pytest.raises(ValueError, match=r"by brute force, 1,555,280 combinations.*few dozen rows"):
        separation_error(fit(), many, purify=True)
    for options in ({"confidence": 95}, {"n_bootstrap": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            separation_error(fit(), X, **options)
    with pytest.raises(ValueError, match="there is 1: pass background="):
        separation_error(fit(), X[[0]])

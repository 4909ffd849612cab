"""Products of low rank start where training rows have them, and else as they were drawn."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import GroupKFold, cross_val_score

from sklearn_mmfuse import MROClassifier, MRORegressor, MultimodalData
from sklearn_mmfuse._terms import interaction_terms
from sklearn_mmfuse._training import Rows, _product_start
from sklearn_mmfuse._training._product_search import Product, find_product, rank_one
from sklearn_mmfuse._training._product_start import find_products, start_products
from sklearn_mmfuse.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from sklearn_mmfuse.nets import MRONet
from tests.training._data import vectors


def draw(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


# The search --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 4, 3), (2, 4, 3), (3, 2, 5, 4)], ids=str)
def test_a_tensor_of_rank_one_is_found(shape):
    vectors = [draw(2, size, seed=i) for i, size in enumerate(shape)]
    letters = "abcd"[: len(shape)]
    tensors = torch.einsum(",".join(f"k{i}" for i in letters) + f"->k{letters}", *vectors)
    for found, true in zip(rank_one(tensors), vectors, strict=True):
        cosine = (found * true).sum(dim=1) / true.norm(dim=1)
        torch.testing.assert_close(cosine.abs(), torch.ones(2, dtype=torch.float64))
        torch.testing.assert_close(found.norm(dim=1), torch.ones(2, dtype=torch.float64))


def test_the_best_matrix_of_rank_one_is_that_of_the_largest_singular_value():
    matrices = draw(3, 5, 4)
    left, right = rank_one(matrices)
    value = torch.einsum("kij,ki,kj->k", matrices, left, right).abs()
    torch.testing.assert_close(value, torch.linalg.svdvals(matrices)[:, 0], rtol=1e-3, atol=0)


@pytest.mark.parametrize("order", [2, 3])
def test_a_product_is_found_with_its_size(order):
    features = [draw(400, d, seed=d) for d in (3, 4, 5)[:order]]
    outputs = torch.tensor([2.0, -1.0], dtype=torch.float64)
    true = Product(tuple(torch.eye(x.shape[1]).double()[1] for x in features), outputs)
    found = find_product(features, true(features), torch.ones(400).double())
    assert found is not None
    given, wanted = found(features), true(features)
    assert np.corrcoef(given[:, 0], wanted[:, 0])[0, 1] > (0.95 if order == 2 else 0.8)
    torch.testing.assert_close(given.std(dim=0), wanted.std(dim=0), rtol=0.15, atol=0)


def test_chance_is_no_product():
    curvature = torch.ones(200).double()
    found = sum(
        find_product([draw(200, 6, seed=s), draw(200, 4, seed=s + 500)],
                     draw(200, 1, seed=s + 1000), curvature) is not None
        for s in range(300)
    )  # fmt: skip
    assert found == 0


def test_a_product_is_the_same_however_it_is_written():
    features = [draw(50, 3), draw(50, 2, seed=1)]
    product = Product((draw(3, seed=2), draw(2, seed=3)), draw(2, seed=4))
    norms = torch.stack([part.norm() for part in product.balanced().parts])
    torch.testing.assert_close(norms, norms.mean().expand(3))
    unit = product.normalized(features)
    for x, u in zip(features, unit.directions, strict=True):
        assert float((x @ u).square().mean()) == pytest.approx(1.0)
    sizes = [torch.tensor([2.0, 3.0, 4.0]).double(), torch.tensor([0.5, 1.0]).double()]
    scaled = product.of_scaled(sizes)
    again = [x * size for x, size in zip(features, sizes, strict=True)]
    for same, given in ((product.balanced(), features), (unit, features), (scaled, again)):
        torch.testing.assert_close(same(given), product(features))


# The start of a net ------------------------------------------------------------------------------


def make_net(n_outputs=1, order=2, **params):
    net = MRONet(
        in_features={"a": 4, "t": 3, "v": 5}, terms=interaction_terms(["a", "t", "v"], order),
        n_outputs=n_outputs, n_members=1, input_scaling="clip", staged=True, stop_gradient=True,
        activation="relu", tensor_dim=4, product_rank=2,
        **{"hidden": (5,), "fusion": "concat", "share_encoders": False} | params,
    )  # fmt: skip
    net.reset_parameters([torch.Generator().manual_seed(0)])
    return net


def make_rows(n=300, seed=0):
    rng = np.random.default_rng(seed)
    X = {name: torch.tensor(rng.normal(size=(n, d))).float()
         for name, d in (("a", 4), ("t", 3), ("v", 5))}  # fmt: skip
    y = X["a"][:, 0] + 2 * X["t"][:, 0] * X["v"][:, 1]
    return X, y


def statistics_of(X):
    return {name: (x.double().mean(0), x.double().std(0)) for name, x in X.items()}


def test_a_net_starts_with_the_product_of_its_rows():
    X, y = make_rows()
    y = (y - y.mean()) / y.std()
    net = make_net()
    net.set_input_statistics(statistics_of(X))
    starts = find_products(net, Rows(X, y, torch.ones(len(y))), SquaredError())
    before = {name: value.clone() for name, value in net.named_parameters()}
    start_products(net, starts)
    assert {start.group for start in starts[0]} == {2}  # t × v alone
    moved = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {
        "block.products.weights.1",
        "block.products.weights.2",
        "block.products.readout",
    }
    product = net.low_rank_products(net.scale_inputs(X))[0, 2, :, 0]
    true = X["t"][:, 0] * X["v"][:, 1]
    assert np.corrcoef(product.detach(), true)[0, 1] > 0.97


def test_of_many_rows_some_are_looked_at_and_of_large_products_none(monkeypatch):
    X, y = make_rows(900)
    rows = Rows(X, (y - y.mean()) / y.std(), torch.ones(len(y)))
    net = make_net()
    net.set_input_statistics(statistics_of(X))
    monkeypatch.setattr(_product_start, "MAX_ROWS", 300)
    some = find_products(net, rows, SquaredError())
    assert {start.group for start in some[0]} == {2}
    few = find_products(net, rows.take(torch.linspace(0, 899, 300).long()), SquaredError())
    for one, other in zip(some[0], few[0], strict=True):
        torch.testing.assert_close(one.product.directions, other.product.directions)
    monkeypatch.setattr(_product_start, "MAX_MOMENTS", 1)
    assert find_products(net, rows, SquaredError()) == [[]]


@pytest.mark.parametrize("n_classes", [2, 4])
def test_classes_have_products_as_well(n_classes):
    X, y = make_rows(400)
    labels = torch.bucketize(y, torch.quantile(y, torch.linspace(0, 1, n_classes + 1)[1:-1]))
    net = make_net(n_outputs=1 if n_classes == 2 else n_classes)
    net.set_input_statistics(statistics_of(X))
    loss = BinaryCrossEntropy() if n_classes == 2 else CrossEntropy()
    rows = Rows(X, labels.float(), torch.ones(len(y)))
    start_products(net, find_products(net, rows, loss))
    products = net.low_rank_products(net.scale_inputs(X))[0].detach()
    assert products[:2].abs().max() == 0  # readouts of the others are zero still
    assert abs(np.corrcoef(products[2, :, 0], X["t"][:, 0] * X["v"][:, 1])[0, 1]) > 0.9


def test_rows_without_weight_or_modality_tell_nothing():
    X, y = make_rows(400)
    y = (y - y.mean()) / y.std()
    net = make_net()
    net.set_input_statistics(statistics_of(X))
    first = torch.arange(400) < 300
    kept = Rows({name: x[:300] for name, x in X.items()}, y[:300], torch.ones(300))
    # Folds are by position, which rows behind the others leave alone.
    unweighted = Rows(X, y, first.float() * 4 / 3)
    a, b = (find_products(net, rows, SquaredError())[0] for rows in (kept, unweighted))
    assert [start.group for start in a] == [start.group for start in b]
    torch.testing.assert_close(a[0].product.outputs, b[0].product.outputs, rtol=0.05, atol=0.05)
    present = torch.ones(400, 3)
    present[300:, 1] = 0.0
    noise = {**X, "t": torch.where(first.unsqueeze(1), X["t"], 100.0)}
    other = {**X, "t": torch.where(first.unsqueeze(1), X["t"], -7.0)}
    a, b = (
        find_products(net, Rows(x, y, torch.ones(400), present=present), SquaredError())[0]
        for x in (noise, other)
    )
    assert {start.group for start in a} == {start.group for start in b} == {2}
    torch.testing.assert_close(a[0].product.parts, b[0].product.parts)


@pytest.mark.parametrize(
    "params", [{"fusion": "tensor"}, {"share_encoders": True}, {"hidden": ()}], ids=str
)
def test_nets_without_products_of_features_are_left_alone(params):
    X, y = make_rows()
    net = make_net(**params)
    net.set_input_statistics(statistics_of(X))
    assert find_products(net, Rows(X, y, torch.ones(len(y))), SquaredError()) == [[]]


# Estimators --------------------------------------------------------------------------------------


def test_members_of_other_rows_have_products_of_their_own():
    X, y = vectors()
    many = MRORegressor(n_members=2, bootstrap=True, max_epochs=3, random_state=0).fit(X, y)
    readouts = dict(many.module_.named_parameters())["block.products.readout"]
    assert not torch.equal(readouts[0], readouts[1])


@pytest.mark.parametrize("optimization", ["mro", "smro", "joint"])
def test_few_rows_learn_a_product_of_many_features(optimization):
    rng = np.random.default_rng(0)
    X = MultimodalData(text=rng.normal(size=(300, 8)), audio=rng.normal(size=(300, 5)))
    y = X["text"][:, 0] + 2 * X["text"][:, 1] * X["audio"][:, 0] > 0
    model = MROClassifier(optimization=optimization, random_state=0)
    person = np.repeat(np.arange(60), 5)
    assert cross_val_score(model, X, y, groups=person, cv=GroupKFold(5)).mean() > 0.82


@pytest.mark.parametrize("n", [2, 4, 25])
def test_a_handful_of_rows_tells_of_no_product(n):
    rng = np.random.default_rng(0)
    X = {"text": rng.normal(size=(n, 3)), "audio": rng.normal(size=(n, 2))}
    y = X["text"][:, 0] * X["audio"][:, 0]
    model = MRORegressor(max_epochs=1, learning_rate=1e-9, random_state=0).fit(X, y)
    readout = dict(model.module_.named_parameters())["block.products.readout"]
    assert readout.abs().max() < 1e-6


def test_what_adds_up_gets_no_product():
    rng = np.random.default_rng(0)
    X = {"text": rng.normal(size=(300, 8)), "audio": rng.normal(size=(300, 5))}
    y = X["text"][:, 0] + np.sin(X["audio"][:, 0]) + 0.3 * rng.normal(size=300)
    model = MRORegressor(max_epochs=1, learning_rate=1e-9, random_state=0).fit(X, y)
    readout = dict(model.module_.named_parameters())["block.products.readout"]
    assert readout.abs().max() < 1e-6

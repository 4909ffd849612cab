"""InTense and MNL as estimators: relevance scores, what they are worth, and what is refused."""

import copy
import pickle
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.callback import FitCallback
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch.callbacks import Callback

from sklearn_mmfuse import InTenseClassifier, InTenseRegressor, MultimodalData
from sklearn_mmfuse._training import Rows, predict_network
from sklearn_mmfuse.datasets import (
    make_additive,
    make_bimodal,
    make_redundant_interactions,
    make_trimodal,
)
from sklearn_mmfuse.estimators import _intense, _last_layer
from sklearn_mmfuse.estimators._epochs import choose_epochs
from sklearn_mmfuse.estimators._fitting import Shared
from sklearn_mmfuse.estimators._held_out import Predictions
from sklearn_mmfuse.estimators._last_layer import (
    best_factor,
    fit_last_layer,
    predict_by_last_layer,
)
from sklearn_mmfuse.inspection import RelevanceDisplay, modality_effects
from sklearn_mmfuse.losses import SquaredError
from tests.estimators._data import make_blocks, make_groups, make_target

QUICK = {"max_epochs": 30, "random_state": 0, "hidden_layer_sizes": (16,), "n_bootstrap": 20}
BLOCKS = make_blocks(n_modalities=3)
KINDS = {"regression": InTenseRegressor, "binary": InTenseClassifier, "three": InTenseClassifier}


def fit(kind="regression", **params):
    target = make_target(BLOCKS, kind)
    return KINDS[kind](**QUICK | params).fit(MultimodalData(BLOCKS), target)


@pytest.fixture(scope="module")
def trimodal():
    toy = make_trimodal(4000, random_state=0)
    model = InTenseRegressor(max_order=3, random_state=0, n_bootstrap=20)
    return toy, model.fit(toy.data, toy.target)


@pytest.mark.parametrize("normalization", ["iterbn", "vbn", None])
@pytest.mark.parametrize("kind", KINDS)
def test_terms_add_up_to_the_prediction_and_to_the_net(kind, normalization):
    model = fit(kind, max_order=3, normalization=normalization)
    parts = model.decompose(BLOCKS)
    net = copy.deepcopy(model.module_).double()
    X = {name: torch.from_numpy(BLOCKS[name]) for name in net.in_features}
    raw = net(X).raw[0].detach().numpy()
    if kind == "regression":
        raw = raw * model._target_scale + model._target_mean
        np.testing.assert_allclose(parts.sum()[:, 0], model.predict(BLOCKS), atol=1e-12)
    if kind == "three":
        raw = raw - raw.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(parts.sum(), raw, atol=1e-5 * np.abs(raw).max())
    assert [str(term) for term in parts.terms][:3] == list(BLOCKS)


@pytest.mark.parametrize("p", [1, 1.5, 2.0, 7.0])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_have_unit_norm_and_lie_in_their_intervals(kind, p):
    model = fit(kind, p=p, max_order=3)
    scores = model.relevance_scores_
    assert float((scores**p).sum() ** (1 / p)) == pytest.approx(1.0, abs=1e-6)
    assert list(scores.index) == [str(term) for term in model.terms_]
    interval = model.relevance_interval_
    assert list(interval.columns) == ["low", "high"]
    assert (interval["low"] <= interval["high"]).all()
    inside = (interval["low"] - 0.1 <= scores) & (scores <= interval["high"] + 0.1)
    assert inside.all()


def test_scores_are_read_off_the_weights_as_predictions_use_them():
    """Proposition A.3 for p = 2 on blocks of unit norm over the training rows."""
    model = fit(p=2.0, max_order=3, n_bootstrap=0, dtype="float64")
    net = model.module_
    features = net.fusion_features(
        Rows({name: torch.from_numpy(BLOCKS[name]) for name in net.in_features}, None, None)
    )[0].split(net.block_sizes, dim=1)
    weights = net.fusion_weights()[0].split(net.block_sizes)
    norms = []
    for block, weight in zip(features, weights, strict=True):
        assert float(block.square().sum(1).mean()) == pytest.approx(1.0)
        norms.append(float(weight.norm()))
    norms = np.array(norms) ** (2 / 3)
    expected = dict(zip(map(str, net.terms), norms / (norms**2).sum() ** 0.5, strict=True))
    for term, score in model.relevance_scores_.items():
        assert score == pytest.approx(expected[term], rel=1e-6)


@pytest.mark.parametrize(
    ("make", "there"),
    [
        (make_additive, ["acoustic", "text", "vision"]),
        (make_bimodal, ["acoustic × text", "acoustic × vision", "text × vision"]),
    ],
)
def test_terms_that_are_not_there_get_nothing(make, there):
    toy = make(1500, random_state=1)
    model = InTenseRegressor(max_order=3, random_state=0, n_bootstrap=0)
    scores = model.fit(toy.data, toy.target).relevance_scores_
    assert scores.drop(there).sum() < 0.02
    assert scores[there].min() > 0.25


def test_a_triple_is_found_and_its_parts_are_exactly_zero(trimodal):
    toy, model = trimodal
    assert model.relevance_scores_["acoustic × text × vision"] > 0.98
    assert (model.relevance_scores_ == 0).any()
    pure = model.decompose(toy.data, purify=True)
    smaller = [i for i, term in enumerate(pure.terms) if term.order < 3]
    assert pure.values[:, smaller].sum(axis=1).std() < 0.1 * toy.target.std()


def test_purified_terms_are_the_pure_effects_of_the_predictor():
    model = fit(max_order=3, dtype="float64")
    X = {name: block[:25] for name, block in BLOCKS.items()}
    pure = model.decompose(X, purify=True)
    effects = modality_effects(model, X, max_order=3)
    for term in pure.terms:
        np.testing.assert_allclose(pure[term], effects[term], atol=1e-9)
    np.testing.assert_allclose(pure.sum(), model.decompose(X).sum(), atol=1e-10)


def test_contributions_have_mean_zero_over_the_training_rows():
    model = fit(max_order=3, dtype="float64", early_stopping=False)
    assert np.abs(model._term_means).max() < 1e-12
    assert np.abs(model.decompose(BLOCKS).values.mean(axis=0)).max() < 1e-12


def test_max_order_1_is_mnl_and_interactions_are_chosen():
    assert [str(t) for t in fit(max_order=1).terms_] == list(BLOCKS)
    assert fit(max_order=None).terms_ == fit(max_order=len(BLOCKS)).terms_
    assert [str(t) for t in fit(interactions=[]).terms_] == list(BLOCKS)
    chosen = fit(interactions=[("video", "text", "audio"), ("video", "audio")])
    assert [str(t) for t in chosen.terms_][3:] == ["audio × video", "audio × text × video"]


def test_the_order_of_modalities_changes_nothing():
    y = make_target(BLOCKS, "regression")
    model = InTenseRegressor(**QUICK | {"max_order": 3, "dtype": "float64"})
    one = clone(model).fit(BLOCKS, y)
    turned = dict(reversed(list(BLOCKS.items())))
    other = clone(model).fit(turned, y)
    np.testing.assert_allclose(other.predict(turned), one.predict(BLOCKS), atol=1e-9)
    for term in one.relevance_scores_.index:
        assert other.relevance_scores_[term] == pytest.approx(one.relevance_scores_[term])


def test_one_seed_one_result_and_pickles_keep_it():
    one, other = fit(), fit()
    np.testing.assert_array_equal(one.predict(BLOCKS), other.predict(BLOCKS))
    np.testing.assert_array_equal(one.relevance_interval_, other.relevance_interval_)
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again.predict(BLOCKS), one.predict(BLOCKS))
    np.testing.assert_array_equal(again.relevance_scores_, one.relevance_scores_)


def test_a_prediction_does_not_depend_on_its_batch():
    model = fit(max_order=3)
    rows = [
        model.predict({name: block[i : i + 1] for name, block in BLOCKS.items()}) for i in range(9)
    ]
    np.testing.assert_allclose(np.concatenate(rows), model.predict(BLOCKS)[:9], rtol=1e-12)


def test_persons_are_drawn_as_a_whole():
    y = make_target(BLOCKS, "binary")
    repeated = {name: np.repeat(block[:30], 3, axis=0) for name, block in BLOCKS.items()}
    groups = np.repeat(np.arange(30), 3)
    model = InTenseClassifier(**QUICK | {"n_bootstrap": 100, "max_order": 1})
    kwargs = {"early_stopping": False}
    rows = clone(model).set_params(**kwargs).fit(repeated, np.repeat(y[:30], 3))
    persons = clone(model).set_params(**kwargs).fit(repeated, np.repeat(y[:30], 3), groups=groups)
    widths = [m.relevance_interval_.diff(axis=1)["high"].sum() for m in (rows, persons)]
    assert widths[1] > 1.3 * widths[0]


def test_intervals_cover_the_scores_of_other_rows():
    """Given the encoders: the fusion layer refitted to new rows has scores within the interval."""
    toy = make_additive(2000, noise=2.0, random_state=0)
    model = InTenseRegressor(max_order=1, random_state=0, n_bootstrap=200, max_epochs=20)
    model.fit(toy.data[:1000], toy.target[:1000])
    interval = model.relevance_interval_
    assert (interval["high"] - interval["low"] < 0.2).all()
    assert (interval["low"] < 1 / 3).sum() >= 2  # the true scores are a third each
    assert (interval["high"] > 1 / 3).sum() >= 2


def noise(n=600):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(n, 3)) for name in ("a", "b")}
    return X, rng.integers(0, 2, n)


def test_scores_of_a_model_that_learned_nothing_come_with_a_warning():
    model = InTenseClassifier(max_epochs=5, random_state=0, n_bootstrap=0, reg_lambda=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(*noise(2000))  # fitting is fine, looking at the scores is not
    with pytest.warns(UserWarning, match=r"On the 200 validation rows .* not reliably better"):
        model.relevance_scores_  # noqa: B018
    model.fit(*noise(300))
    with pytest.warns(UserWarning, match=r"On the 300 rows that folds left out .* not reliably"):
        model.relevance_scores_  # noqa: B018
    X, y = noise()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good = clone(model).set_params(max_epochs=60).fit(X | {"c": y[:, np.newaxis]}, y)
        assert good.relevance_scores_["c"] > 0.5


def test_modalities_that_never_vary_have_no_relevance():
    X = {name: np.ones((90, 2)) for name in BLOCKS}
    y = make_target(BLOCKS, "regression")
    model = InTenseRegressor(**QUICK | {"max_epochs": 3}).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y.mean(), rtol=1e-5)
    with pytest.warns(UserWarning, match="No term contributes anything"):
        assert (model.relevance_scores_ == 0).all()


def test_without_a_fit_there_are_no_scores():
    model = InTenseClassifier()
    assert not hasattr(model, "relevance_scores_")
    with pytest.raises(NotFittedError):
        model.decompose(BLOCKS)


def test_in_searches_and_cross_validation():
    X, y, groups = MultimodalData(BLOCKS), make_target(BLOCKS, "binary"), make_groups()
    model = InTenseClassifier(**QUICK | {"max_epochs": 5, "n_bootstrap": 0})
    grid = {"reg_lambda": [0.01, 0.1], "p": [1.0, 2.0], "normalization": ["iterbn", None]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.5
    assert np.isfinite(cross_val_score(model, X, y, params={"groups": groups}, cv=3)).all()


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_losses(loss):
    toy = make_bimodal(1500, random_state=0)
    # A thousand rows without noise, of nothing but interactions: what "auto" holds against.
    model = InTenseRegressor(loss=loss, interaction_weight=1.0, random_state=0, n_bootstrap=0)
    assert (
        model.fit(toy.data[:1000], toy.target[:1000]).score(toy.data[1000:], toy.target[1000:])
        > 0.95
    )


def test_identity_reads_features_as_they_are():
    model = fit(
        encoder="identity",
        input_scaling="standard",
        max_order=1,
        n_bootstrap=0,
        reg_lambda=1e-4,
        max_epochs=200,
    )
    assert model.module_.perceptrons is None
    block = {name: block.copy() for name, block in BLOCKS.items()}
    first = model.decompose(block)["text"]
    block["text"] = block["text"] * 2
    second = model.decompose(block)["text"]
    block["text"] = block["text"] * 2
    third = model.decompose(block)["text"]
    np.testing.assert_allclose(third - second, 2 * (second - first), atol=1e-10)  # linear
    mixed = fit(encoder={"audio": "identity"})
    assert mixed.module_.widths == [3, 16, 16]


def test_weight_decay_is_for_encoders_and_the_penalty_for_the_fusion():
    groups = {}

    class Spy(Callback):
        def on_train_begin(self, net, **kwargs):
            names = {id(p): name for name, p in net.module_.named_parameters()}
            for group in net.optimizer_.param_groups:
                groups.update({names[id(p)]: group["weight_decay"] for p in group["params"]})

    fit(weight_decay=0.5, max_epochs=1, n_bootstrap=0, net_params={"callbacks": [Spy()]})
    assert groups.pop("projection") == 0.5
    for name, decay in groups.items():
        assert decay == (0.0 if "bias" in name or name.startswith("fusion") else 0.5), name


def test_scores_are_drawn():
    model = fit()
    display = RelevanceDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.interval, model.relevance_interval_)
    plt.close(display.figure_)


BAD = {
    "p below one": ({"p": 0.5}, BLOCKS, r"'p' parameter .* \[1"),
    "p infinite": ({"p": float("inf")}, BLOCKS, "'p' parameter"),
    "unknown modality": (
        {"interactions": [("text", "voice")]},
        BLOCKS,
        r"interactions names \['voice'\], but X has the modalities \['text', 'audio', 'video'\]",
    ),
    "a name": ({"interactions": ["text"]}, BLOCKS, r"tuples of modalities, .* got 'text'"),
    "one modality": ({"interactions": [("text",)]}, BLOCKS, "of two or more modalities, each once"),
    "twice": (
        {"interactions": [("text", "audio"), ("audio", "text")]},
        BLOCKS,
        "a set of modalities twice",
    ),
    "order": ({"max_order": 4}, BLOCKS, r"max_order=4 .* X has 3 \(text, audio, video\); use .* 3"),
    "budget": (
        {"max_order": 3, "tensor_dim": 20},
        BLOCKS,
        r"text × video would have tensor_dim \*\* 3 = 8,000 .*than 4,096; use tensor_dim <= 16",
    ),
    "many": (
        {"max_order": 3, "tensor_dim": 12},
        {f"m{i}": BLOCKS["text"] for i in range(9)},
        r"120 interactions would have 150,336 components .* use tensor_dim <= 5",
    ),
    "too many": (
        {"max_order": 4},
        {f"m{i}": BLOCKS["text"] for i in range(12)},
        "793 terms up to order 4, more than 512",
    ),
    "one row a batch": ({"batch_size": 1}, BLOCKS, "batch_size=1: .* at least two rows"),
    "a step count of zero": (
        {},
        BLOCKS | {"speech": np.zeros((90, 0, 3))},
        r"'speech' has shape \(90, 0, 3\), .* no size being 0",
    ),
    "normalization": ({"normalization": "batch"}, BLOCKS, "'normalization' parameter"),
}


@pytest.mark.parametrize(("params", "X", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_is_refused_before_work_is_done(params, X, message):
    model = InTenseClassifier(**params)
    with pytest.raises(ValueError, match=message) as caught:
        model.fit(X, make_target(BLOCKS, "binary"))
    assert not hasattr(model, "module_")
    assert "\n" not in str(caught.value)


def test_two_rows_are_enough_and_one_is_predicted():
    X = {name: block[:2] for name, block in BLOCKS.items()}
    model = InTenseClassifier(max_epochs=2, random_state=0, n_bootstrap=5).fit(X, ["a", "b"])
    assert model.predict({name: block[:1] for name, block in X.items()}).shape == (1,)


def test_sequences_of_no_steps_are_absent():
    rng = np.random.default_rng(0)
    steps = [rng.normal(size=(length, 2)) for length in rng.integers(0, 4, 90)]
    X = BLOCKS | {"speech": steps}
    y = make_target(BLOCKS, "binary")
    model = InTenseClassifier(**QUICK | {"max_epochs": 3}).fit(X, y)
    empty = np.array([len(step) == 0 for step in steps])
    absent = model.decompose(X).absent[:, [str(t) for t in model.terms_].index("speech")]
    np.testing.assert_array_equal(absent, empty)
    with pytest.raises(ValueError, match=r"'speech' in .* of 90 rows"):
        clone(model).set_params(missing="error").fit(X, y)


def make_gaps(n=130, share=0.6):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(n, 3)) for name in "abc"}
    y = X["a"][:, 0] + X["b"][:, 0] * X["c"][:, 0]
    for block in X.values():
        block[rng.random(n) < share] = np.nan
    return X, y


@pytest.mark.filterwarnings("ignore:.* rows have no modality that a term could read:UserWarning")
@pytest.mark.parametrize("params", [{}, {"modality_dropout": 0.5}, {"max_order": 3}])
def test_batches_in_which_nothing_can_be_combined(params):
    """130 rows leave a last batch of two, which may lack a modality, or every pair of them."""
    X, y = make_gaps(share=0.6 if "modality_dropout" not in params else 0.0)
    model = InTenseRegressor(max_epochs=10, n_bootstrap=0, random_state=0, **params).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert all(np.isfinite(epoch["train_loss"]) for epoch in model.history_)


def test_a_score_is_that_of_the_rows_that_have_the_modality():
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(800, 1)) for name in "ab"}
    y = X["a"][:, 0] + X["b"][:, 0]
    X["a"][:600] = np.nan
    y[:600] = X["b"][:600, 0]
    model = InTenseRegressor(max_order=1, n_bootstrap=0, random_state=0, reg_lambda=1e-4)
    assert model.fit(X, y).relevance_scores_["a"] == pytest.approx(0.5, abs=0.1)


def test_without_held_out_rows_the_training_rows_are_asked():
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(100, 2)) for name in "ab"}
    model = InTenseRegressor(max_epochs=2, n_bootstrap=0, early_stopping=False, random_state=0)
    model.set_params(reg_lambda=0.05, max_order=1).fit(X, rng.normal(size=100))
    with pytest.warns(UserWarning, match="On the 100 training rows"):
        model.relevance_scores_  # noqa: B018


def test_rows_of_one_person_are_no_independent_evidence():
    """A target of persons, and features that tell persons apart: nothing holds for others."""
    found = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        person = np.repeat(np.arange(20), 40)
        X = {name: rng.normal(size=(20, 2))[person] for name in "ab"}
        y = rng.normal(size=20)[person]
        model = InTenseRegressor(max_epochs=20, n_bootstrap=0, random_state=seed)
        model.fit(X, y, groups=person)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.relevance_scores_  # noqa: B018
        found += len(caught)
    assert found >= 4


def test_persons_scatter_as_much_when_some_rows_are_left_out(monkeypatch):
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(12), 50)
    X = {name: rng.normal(size=(600, 2)) for name in "ab"}
    slopes = rng.normal(size=(2, 12))[:, person]
    y = slopes[0] * X["a"][:, 0] + slopes[1] * X["b"][:, 0]
    model = InTenseRegressor(max_order=1, max_epochs=20, random_state=0, early_stopping=False)
    whole = clone(model).fit(X, y, groups=person).relevance_interval_
    monkeypatch.setattr("sklearn_mmfuse.estimators._intense.MAX_BOOTSTRAP_VALUES", 2**21)
    part = clone(model).fit(X, y, groups=person).relevance_interval_
    widths = [(interval["high"] - interval["low"]).mean() for interval in (whole, part)]
    assert widths[1] > 0.7 * widths[0]


def test_what_callbacks_see_predicts_row_by_row():
    seen = []

    class Look(FitCallback):
        def setup(self, estimator, context):
            """Nothing to set up."""

        def on_fit_task_begin(self, estimator, context, **kwargs):
            """Nothing to do yet."""

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **kwargs):
            if context.task_name == "epoch":
                few = {name: block[:3] for name, block in BLOCKS.items()}
                seen.append(fitted_estimator.predict(BLOCKS)[:3] - fitted_estimator.predict(few))

        def teardown(self, estimator, context):
            """Nothing to tear down."""

    model = InTenseRegressor(**QUICK | {"max_epochs": 2}).set_callbacks(Look())
    model.fit(BLOCKS, make_target(BLOCKS, "regression"))
    assert len(seen) == 2
    np.testing.assert_allclose(seen, 0, atol=1e-12)


def test_a_failed_refit_leaves_no_scores():
    model = fit()
    model.set_params(learning_rate=1e30, max_grad_norm=None)
    with pytest.raises(FloatingPointError):
        model.fit(BLOCKS, make_target(BLOCKS, "regression"))
    assert not hasattr(model, "relevance_scores_")
    assert not hasattr(model, "relevance_interval_")


def test_scales_that_cannot_be_fitted_are_told():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(80, 2)) * 1e6, "b": rng.normal(size=(80, 2))}
    model = InTenseRegressor(
        normalization=None, input_scaling=None, max_epochs=2, n_bootstrap=0, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="did not converge in 2000 steps"):
        model.fit(X, X["b"][:, 0])


def test_interactions_may_be_an_array_and_a_huge_tensor_is_refused_at_once():
    chosen = fit(interactions=np.array([["text", "audio"]]), max_epochs=1)
    assert str(chosen.terms_[-1]) == "audio × text"
    with pytest.raises(ValueError, match="use tensor_dim <= 64"):
        fit(tensor_dim=10**9)
    fit(batch_size=1, normalization=None, max_epochs=1)


@pytest.mark.parametrize(
    ("kind", "expected"), [("regression", [20, 5, 1, 1]), ("binary", [40, 10, 2, 1])]
)
def test_interactions_count_more_in_training_where_rows_are_few(kind, expected):
    model, rows = KINDS[kind](), (100, 1600, 40_000, 400_000)
    assert [model._interaction_weight(n) for n in rows] == expected
    assert KINDS[kind](interaction_weight=2)._interaction_weight(100) == 2.0


def test_with_few_noisy_rows_interactions_that_are_not_there_spoil_nothing():
    toy = make_additive(1300, n_features=4, noise=2.0, random_state=0)
    train, test = np.arange(300), np.arange(300, 1300)
    common = {"n_bootstrap": 0, "early_stopping": False, "random_state": 0}
    scores = {
        weight: InTenseRegressor(interaction_weight=weight, **common)
        .fit(toy.data[train], toy.target[train])
        .score(toy.data[test], toy.target[test])
        for weight in (1.0, "auto")
    }
    alone = InTenseRegressor(max_order=1, **common).fit(toy.data[train], toy.target[train])
    best = alone.score(toy.data[test], toy.target[test])
    assert scores["auto"] > scores[1.0] + 0.1
    assert scores["auto"] > best - 0.02


@pytest.mark.parametrize("seed", [5, 6])
def test_interactions_that_nothing_announces_are_found(seed):
    toy = make_redundant_interactions(1800, noise=0.3, random_state=seed)
    model = InTenseRegressor(n_bootstrap=0, random_state=0).fit(toy.data[:800], toy.target[:800])
    assert model.score(toy.data[800:], toy.target[800:]) > 0.85


@pytest.mark.parametrize("n_train", [700, 400])
def test_one_factor_takes_back_what_the_penalty_shrinks_and_leaves_scores(monkeypatch, n_train):
    toy = make_bimodal(1600, noise=0.5, random_state=0)
    y = (toy.target > 0).astype(int)
    train, test = np.arange(n_train), np.arange(n_train, 1600)
    params = {"random_state": 0, "n_bootstrap": 0, "max_epochs": 40}
    model = InTenseClassifier(**params).fit(toy.data[train], y[train])
    monkeypatch.setattr(_intense, "best_factor", lambda *_, **__: 1.0)
    shrunk = InTenseClassifier(**params).fit(toy.data[train], y[train])
    np.testing.assert_allclose(model.relevance_scores_, shrunk.relevance_scores_)
    own, theirs = model.decompose(toy.data[test]), shrunk.decompose(toy.data[test])
    there = np.abs(theirs.values) > 1e-2
    factors = own.values[there] / theirs.values[there]
    assert factors.std() < 1e-3 * factors.mean()
    assert factors.mean() > 1.2
    losses = [log_loss(y[test], m.predict_proba(toy.data[test])) for m in (model, shrunk)]
    assert losses[0] < losses[1]


def test_the_factor_is_that_of_the_least_loss_on_rows_held_out():
    target = torch.tensor([2.0, -4.0, 6.0]).double()
    contributions = torch.tensor([[1.0], [-2.0], [3.0]]).double()
    bias = torch.tensor([[0.5], [0.5], [-1.0]]).double()  # of two nets
    for times, expected in ((1.0, 2.0), (4.0, 1.0)):  # what would have to shrink stays
        raw = bias + times * contributions
        told = Predictions("", raw, bias, target + bias[:, 0], torch.ones(3).double(), None)
        assert best_factor(SquaredError(), told) == pytest.approx(expected, rel=1e-3)
    free = best_factor(SquaredError(), told, may_shrink=True)
    assert free == pytest.approx(0.5, rel=1e-3)


def test_of_few_rows_of_noise_next_to_nothing_is_predicted():
    X, y = noise(200)
    model = InTenseClassifier(random_state=0, n_bootstrap=0).fit(X, y)
    alone = InTenseClassifier(random_state=0, n_bootstrap=0, early_stopping=False).fit(X, y)
    spreads = [m.predict_proba(X)[:, 1].std() for m in (model, alone)]
    assert spreads[0] < 0.05 < spreads[1]


def test_rows_that_folds_left_out_are_predicted_by_nets_that_have_not_seen_them():
    toy = make_bimodal(300, noise=0.5, random_state=0)
    y, groups = (toy.target > 0).astype(int), np.arange(300) // 7
    model = InTenseClassifier(random_state=0, n_bootstrap=0, max_epochs=10)
    plan = model._plan(toy.data, y, None, groups, Shared())
    choose_epochs(model._build_net, [plan])
    fusion = fit_last_layer(plan.net, plan.train, plan.loss, plan.rng)
    told = predict_by_last_layer(plan, fusion)
    assert len(told.raw) == 300
    start = 0
    for fold, net in zip(plan.folds, plan.fold_nets, strict=True):
        n_rows = int((fold.validation.weight > 0).sum())
        own = fold.validation.picked[:n_rows]
        X = {name: block.index_select(0, own) for name, block in fold.validation.blocks.items()}
        values, constant = predict_network(net, X)
        here = slice(start, start + n_rows)
        expected = values.sum(axis=2)[0] + constant
        np.testing.assert_allclose(told.raw[here], expected, atol=1e-9)
        np.testing.assert_allclose(told.bias[here], np.resize(constant, (n_rows, 1)), atol=1e-6)
        np.testing.assert_array_equal(told.target[here], y[own])
        np.testing.assert_array_equal(told.groups[here], groups[own])
        start += n_rows


def test_of_many_rows_some_are_left_to_the_last_fit(monkeypatch):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(400, 3)) for name in ("a", "b")}
    y = X["a"][:, 0] - X["b"][:, 1]
    groups = np.arange(400) // 2
    settings = {"max_epochs": 10, "random_state": 0, "early_stopping": True, "n_bootstrap": 5}
    whole = InTenseRegressor(**settings).fit(X, y, groups=groups)
    n_features = sum(whole.module_.block_sizes)
    monkeypatch.setattr(_last_layer, "MAX_REFIT_VALUES", 250 * n_features)
    some = InTenseRegressor(**settings).fit(X, y, groups=groups)
    assert not np.array_equal(some.predict(X), whole.predict(X))
    assert some.score(X, y) > whole.score(X, y) - 0.05
    np.testing.assert_allclose(some.relevance_scores_, whole.relevance_scores_, atol=0.1)
    assert some.relevance_interval_.notna().all(axis=None)
    one_person = InTenseRegressor(**settings | {"early_stopping": False})
    one_person.fit(X, y, groups=np.zeros(400))  # of whom no others can be drawn: rows are
    assert one_person.relevance_interval_.notna().all(axis=None)

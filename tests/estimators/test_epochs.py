"""For how many epochs few rows train: folds tell, and then all rows are trained on."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, ShuffleSplit

from sklearn_mmfuse import (
    FusionClassifier,
    InTenseClassifier,
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    MultimodalData,
    MutualDependencyClassifier,
    RoutingClassifier,
    SMURFRegressor,
)
from sklearn_mmfuse._training import DivergedError, as_predictor, fit_network, predict_network
from sklearn_mmfuse._training._split import cross_validation_splits
from sklearn_mmfuse.estimators import _epochs
from sklearn_mmfuse.estimators._epochs import choose_epochs
from sklearn_mmfuse.estimators._fitting import Shared
from sklearn_mmfuse.losses import Objective
from sklearn_mmfuse.model_selection import MultimodalSearchCV
from tests.estimators._data import make_blocks, make_groups, make_target

N = 120
QUICK = {"max_epochs": 20, "n_iter_no_change": 4, "hidden_layer_sizes": (6,), "random_state": 0}
EXACT = QUICK | {"dtype": "float64", "batch_size": 16, "learning_rate": 0.01}


def plan_of(model, X, y, groups=None, weight=None):
    return model._plan(X, y, weight, groups, Shared())


def noisy_target(blocks, kind):
    """Return a target that is soon learned by heart."""
    y, rng = make_target(blocks, kind), np.random.default_rng(0)
    return np.where(rng.random(len(y)) < 0.6, rng.permutation(y), y)


def uneven_groups(n):
    """Persons of one to some twenty samples."""
    sizes = np.resize([1, 2, 3, 5, 8, 13, 21], 40)
    return np.repeat(np.arange(40), sizes)[:n]


def loss_of(plan, raw, watched):
    """Return the loss of all watched rows, a row more than there are being of any class."""
    loss, target = plan.loss, watched.y
    if plan.loss.link == "identity":
        return loss.per_sample(raw, target) @ watched.weight
    classes = range(max(2, raw.shape[-1]))
    any_class = sum(loss.per_sample(raw, torch.full_like(target, k)) for k in classes)
    doubt = 1.0 / (sum(torch.count_nonzero(f.validation.weight) for f in plan.folds) + 1)
    own = (1 - doubt) * loss.per_sample(raw, target) + doubt * any_class / len(classes)
    return own @ watched.weight


def losses_of_folds(plan, factors):
    """Return the loss of all rows left out `(epochs, factors)`, by skorch, one fold at a time."""
    n_steps = -(-len(plan.train) // plan.options.batch_size)
    total = weights = 0.0
    for fold in plan.folds:
        net = copy.deepcopy(plan.net)
        net.set_input_statistics(fold.statistics)
        net.training_parts()[0].bias.copy_(fold.bias)
        options = replace(plan.options, batch_size=-(-len(fold.train) // n_steps))
        there = fold.validation.weight > 0  # no padding
        watched = fold.validation.take(torch.nonzero(there).squeeze(1)).double()
        raw = []

        def predict(net=net, fold=fold, watched=watched, raw=raw):
            now = as_predictor(net, fold.train)
            values, bias = predict_network(now, watched.X, watched.present)
            raw.append(torch.from_numpy(values.sum(axis=2)[0] + bias))

        fit_network(
            net,
            fold.train,
            None,
            Objective(plan.loss, plan.penalties),
            options,
            seed=plan.seed,
            on_epoch=(lambda: None, predict),
        )
        losses = [
            [float(loss_of(plan, fold.bias + f * (own - fold.bias), watched)) for f in factors]
            for own in raw
        ]
        total = total + np.array(losses)
        weights += float(watched.weight.sum())
    return total / weights


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (MRORegressor(**EXACT), "regression"),
        (MROClassifier(**EXACT, dropout=0.2), "multiclass"),
        (SMURFRegressor(**EXACT), "regression"),
        (InTenseClassifier(**EXACT, n_bootstrap=0), "binary"),
        (RoutingClassifier(**EXACT, concept_dim=4), "binary"),
        (FusionClassifier(**EXACT), "binary"),
        (MutualDependencyClassifier(**EXACT, n_critic_steps=2, dependency="kl"), "binary"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_epochs_are_where_the_loss_of_all_rows_left_out_is_lowest(model, kind):
    blocks = make_blocks(N)
    y, groups = noisy_target(blocks, kind), uneven_groups(N)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=N)
    plan = plan_of(model, blocks, y, groups, weight)
    factors = [1.0] if kind == "regression" else 2.0 ** (np.arange(-12, 9) / 4)
    losses = losses_of_folds(plan, factors)
    mean = losses.min(axis=1)
    best, length = 0, 0
    while length < model.max_epochs and length - best <= model.n_iter_no_change:
        best = length if mean[length] < mean[best] else best
        length += 1
    padded = np.pad(losses[:length], ((2, 2), (0, 0)), mode="edge")
    smooth = np.array([padded[t : t + 5].mean(axis=0) for t in range(length)])
    end = int(smooth.min(axis=1).argmin()) + 1
    model.fit(blocks, y, groups=groups, sample_weight=weight)
    assert model.n_iter_ == model.best_epoch_ == end
    told = [row["valid_loss"] for row in model.history_]
    np.testing.assert_allclose(told, mean[:end], rtol=1e-6)
    choose_epochs(model._build_net, [plan])
    assert plan.factor == factors[smooth[end - 1].argmin()]


def test_log_odds_are_multiplied_by_what_suits_rows_left_out_and_still_add_up():
    blocks = make_blocks(N)
    y = noisy_target(blocks, "multiclass")
    model = FusionClassifier(**EXACT).fit(blocks, y)
    plan = plan_of(FusionClassifier(**EXACT), blocks, y)
    choose_epochs(model._build_net, [plan])
    assert plan.factor < 0.9
    rows = plan.train.double()
    values, bias = predict_network(model.module_, rows.X, rows.present)
    raw = values.sum(axis=2)[0] + bias
    shares = np.log(np.bincount(plan.data.target.astype(int)) / N)
    constant = shares - shares.mean()
    expected = constant + plan.factor * (raw - raw.mean(axis=1, keepdims=True) - constant)
    np.testing.assert_allclose(model.decision_function(blocks), expected, atol=1e-9)
    np.testing.assert_allclose(model.decompose(blocks).sum(), expected, atol=1e-9)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(blocks), model.predict_proba(blocks))
    pure = MROClassifier(**EXACT).fit(blocks, y)
    np.testing.assert_allclose(
        pure.decompose(blocks, purify=True).sum(), pure.decompose(blocks).sum(), atol=1e-9
    )


def test_a_refit_starts_from_a_factor_of_one():
    blocks = make_blocks(N)
    y = noisy_target(blocks, "binary")
    model = FusionClassifier(**EXACT).fit(blocks, y)
    first = model.predict_proba(blocks)
    np.testing.assert_array_equal(model.fit(blocks, y).predict_proba(blocks), first)


@pytest.mark.parametrize("optimization", ["mro", "smro"])
def test_all_rows_are_trained_on_and_schedules_are_those_of_a_whole_training(optimization):
    blocks = make_blocks(N)
    y = noisy_target(blocks, "regression")
    model = MRORegressor(**EXACT, optimization=optimization).fit(blocks, y)
    plan = plan_of(MRORegressor(**EXACT, optimization=optimization), blocks, y)
    choose_epochs(model._build_net, [plan])
    ends = plan.options.stop_after
    assert model.n_iter_ == sum(ends) < 20 * len(ends)
    assert len(ends) == (2 if optimization == "smro" else 1)
    assert len(plan.train) == N
    objective = Objective(plan.loss, plan.penalties)
    fit_network(plan.net, plan.train, None, objective, plan.options, seed=plan.seed)
    for name, tensor in plan.net.state_dict().items():
        torch.testing.assert_close(model.module_.state_dict()[name], tensor, atol=1e-9, rtol=0)


def test_persons_are_on_one_side_and_every_row_is_watched_once():
    blocks, groups = make_blocks(N), make_groups(N)
    y = make_target(blocks, "binary")
    plan = plan_of(MROClassifier(**QUICK), blocks, y, groups)
    watched = []
    for fold in plan.folds:
        own = fold.validation.picked[fold.validation.weight > 0].numpy()
        assert not set(groups[own]) & set(groups[fold.train.picked.numpy()])
        watched += own.tolist()
    assert len(plan.folds) == 5
    assert sorted(watched) == list(range(N))


def test_rows_without_weight_are_nowhere():
    blocks = make_blocks(N)
    y, weight = make_target(blocks, "binary"), np.repeat([0.0, 1.0], [10, N - 10])
    plan = plan_of(MROClassifier(**QUICK), blocks, y, weight=weight)
    for fold in plan.folds:
        assert fold.train.picked.min() >= 10
        assert fold.validation.picked.min() >= 10


@pytest.mark.parametrize(
    ("params", "fit_params", "n"),
    [
        ({}, {}, 31),
        ({"early_stopping": False}, {}, N),
        ({}, {"groups": np.zeros(N)}, N),
        ({}, {"groups": np.zeros(600)}, 600),
        ({"net_params": {"iterator_train__num_workers": 0}}, {}, N),
        ({"encoder": lambda: torch.nn.Linear(4, 2)}, {}, N),
    ],
    ids=[
        "few rows",
        "asked for",
        "one person",
        "one person, many rows",
        "net_params",
        "own module",
    ],
)
def test_who_trains_for_all_epochs(params, fit_params, n):
    blocks = make_blocks(n)
    blocks["audio"] = blocks["text"]
    plan = plan_of(
        FusionClassifier(**QUICK, fusion="late", **params),
        blocks,
        make_target(blocks, "binary"),
        fit_params.get("groups"),
    )
    assert not plan.folds
    assert plan.validation is None
    assert plan.n_epochs == 20


def test_sequences_have_folds_on_demand():
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    blocks["audio"] = np.random.default_rng(0).normal(size=(N, 4, 2))
    assert not plan_of(MRORegressor(**QUICK), blocks, y).folds
    model = MRORegressor(**QUICK | {"max_epochs": 3}, early_stopping="cv")
    assert len(plan_of(model, blocks, y).folds) == 5
    assert "valid_loss" in model.fit(blocks, y).history_[0]


def test_from_2000_rows_on_others_watch():
    blocks = make_blocks(2000)
    y = make_target(blocks, "binary")
    fewer = {name: block[:-1] for name, block in blocks.items()}
    plan = plan_of(MROClassifier(**QUICK), fewer, y[:-1])
    assert len(plan.folds) == 2  # of five
    assert [len(fold.validation) for fold in plan.folds] == [400, 400]
    assert plan.validation is None
    assert len(plan.train) == 1999
    plan = plan_of(MROClassifier(**QUICK), blocks, y)
    assert not plan.folds
    assert len(plan.validation) == 200
    plan = plan_of(MROClassifier(**QUICK, early_stopping="cv"), blocks, y)
    assert len(plan.folds) == 5
    assert plan.validation is None


@pytest.mark.parametrize(
    ("method", "most"),
    [
        (MROClassifier, 1999),
        (MRORegressor, 499),
        (InTenseRegressor, 1999),
        (RoutingClassifier, 499),
        (SMURFRegressor, 1999),
    ],
)
def test_how_many_rows_have_folds_depends_on_what_they_cost(method, most):
    assert f'"cv" with 32 to {most:,} samples of vectors' in method.__doc__
    for n in (most, most + 1):
        blocks = make_blocks(n)
        kind = (
            "regression" if method in (MRORegressor, SMURFRegressor, InTenseRegressor) else "binary"
        )
        plan = plan_of(method(**QUICK), blocks, make_target(blocks, kind))
        assert bool(plan.folds) == (n == most)


@pytest.mark.parametrize("n", [499, 500])
@pytest.mark.parametrize(
    ("how", "params"),
    [
        ("a class of one row", {}),
        ("net_params", {"net_params": {"iterator_train__num_workers": 0}}),
        ("sequences", {}),
    ],
)
def test_without_folds_rows_watch_where_there_are_enough(how, params, n):
    blocks = make_blocks(n)
    y = make_target(blocks, "binary")
    if how == "a class of one row":
        y[7] = 2
    if how == "sequences":
        blocks["audio"] = np.random.default_rng(0).normal(size=(n, 4, 2))
    plan = plan_of(MROClassifier(**QUICK, **params), blocks, y)
    assert not plan.folds
    assert (plan.validation is None) == (n < 500)
    expected = plan_of(MROClassifier(**QUICK, **params, early_stopping=n == 500), blocks, y)
    assert plan.seed == expected.seed  # trying folds has drawn nothing
    np.testing.assert_array_equal(plan.numbers, expected.numbers)


def test_folds_may_be_those_of_a_splitter():
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    splitter = ShuffleSplit(3, test_size=0.4, random_state=0)
    model = MRORegressor(**QUICK, early_stopping="cv", validation_fraction=splitter)
    plan = plan_of(model, blocks, y)
    for fold, (train, validation) in zip(plan.folds, splitter.split(y), strict=True):
        assert fold.train.picked.tolist() == train.tolist()
        assert fold.validation.picked.tolist() == validation.tolist()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"net_params": {"iterator_train__num_workers": 0}}, "nets with net_params cannot be"),
        (
            {"validation_fraction": ShuffleSplit(1, random_state=0)},
            "validation_fraction and groups give 1, and 1 have training rows of every class",
        ),
        ({"encoder": lambda: torch.nn.Linear(4, 2)}, "modules of your own and language models"),
    ],
    ids=["net_params", "one fold", "own module"],
)
def test_folds_that_cannot_be_are_refused_where_they_were_asked_for(params, message):
    blocks = make_blocks(N)
    blocks["audio"] = blocks["text"]
    model = FusionClassifier(**QUICK, fusion="late", early_stopping="cv", **params)
    with pytest.raises(ValueError, match=f"at least two folds side by side: {message}"):
        model.fit(blocks, make_target(blocks, "binary"))
    assert not hasattr(model, "module_")


def test_a_critic_has_no_folds_where_modalities_are_absent():
    blocks = make_blocks(N)
    y = make_target(blocks, "binary")
    blocks["audio"][:3] = np.nan
    kwargs = QUICK | {"max_epochs": 2}
    assert not plan_of(MutualDependencyClassifier(**kwargs), blocks, y).folds
    with pytest.raises(ValueError, match="critics cannot be where modalities are absent"):
        MutualDependencyClassifier(**kwargs, early_stopping="cv").fit(blocks, y)


def test_what_a_critic_finds_is_told_of_rows_that_folds_left_out():
    blocks = make_blocks(N)
    y = make_target(blocks, "binary")
    model = MutualDependencyClassifier(**QUICK, dependency="kl").fit(blocks, y)
    plan = plan_of(MutualDependencyClassifier(**QUICK, dependency="kl"), blocks, y)
    assert plan.folds
    known = ["epoch", "train_loss", "dependency", "valid_loss", "valid_dependency", "dur"]
    assert list(model.history_[0]) == known
    # Rows left out of different folds: less than on the training rows, in the end.
    assert model.history_[-1]["valid_dependency"] < model.history_[-1]["dependency"]


def test_one_group_is_refused_where_folds_were_asked_for():
    blocks = make_blocks(N)
    with pytest.raises(ValueError, match="`groups` has a single value"):
        MROClassifier(**QUICK, early_stopping="cv").fit(
            blocks, make_target(blocks, "binary"), groups=np.zeros(N)
        )


def test_folds_that_do_not_fit_into_memory_side_by_side_are_for_who_asks(monkeypatch):
    monkeypatch.setattr(_epochs, "how_many", lambda plan: 4)
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    assert not plan_of(MRORegressor(**QUICK), blocks, y).folds
    assert len(plan_of(MRORegressor(**QUICK, early_stopping="cv"), blocks, y).folds) == 5


def test_a_fold_that_lacks_a_modality_is_left_out():
    blocks = make_blocks(N)
    name = next(iter(blocks))
    blocks[name][1:] = np.nan  # one row alone has it
    plan = plan_of(MROClassifier(**QUICK), blocks, np.resize(["a", "b"], N))
    assert len(plan.folds) == 4


@pytest.mark.parametrize("alone", ["one row", "one person"])
def test_a_class_that_only_one_fold_has_leaves_no_folds(alone):
    blocks, groups = make_blocks(N), np.arange(N) // 4
    y = np.resize(["a", "b"], N)
    y[: 1 if alone == "one row" else 4] = "c"
    params = {"groups": None if alone == "one row" else groups}
    assert not plan_of(MROClassifier(**QUICK), blocks, y, **params).folds
    with pytest.raises(ValueError, match="a class has its rows in a single fold, or a single gro"):
        MROClassifier(**QUICK, early_stopping="cv").fit(blocks, y, **params)
    y[-1] = "c"
    plan = plan_of(MROClassifier(**QUICK | {"random_state": 1}), blocks, y, **params)
    assert len(plan.folds) == 5


def test_a_rare_class_is_as_rare_as_it_was():
    """Whatever nets of noise say, and however sure they are."""
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(200, 3)), "b": rng.normal(size=(200, 5))}
    groups = np.arange(200) // 5
    y = (groups % 20 == 0).astype(int)  # two of forty persons
    for model in (MROClassifier(random_state=0), RoutingClassifier(random_state=0)):
        p = model.fit(X, y, groups=groups).predict_proba(X)[:, 1]
        assert 0.02 < np.median(p) < 0.1, p
        assert p.max() < 0.5


@pytest.mark.parametrize("method", [MROClassifier, InTenseClassifier, RoutingClassifier])
def test_no_number_of_rows_makes_a_net_infinitely_sure(method):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 150)
    X = {"a": rng.normal(size=(150, 2)), "b": rng.normal(size=(150, 3))}
    X["a"][:, 0] += 6 * y - 3
    sure = np.abs(method(random_state=0).fit(X, y).decision_function(X))
    assert 3 < np.median(sure) < 12


def test_folds_of_unequal_sizes_train_on_all_their_rows():
    blocks = make_blocks(N)
    y = np.resize(["a", "b", "c"], N)
    groups = np.repeat([0, 1, 2, 3, 4], [48, 18, 18, 18, 18])
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=N)
    plan = plan_of(MROClassifier(**QUICK), blocks, y, groups, weight)
    assert len(plan.folds) == 5
    for fold in plan.folds:
        rows = fold.train.picked.numpy()
        assert len(rows) == 102
        left_out = set(fold.validation.picked.numpy())
        assert set(rows) == set(range(N)) - left_out
        total = np.bincount(rows, weights=fold.train.weight.numpy())[np.unique(rows)]
        np.testing.assert_allclose(total / weight[np.unique(rows)], total[0] / weight[rows.min()])
        assert fold.train.weight.mean() == pytest.approx(1.0)


def test_rows_that_a_split_names_more_often_keep_their_targets():
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    rng = np.random.default_rng(0)
    drawn = rng.integers(N, size=N)
    split = drawn, np.setdiff1d(np.arange(N), drawn)
    plan = plan_of(
        MRORegressor(**EXACT, early_stopping=True, validation_fraction=[split]), blocks, y
    )
    for name, block in blocks.items():
        np.testing.assert_array_equal(plan.train.X[name], block[drawn])
    np.testing.assert_allclose(plan.train.y, (y[drawn] - y[drawn].mean()) / y[drawn].std())


def test_a_split_without_weight_on_one_side_is_no_fold():
    blocks = make_blocks(N)
    y, rows = make_target(blocks, "regression"), np.arange(N)
    splits = [(rows[rows % 4 != k], rows[rows % 4 == k]) for k in range(4)]
    params = {"early_stopping": "cv", "validation_fraction": splits}
    plan = plan_of(MRORegressor(**QUICK, **params), blocks, y, weight=1.0 * (rows % 4 != 0))
    assert len(plan.folds) == 3


def test_a_group_of_nearly_all_rows_leaves_no_folds():
    blocks, groups = make_blocks(N), np.r_[np.zeros(N - 1), 1]
    assert not plan_of(
        MRORegressor(**QUICK), blocks, make_target(blocks, "regression"), groups
    ).folds


@pytest.mark.parametrize("n", [N, 600])
def test_max_epochs_of_net_params_wins(n):
    blocks = make_blocks(n)
    y = make_target(blocks, "regression")
    assert MRORegressor(**QUICK, net_params={"max_epochs": 3}).fit(blocks, y).n_iter_ == 3


def test_net_params_that_say_nothing_change_nothing():
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    ours = MRORegressor(**EXACT).fit(blocks, y)
    theirs = MRORegressor(**EXACT, net_params={}).fit(blocks, y)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.predict(blocks), theirs.predict(blocks), atol=1e-9)


@pytest.mark.parametrize("n_members", [1, 2])
def test_nets_are_those_of_a_training_without_folds_that_takes_as_long(n_members):
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")  # without noise: the longer, the better
    params = EXACT | {"max_epochs": 4, "learning_rate": 1e-3, "n_members": n_members}
    ours = MRORegressor(**params).fit(blocks, y)
    assert ours.n_iter_ == 4
    alone = MRORegressor(**params, early_stopping=False).fit(blocks, y)
    np.testing.assert_array_equal(ours.predict(blocks), alone.predict(blocks))


@pytest.mark.parametrize("bootstrap", [False, True])
def test_all_nets_of_an_ensemble_train_as_long(bootstrap):
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    alone = MRORegressor(**QUICK).fit(blocks, y)
    several = MRORegressor(**QUICK, n_members=3, bootstrap=bootstrap).fit(blocks, y)
    epochs = [max(r["epoch"] for r in several.history_ if r["member"] == e) for e in range(3)]
    assert epochs == [alone.n_iter_] * 3
    assert all("valid_loss" in row for row in several.history_)


def test_a_search_finds_what_single_fits_find():
    blocks = make_blocks(N)
    y, groups = make_target(blocks, "regression"), np.arange(N) // 4
    grid = {"learning_rate": [1e-3, 1e-2], "weight_decay": [0.1, 1.0], "batch_size": [16, 32]}
    base, cv = MRORegressor(**EXACT), GroupKFold(3)
    ours = MultimodalSearchCV(base, grid, cv=cv, refit=False).fit(blocks, y, groups=groups)
    theirs = GridSearchCV(
        base, grid, cv=[*cv.split(y, y, groups)], refit=False, error_score="raise"
    )
    scores = []
    data = MultimodalData(blocks)
    for params in ours.cv_results_["params"]:
        model = MRORegressor(**EXACT | params)
        own = []
        for train, test in theirs.cv:
            model.fit(data[train], y[train], groups=groups[train])
            own.append(model.score(data[test], y[test]))
        scores.append(np.mean(own))
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], scores, atol=1e-9)


def test_a_fold_that_diverges_ends_its_candidate_alone():
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    kwargs = {"max_grad_norm": None, "learning_rate_schedule": "constant"}
    with pytest.raises(DivergedError, match=r"Try a smaller learning_rate \(now 1e\+30\)"):
        MRORegressor(**QUICK, learning_rate=1e30, **kwargs).fit(blocks, y)
    with pytest.raises(DivergedError, match="diverged: in a fold of early_stopping='cv', the"):
        MRORegressor(**QUICK, learning_rate=1e30, early_stopping="cv", **kwargs).fit(blocks, y)
    by_skorch = {**kwargs, "learning_rate": 1e30, "net_params": {"callbacks": []}}
    with pytest.raises(DivergedError, match=r"the train loss became (nan|inf) in epoch \d"):
        MRORegressor(**QUICK | {"max_epochs": 5}, early_stopping=False, **by_skorch).fit(blocks, y)
    alone = MultimodalSearchCV(
        MRORegressor(**QUICK, **kwargs), {"learning_rate": [1e30]}, cv=2, error_score="raise"
    )
    with pytest.raises(DivergedError, match="learning_rate"):
        alone.fit(MultimodalData(blocks), y)
    search = MultimodalSearchCV(
        MRORegressor(**QUICK, **kwargs), {"learning_rate": [1e-3, 1e30]}, cv=2, refit=False
    )
    with (
        pytest.warns(FitFailedWarning, match="fits failed"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search.fit(blocks, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True, False]


@pytest.mark.filterwarnings("ignore:Modality 'text' has values so far:UserWarning")
def test_all_rows_are_trained_for_all_epochs_where_folds_diverge():
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    blocks["text"][0] = 1e37  # which has a scale beside all rows, and none where it is left out
    params = QUICK | {"input_scaling": "standard"}
    model = MRORegressor(**params).fit(blocks, y)
    assert model.n_iter_ == params["max_epochs"]
    alone = MRORegressor(**params, early_stopping=False).fit(blocks, y)
    np.testing.assert_array_equal(model.predict(blocks), alone.predict(blocks))


def test_teams_of_several_fits_do_not_know_of_each_other():
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    models = [MRORegressor(**EXACT | {"learning_rate": rate}) for rate in (1e-3, 3e-3, 1e-2, 3e-2)]
    together = [plan_of(model, blocks, y) for model in models]
    choose_epochs(models[0]._build_net, together)
    for model, plan in zip(models, together, strict=True):
        alone = plan_of(model, blocks, y)
        choose_epochs(model._build_net, [alone])
        assert plan.options.stop_after == alone.options.stop_after
        for row, own in zip(plan.fold_history, alone.fold_history, strict=True):
            assert row == pytest.approx(own, rel=1e-9)


def test_stacks_hold_whole_teams(monkeypatch):
    sizes, train = [], _epochs.fit_members

    def spy(members, stack):
        sizes.append(len(members))
        return train(members, stack)

    monkeypatch.setattr(_epochs, "fit_members", spy)
    blocks = make_blocks(N)
    y = make_target(blocks, "regression")
    models = [MRORegressor(**QUICK, learning_rate=rate) for rate in (1e-3, 3e-3, 1e-2, 3e-2)]
    plans = [plan_of(model, blocks, y) for model in models]
    choose_epochs(models[0]._build_net, plans)
    assert sizes == [15, 5]


def test_the_splits_of_a_cross_validation_are_checked():
    y, rng = np.arange(10.0), np.random.RandomState(0)
    bad = [(np.arange(6), np.arange(5, 10))]
    with pytest.raises(ValueError, match="1 rows on both sides"):
        cross_validation_splits(
            bad, X=None, y=y, groups=None, classification=False, random_state=rng
        )

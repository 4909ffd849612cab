"""MultimodalSearchCV against GridSearchCV: the same results, from nets trained at once."""

from __future__ import annotations

import os
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.callback import ProgressBar
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ParameterSampler,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_mmfuse import (
    FusionClassifier,
    MROClassifier,
    MRORegressor,
    MultimodalData,
    MutualDependencyClassifier,
    SMURFClassifier,
)
from sklearn_mmfuse.estimators import _fitting, _together
from sklearn_mmfuse.estimators._stacks import worth_training_at_once
from sklearn_mmfuse.model_selection import MultimodalSearchCV
from sklearn_mmfuse.model_selection._calls import cut
from sklearn_mmfuse.model_selection._threads import fair_threads
from sklearn_mmfuse.model_selection._units import Candidate, Split
from sklearn_mmfuse.preprocessing import ModalityColumnTransformer

N = 100
RNG = np.random.default_rng(0)
BLOCKS = {name: RNG.normal(size=(N, d)) for name, d in (("a", 3), ("t", 2))}
X = MultimodalData(BLOCKS)
NUMBERS = BLOCKS["a"][:, 0] + BLOCKS["a"][:, 1] * BLOCKS["t"][:, 0]
Y = np.where(NUMBERS > 0, "high", "low")
PERSON = np.repeat(np.arange(25), 4)
WEIGHT = RNG.uniform(0.5, 2.0, size=N)
SMALL = {"max_epochs": 4, "hidden_layer_sizes": (5,), "dtype": "float64", "random_state": 0}
GRID = {"learning_rate": [1e-3, 3e-2], "weight_decay": [1e-4, 0.5], "max_order": [1, 2]}


def model(**params):
    return MROClassifier(**(SMALL | params))


def assert_same_results(ours, theirs):
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    for key, values in theirs.cv_results_.items():
        if key == "params" or key.startswith("param_"):
            assert list(ours.cv_results_[key]) == list(values)
        elif "time" not in key:
            np.testing.assert_allclose(ours.cv_results_[key], values, atol=1e-9, err_msg=key)
    assert ours.n_splits_ == theirs.n_splits_
    assert ours.multimetric_ == theirs.multimetric_
    for name in ("best_params_", "best_index_", "best_score_"):
        if hasattr(theirs, name):
            found, expected = getattr(ours, name), getattr(theirs, name)
            assert found == (pytest.approx(expected) if name == "best_score_" else expected)
        else:
            assert not hasattr(ours, name)


def search_both(estimator, grid, y=Y, fit_params=None, **params):
    searches = [kind(estimator, grid, **params) for kind in (MultimodalSearchCV, GridSearchCV)]
    for search in searches:
        search.fit(X, y, **(fit_params or {}))
    assert_same_results(*searches)
    return searches


def choose_second(results):
    return 1


def two_scores(estimator, X, y):
    right = estimator.predict(X) == y
    return {"right": right.mean(), "wrong": 1 - right.mean()}


@pytest.mark.parametrize(
    "params",
    [
        {"cv": 3},
        {"cv": 3, "n_jobs": 2},
        {"cv": KFold(4, shuffle=True, random_state=0), "return_train_score": True},
        {"cv": 3, "refit": False},
        {"cv": 3, "refit": choose_second},
        {"cv": 3, "scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"},
        {"cv": 3, "scoring": {"acc": "accuracy", "auc": "roc_auc"}, "refit": False},
        {"cv": 3, "scoring": two_scores, "refit": "right"},
        {"cv": 3, "scoring": "roc_auc"},
    ],
)
def test_results_are_those_of_grid_search(params):
    ours, theirs = search_both(model(early_stopping=True, n_iter_no_change=2), GRID, **params)
    if params.get("refit", True):
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
        assert ours.score(X, Y) == theirs.score(X, Y)
        assert ours.refit_time_ > 0
        assert type(ours.scorer_) is type(theirs.scorer_)


@pytest.fixture
def stack_sizes(monkeypatch):
    """How many members each net had that was trained."""
    sizes, train = [], _together.fit_members

    def spy(members, stack):
        sizes.append(len(members))
        return train(members, stack)

    monkeypatch.setattr(_together, "fit_members", spy)
    return sizes


def test_max_members_changes_nothing_and_is_kept(stack_sizes):
    grid = {"learning_rate": np.logspace(-4, -2, 9)}
    results = {}
    for max_members in (1, 4, "auto"):
        stack_sizes.clear()
        search = MultimodalSearchCV(model(), grid, cv=3, max_members=max_members, refit=False)
        results[max_members] = search.fit(X, Y).cv_results_["mean_test_score"]
        assert max(stack_sizes) == {1: 1, 4: 3, "auto": 9}[max_members]
        assert sum(stack_sizes) == 27
    np.testing.assert_allclose(results[1], results["auto"])
    np.testing.assert_allclose(results[4], results["auto"])


def test_few_candidates_train_together_over_folds(stack_sizes):
    MultimodalSearchCV(model(), {"dropout": [0.0, 0.3]}, cv=KFold(4), refit=False).fit(X, Y)
    assert stack_sizes == [4, 4]


def inner_sides(monkeypatch):
    """Record the groups that early stopping trains on and watches."""
    sides, split = [], _fitting.validation_split

    def spy(*args, groups, **kwargs):
        train, watched = split(*args, groups=groups, **kwargs)
        assert groups is not None
        sides.append((set(groups[train]), set(groups[watched])))
        return train, watched

    monkeypatch.setattr(_fitting, "validation_split", spy)
    return sides


@pytest.mark.parametrize(
    "estimator",
    [
        model(early_stopping=True),
        make_pipeline(FunctionTransformer(), model(early_stopping=True)),
        model(early_stopping=True, n_members=2),
    ],
)
def test_persons_are_apart_outside_and_inside(monkeypatch, estimator):
    sides = inner_sides(monkeypatch)
    prefix = "mroclassifier__" if isinstance(estimator, Pipeline) else ""
    search = MultimodalSearchCV(estimator, {f"{prefix}dropout": [0.0, 0.5]}, cv=GroupKFold(4))
    search.fit(X, Y, groups=PERSON)
    assert len(sides) == 2 * 4 + 1  # the last fit, too
    assert all(train and watched and not train & watched for train, watched in sides)


def test_groups_are_those_of_a_grid_search_that_passes_them_on():
    estimator, grid = model(early_stopping=True), {"dropout": [0.0, 0.5]}
    pipe = make_pipeline(FunctionTransformer(), estimator)
    ours = MultimodalSearchCV(pipe, {"mroclassifier__dropout": [0.0, 0.5]}, cv=GroupKFold(4))
    theirs = GridSearchCV(pipe, {"mroclassifier__dropout": [0.0, 0.5]}, cv=GroupKFold(4))
    theirs.fit(X, Y, groups=PERSON, mroclassifier__groups=PERSON)
    assert_same_results(ours.fit(X, Y, groups=PERSON), theirs)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(estimator).set_fit_request(sample_weight=True)
        routed.set_score_request(sample_weight=False)
        fit_params = {"groups": PERSON, "sample_weight": WEIGHT}
        search_both(routed, grid, cv=GroupKFold(4), fit_params=fit_params)


def test_nested_cross_validation():
    search = MultimodalSearchCV(model(), {"dropout": [0.0, 0.5]}, cv=GroupKFold(3))
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(search, X, Y, cv=GroupKFold(3), params={"groups": PERSON})
    assert np.isfinite(scores).all()


def test_sample_weights_reach_fits_and_scores():
    both = search_both(model(), GRID, cv=3, fit_params={"sample_weight": WEIGHT})
    plain = MultimodalSearchCV(model(), GRID, cv=3).fit(X, Y)
    scores = "mean_test_score"
    assert not np.array_equal(both[0].cv_results_[scores], plain.cv_results_[scores])


class Counting(TransformerMixin, BaseEstimator):
    """Counts its fits."""

    count = 0

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        type(self).count += 1
        return self

    def transform(self, X):
        return X.assign(a=X["a"] * self.factor)

    def __sklearn_is_fitted__(self):
        return True


def test_what_is_in_front_is_fitted_once_per_fold():
    pipe = make_pipeline(Counting(), model(input_scaling=None))
    grid = {"counting__factor": [1.0, 3.0], "mroclassifier__learning_rate": [1e-3, 1e-2]}
    grid |= {"mroclassifier__max_order": [1, 2]}
    ours, theirs = search_both(pipe, grid, cv=3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    Counting.count = 0
    MultimodalSearchCV(pipe, grid, cv=3, refit=False).fit(X, Y)
    assert Counting.count == 2 * 3


def test_a_data_frame_with_groups_through_a_pipeline():
    blocks = {f"{name}{i}": block[:, i] for name, block in BLOCKS.items() for i in range(2)}
    frame = pd.DataFrame(blocks)
    columns = [("a", "passthrough", ["a0", "a1"]), ("t", "passthrough", ["t0", "t1"])]
    pipe = make_pipeline(ModalityColumnTransformer(columns), model(early_stopping=True))
    grid = {"mroclassifier__dropout": [0.0, 0.3]}
    ours, theirs = (
        search(pipe, grid, cv=GroupKFold(3)).fit(
            frame, Y, groups=PERSON, mroclassifier__groups=PERSON
        )
        for search in (MultimodalSearchCV, GridSearchCV)
    )
    assert_same_results(ours, theirs)


def test_pipelines_in_pipelines_and_estimators_as_parameters():
    inner = Pipeline([("same", FunctionTransformer()), ("clf", model())])
    pipe = Pipeline([("first", Counting()), ("inner", inner)])
    estimators = [model(), SMURFClassifier(**SMALL), model(learning_rate=0.1)]
    search_both(pipe, {"inner__clf": estimators}, cv=3)


def test_what_is_not_ours_is_searched_as_ever():
    flat = FunctionTransformer(lambda X: np.hstack([X["a"], X["t"]]))
    pipe = Pipeline([("flat", flat), ("clf", LogisticRegression())])
    search_both(pipe, {"clf__C": [0.1, 1.0]}, cv=3)


@pytest.mark.parametrize(
    "estimator",
    [
        FusionClassifier(net_params={"optimizer": torch.optim.SGD}, **SMALL),
        FusionClassifier(encoder={"a": lambda: torch.nn.Linear(3, 2)}, **SMALL),
        MROClassifier(n_members=2, **SMALL),
        MROClassifier(n_members=2, bootstrap=True, **SMALL),
    ],
)
def test_what_cannot_be_stacked_is_fitted_alone(estimator):
    search_both(estimator, {"learning_rate": [1e-3, 1e-2]}, cv=2)


def test_critics_of_a_grid_play_at_once(stack_sizes):
    estimator = MutualDependencyClassifier(n_critic_steps=1, **SMALL)
    grid = {"reg_lambda": [0.0, 0.1, 1.0], "learning_rate": [1e-3, 1e-2]}
    MultimodalSearchCV(estimator, grid, cv=3, refit=False).fit(X, Y)
    assert sum(stack_sizes) == 18
    # Of a fold, with a dependency that counts or not.
    assert sorted(stack_sizes) == [2, 2, 2, 4, 4, 4]
    search_both(estimator, grid, cv=3)


def test_a_plain_dict_and_random_candidates():
    sampler = ParameterSampler({"learning_rate": [1e-3, 1e-2, 1e-1]}, n_iter=2, random_state=0)
    search = MultimodalSearchCV(model(), sampler, cv=3).fit(BLOCKS, Y)
    assert len(search.cv_results_["params"]) == 2
    expected = GridSearchCV(
        model(), [{"learning_rate": [p["learning_rate"]]} for p in sampler], cv=3
    )
    assert_same_results(search, expected.fit(X, Y))
    assert search.predict(BLOCKS).shape == (N,)


def test_different_seeds_and_class_weights_in_one_net():
    grid = {"random_state": [0, 1], "class_weight": [None, "balanced"]}
    search_both(model(), grid, cv=3)
    search_both(model(random_state=None), {"max_epochs": [1]}, cv=2, scoring=lambda *a: 1.0)


def test_a_candidate_that_fails_leaves_the_others_alone():
    grid = {"learning_rate": [1e-3, 1e200], "max_grad_norm": [None]}
    one_fails = pytest.warns(FitFailedWarning, match="3 fits failed")
    with one_fails as ours, pytest.warns(UserWarning, match="non-finite"):
        search = MultimodalSearchCV(model(), grid, cv=3).fit(X, Y)
    assert "Try a smaller learning_rate" in str(ours[0].message)
    assert np.isnan(search.cv_results_["mean_test_score"][1])
    assert search.best_params_["learning_rate"] == 1e-3
    with pytest.raises(FloatingPointError, match="diverged"):
        MultimodalSearchCV(model(), grid, cv=3, error_score="raise").fit(X, Y)
    with pytest.warns(FitFailedWarning):
        zero = MultimodalSearchCV(
            model(), grid, cv=3, error_score=0.0, scoring=["accuracy"], refit="accuracy"
        ).fit(X, Y)
    assert zero.cv_results_["mean_test_accuracy"][1] == 0.0
    with pytest.raises(ValueError, match="All the 6 fits failed"):
        MultimodalSearchCV(model(), {"max_order": [7, 8]}, cv=3).fit(X, Y)


def test_a_front_that_fails_is_a_failed_fit():
    def broken(X):
        raise RuntimeError("no front")

    pipe = make_pipeline(FunctionTransformer(broken), model())
    with pytest.raises(ValueError, match=r"(?s)All the 2 fits failed.*no front"):
        MultimodalSearchCV(pipe, {"mroclassifier__dropout": [0.0]}, cv=2).fit(X, Y)
    with pytest.raises(RuntimeError, match="no front"):
        MultimodalSearchCV(pipe, {"mroclassifier__dropout": [0.0]}, cv=2, error_score="raise").fit(
            X, Y
        )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"param_grid": {}, "cv": []}, "No fits were performed"),
        ({"max_members": 0}, "max_members"),
        ({"param_grid": {"no_such": [1]}}, "no_such"),
        ({"scoring": ["accuracy", "roc_auc"]}, "refit must be set to a scorer key"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(params, message):
    with pytest.raises(ValueError, match=message):
        MultimodalSearchCV(**({"estimator": model(), "param_grid": GRID} | params)).fit(X, Y)


def test_an_unknown_fit_parameter_is_named():
    with pytest.raises(TypeError, match=r"MROClassifier\.fit\(\) has no parameters \['wieght'\]"):
        MultimodalSearchCV(model(), GRID, cv=2, error_score="raise").fit(X, Y, wieght=WEIGHT)


def test_progress_is_printed_and_reported(capsys):
    MultimodalSearchCV(model(), GRID, cv=3, verbose=1).fit(X, Y)
    printed = capsys.readouterr().out
    assert "Fitting 3 folds for each of 8 candidates, totalling 24 fits" in printed
    assert "[24/24 fits]" in printed
    MultimodalSearchCV(model(), GRID, cv=3).fit(X, Y)
    assert capsys.readouterr().out == ""


def test_a_progress_bar_sees_every_fit():
    pytest.importorskip("rich")
    search = MultimodalSearchCV(model(), GRID, cv=3).set_callbacks(ProgressBar())
    search.fit(X, Y)
    assert search.best_score_ > 0


def test_a_search_is_an_estimator():
    search = MultimodalSearchCV(MRORegressor(**SMALL), {"dropout": [0.0, 0.2]}, cv=2)
    assert clone(search).get_params()["max_members"] == "auto"
    assert cross_val_score(search, X, NUMBERS, cv=2).shape == (2,)
    search.fit(X, NUMBERS)
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    parts = search.best_estimator_.decompose(X)
    np.testing.assert_allclose(parts.sum().ravel(), search.predict(X), atol=1e-12)


def test_workers_share_the_cores(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        monkeypatch.setattr("sklearn_mmfuse.model_selection._threads.cpu_count", lambda: 8)
        with fair_threads(os.getpid(), 8):
            assert torch.get_num_threads() == 4  # the user's own process
        with fair_threads(-1, 4):
            assert torch.get_num_threads() == 2
        with fair_threads(-1, 100):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_every_backend_gives_the_same(backend):
    expected = MultimodalSearchCV(model(), GRID, cv=3, refit=False).fit(X, Y)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        found = MultimodalSearchCV(model(), GRID, cv=3, refit=False).fit(X, Y)
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("max_members", [1, 3, "auto"])
@pytest.mark.parametrize("n_candidates", [1, 3, 25])
@pytest.mark.parametrize("n_splits", [1, 5])
def test_work_is_cut_without_loss(max_members, n_candidates, n_splits):
    most = worth_training_at_once("cpu") if max_members == "auto" else max_members
    group = [Candidate(i, {}) for i in range(n_candidates)]
    splits = Split.numbered([(np.arange(1), np.arange(1))] * n_splits)
    parts = list(cut(group, splits, most))
    tasks = [(c.number, s.number) for part, some in parts for c in part for s in some]
    assert sorted(tasks) == [(c, s) for c in range(n_candidates) for s in range(n_splits)]
    sizes = [len(part) * len(some) for part, some in parts]
    assert max(sizes) <= {1: 1, 3: 3, "auto": 16}[max_members]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_of_processes_changes_no_digit(dtype):
    grid = {"learning_rate": np.logspace(-4, -1, 9), "max_order": [1, 2]}
    score = ["neg_log_loss"]
    searches = [
        MultimodalSearchCV(model(dtype=dtype), grid, cv=3, scoring=score, refit=False, n_jobs=n)
        for n in (1, 2, 3)
    ]
    found = [s.fit(X, Y).cv_results_["mean_test_neg_log_loss"] for s in searches]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_fronts_that_cannot_be_hashed_are_never_mixed_up():
    fronts = [FunctionTransformer(lambda X, i=i: X.assign(a=X["a"] * (i + 1))) for i in range(24)]
    pipe = Pipeline([("front", fronts[0]), ("clf", model(max_epochs=1, input_scaling=None))])
    search_both(pipe, {"front": fronts}, cv=2)


class Flipped(MROClassifier):
    def fit(self, X, y, **params):
        return super().fit(X, np.where(y == "high", "low", "high"), **params)


class OwnPipeline(Pipeline):
    def fit(self, X, y=None, **params):
        return super().fit(X, np.roll(y, 1), **params)


def test_what_overrides_fit_is_fitted_by_it():
    search_both(Flipped(**SMALL), {"dropout": [0.0, 0.2]}, cv=2)
    pipe = OwnPipeline([("same", FunctionTransformer()), ("clf", model())])
    search_both(pipe, {"clf__dropout": [0.0, 0.2]}, cv=2)


@pytest.mark.filterwarnings("ignore:On the .* the model is not reliably better:UserWarning")
def test_scorers_may_look_at_explanations():
    def largest(estimator, X, y):
        return estimator.relevance_scores_.max()

    search_both(model(), {"dropout": [0.0, 0.2]}, cv=2, scoring=largest)


class StopAtOnce:
    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch"

    def teardown(self, estimator, context):
        pass


@pytest.mark.parametrize("lacking", ["everywhere", "in one fold", "nowhere"])
@pytest.mark.parametrize("missing", ["recover", "drop"])
def test_rows_that_lack_a_modality_are_scored_as_ever(lacking, missing, monkeypatch):
    rows = {"everywhere": slice(None, None, 7), "in one fold": slice(0, 30), "nowhere": slice(0, 0)}
    gaps = MultimodalData({name: block.copy() for name, block in BLOCKS.items()})
    gaps["a"][rows[lacking]] = np.nan
    means, center = [], MROClassifier._center
    monkeypatch.setattr(
        MROClassifier, "_center", lambda self, net: means.append(net) or center(self, net)
    )
    scores = []
    for kind in (MultimodalSearchCV, GridSearchCV):
        means.clear()
        search = kind(
            model(missing=missing),
            {"learning_rate": [1e-3, 3e-2]},
            cv=KFold(3),
            scoring="neg_log_loss",
            refit=False,
        )
        scores.append(search.fit(gaps, Y).cv_results_["mean_test_score"])
        if kind is MultimodalSearchCV:
            # Means of terms are worked out where predictions need them.
            assert len(means) == {"everywhere": 6, "in one fold": 2, "nowhere": 0}[lacking]
    np.testing.assert_allclose(*scores, atol=1e-12)


def test_callbacks_of_the_estimator_are_listened_to():
    search_both(model(max_epochs=9).set_callbacks(StopAtOnce()), {"dropout": [0.0, 0.2]}, cv=2)


def test_an_error_in_a_stack_is_that_of_one_candidate(monkeypatch):
    train = _together.fit_members

    def broken(members, stack):
        if any(member.options.learning_rate == 0.25 for member in members):
            raise RuntimeError("out of memory")
        return train(members, stack)

    monkeypatch.setattr(_together, "fit_members", broken)
    grid = {"learning_rate": [1e-3, 0.25, 1e-2]}
    fails = pytest.warns(FitFailedWarning, match="out of memory")
    with fails, pytest.warns(UserWarning, match="non-finite"):
        search = MultimodalSearchCV(model(), grid, cv=2, refit=False).fit(X, Y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True, False]
    with pytest.raises(RuntimeError, match="out of memory"):
        MultimodalSearchCV(model(), grid, cv=2, error_score="raise").fit(X, Y)


def test_a_wrong_number_of_nets_fails_alone():
    fails = pytest.warns(FitFailedWarning, match="n_members")
    with fails, pytest.warns(UserWarning, match="non-finite"):
        search = MultimodalSearchCV(model(), {"n_members": ["bad", 1]}, cv=2).fit(X, Y)
    assert search.best_params_ == {"n_members": 1}


class Dishonest(KFold):
    def get_n_splits(self, X=None, y=None, groups=None):
        return 7


def test_a_splitter_must_keep_its_word():
    with pytest.raises(ValueError, match="says that there are 7 splits, and yields 3"):
        MultimodalSearchCV(model(), GRID, cv=Dishonest(3)).fit(X, Y)


def test_ctrl_c_ends_a_search_of_single_fits(monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_together, "fit_members", interrupted)
    with pytest.raises(KeyboardInterrupt):
        MultimodalSearchCV(model(), GRID, cv=2, max_members=1).fit(X, Y)

"""How training behaves: who is watched, what is kept, what is said, and what is left alone."""

import pickle

import numpy as np
import pytest
import sklearn
import torch
from sklearn.callback import ProgressBar
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, PredefinedSplit, ShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from sklearn_mmfuse import (
    ModalityColumnTransformer,
    MROClassifier,
    MRORegressor,
    MultimodalData,
    RoutingClassifier,
)
from sklearn_mmfuse.estimators import _together as together_module

from ._data import make_blocks, make_groups, make_target

BLOCKS = make_blocks(120)
X = MultimodalData(BLOCKS)
Y = make_target(BLOCKS, "binary")
GROUPS = make_groups(120)
NUMBERS = make_target(BLOCKS, "regression")


def model(**params):
    return MROClassifier(**({"max_epochs": 4, "random_state": 0} | params))


@pytest.fixture
def splits(monkeypatch):
    """Record the groups on both sides of every inner split."""
    seen = []
    real = together_module.train_alone

    def record(plan, hooks=None):
        sides = [set(r.X["group"][:, 0].tolist()) for r in (plan.train, plan.validation)]
        seen.append(sides)
        return real(plan, hooks)

    monkeypatch.setattr("sklearn_mmfuse.estimators._ensemble.train_alone", record)
    return seen


def with_group_column():
    """The group is a feature of its own, so that the rows of a split can be told."""
    return X.assign(group=GROUPS[:, None].astype(float))


def test_no_person_is_on_both_sides(splits):
    model(early_stopping=True).fit(with_group_column(), Y, groups=GROUPS)
    ((train, validation),) = splits
    assert validation
    assert not train & validation


def test_no_person_is_on_both_sides_through_pipeline_and_search(splits):
    pipe = make_pipeline(FunctionTransformer(), model(early_stopping=True))
    grid = {"mroclassifier__fusion": ["concat", "tensor"]}
    search = GridSearchCV(pipe, grid, cv=GroupKFold(3))
    search.fit(with_group_column(), Y, groups=GROUPS, mroclassifier__groups=GROUPS)
    assert len(splits) == 2 * 3 + 1
    assert all(validation and not train & validation for train, validation in splits)


def test_no_person_is_on_both_sides_with_metadata_routing(splits):
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = Pipeline([("same", FunctionTransformer()), ("clf", model(early_stopping=True))])
        search = GridSearchCV(pipe, {"clf__fusion": ["concat"]}, cv=GroupKFold(3))
        search.fit(with_group_column(), Y, groups=GROUPS)
    assert len(splits) == 4
    assert all(validation and not train & validation for train, validation in splits)


def test_without_groups_persons_are_mixed(splits):
    # The counterpart: the tests above do not pass by accident.
    model(early_stopping=True).fit(with_group_column(), Y)
    ((train, validation),) = splits
    assert train & validation


def test_early_stopping_restores_the_best_epoch():
    watched = ShuffleSplit(1, test_size=0.3, random_state=0)
    params = {"early_stopping": True, "validation_fraction": watched, "learning_rate": 0.05}
    # What does not look ahead: a constant step size, and no products, which decay late.
    params |= {"learning_rate_schedule": "constant", "product_rank": 0}
    fitted = model(max_epochs=300, n_iter_no_change=10, **params).fit(X, Y)
    losses = [row["valid_loss"] for row in fitted.history_]
    assert fitted.best_epoch_ == int(np.argmin(losses)) + 1
    assert fitted.n_iter_ == fitted.best_epoch_ + 10 < 300
    again = model(max_epochs=fitted.best_epoch_, **params).fit(X, Y)
    np.testing.assert_array_equal(fitted.predict_proba(X), again.predict_proba(X))


def test_explicit_validation_rows_turn_early_stopping_on():
    fold = np.where(np.arange(120) < 30, 0, -1)
    rows = PredefinedSplit(fold)
    long = {"max_epochs": 60, "learning_rate": 0.1, "n_iter_no_change": 1}
    fitted = model(validation_fraction=rows, **long).fit(X, Y)
    assert "valid_loss" in fitted.history_[0]
    assert fitted.n_iter_ > fitted.best_epoch_  # these rows were watched beyond
    assert "valid_loss" not in model(early_stopping=False).fit(X, Y).history_[0]


@pytest.mark.parametrize("optimization", ["mro", "smro"])
def test_refits_are_identical_and_global_generators_untouched(optimization):
    params = {"optimization": optimization, "dropout": 0.3, "early_stopping": True}
    first, second = (model(**params).fit(X, Y).predict_proba(X) for _ in range(2))
    other = model(**(params | {"random_state": 1}))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other.fit(X, Y).predict_proba(X))


def test_without_a_seed_fits_differ_and_the_global_generator_is_still_untouched():
    first, second = (model(random_state=None).fit(X, Y).predict_proba(X) for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_random_state_instance_moves_on():
    rng = np.random.RandomState(0)
    first, second = (model(random_state=rng).fit(X, Y).predict_proba(X) for _ in range(2))
    assert not np.array_equal(first, second)


def test_unit_weights_are_no_weights_bit_for_bit():
    plain = model(early_stopping=True).fit(X, Y)
    weighted = model(early_stopping=True).fit(X, Y, sample_weight=np.ones(120))
    np.testing.assert_array_equal(plain.predict_proba(X), weighted.predict_proba(X))


def test_rows_without_weight_are_not_there():
    weight = np.r_[np.ones(90), np.zeros(30)]
    flipped = Y.copy()
    flipped[90:] = "no"
    params = {"dtype": "float64", "max_epochs": 20}
    weighted = model(**params).fit(X, flipped, sample_weight=weight)
    without = model(**params).fit(X[:90], Y[:90])
    np.testing.assert_allclose(weighted.predict_proba(X), without.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("splitter", [KFold(4), ShuffleSplit(1, random_state=0)])
def test_a_splitter_counts_the_rows_of_a_dict(splitter):
    fitted = [model(validation_fraction=splitter).fit(form, Y) for form in (BLOCKS, X)]
    np.testing.assert_array_equal(*(one.predict_proba(X) for one in fitted))


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("kind", [MROClassifier, RoutingClassifier])
def test_class_weights_are_weights(kind, weight):
    with pytest.raises(ValueError, match="class_weight holds non-negative, finite weights"):
        kind(class_weight={"no": weight, "yes": 1.0}, max_epochs=1).fit(X, Y)


def test_class_weight_is_a_sample_weight():
    weights = {"no": 1.0, "yes": 3.0}
    params = {"dtype": "float64", "max_epochs": 20}
    by_class = model(class_weight=weights, **params).fit(X, Y)
    by_sample = model(**params).fit(X, Y, sample_weight=[weights[label] for label in Y])
    np.testing.assert_array_equal(by_class.predict_proba(X), by_sample.predict_proba(X))
    more = by_class.predict_proba(X)[:, 1].mean()
    assert more > model(**params).fit(X, Y).predict_proba(X)[:, 1].mean() + 0.05
    assert model(class_weight="balanced").fit(X, Y).score(X, Y) >= 0


def test_contributions_are_in_the_units_of_y():
    params = {"max_epochs": 30, "random_state": 0, "dtype": "float64", "learning_rate": 0.01}
    meters = MRORegressor(**params).fit(X, NUMBERS).decompose(X)
    millimeters = MRORegressor(**params).fit(X, 1000 * NUMBERS + 7).decompose(X)
    np.testing.assert_allclose(millimeters.values, 1000 * meters.values, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(millimeters.bias, 1000 * meters.bias + 7, rtol=1e-6)


def test_silent_by_default(capfd):
    model(early_stopping=True).fit(X, Y)
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_a_line_per_epoch(capsys):
    model(verbose=1).fit(X, Y)
    assert "train_loss" in capsys.readouterr().out


def test_a_nan_loss_stops_with_what_to_try():
    broken = MRORegressor(learning_rate=1e6, max_epochs=50, activation="relu", random_state=0)
    broken.set_params(max_grad_norm=None, dtype="float32", input_scaling=None)
    huge = {name: 1e30 * block for name, block in BLOCKS.items()}
    with pytest.raises(FloatingPointError, match=r"diverged.*epoch 1.*smaller learning_rate"):
        broken.fit(huge, NUMBERS)
    assert not hasattr(broken, "module_")


def test_a_failed_refit_is_not_fitted():
    fitted = model().fit(X, Y)
    with pytest.raises(ValueError, match="one class"):
        fitted.fit(X, np.zeros(120))
    with pytest.raises(sklearn.exceptions.NotFittedError):
        fitted.predict(X)


class Interrupt(Callback):
    """Press Ctrl-C in an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, training, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("optimization", ["mro", "smro"])
def test_ctrl_c_keeps_the_best_model_with_a_warning(early_stopping, optimization):
    interrupted = model(
        max_epochs=50,
        early_stopping=early_stopping,
        optimization=optimization,
        net_params={"callbacks": [Interrupt(4)]},
    )
    with pytest.warns(UserWarning, match="interrupted in epoch 4"):
        interrupted.fit(X, Y)
    assert interrupted.n_iter_ == 3
    assert np.isfinite(interrupted.predict_proba(X)).all()


@pytest.mark.parametrize("epoch", [3, 5])  # before any epoch of the pairs, and of the triple
def test_interrupted_sequential_training_leaves_no_random_net(epoch):
    params = {"optimization": "smro", "max_epochs": 2, "dtype": "float64"}
    three = X.assign(ecg=BLOCKS["text"][:, :1])
    with pytest.warns(UserWarning, match="interrupted"):
        cut = model(net_params={"callbacks": [StopAt(epoch)]}, **params).fit(three, Y)
    parts = cut.decompose(three)
    size = {order: np.abs(value).max() for order, value in parts.by_order().items()}
    assert size[1] > 0
    assert (size[2] > 0) == (epoch == 5)
    assert size[3] == 0


class StopAt(Callback):
    """Press Ctrl-C when the n-th epoch begins, counted over all orders (two epochs each)."""

    count = 0

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        type(self).count += 1
        if type(self).count == self.epoch:
            type(self).count = 0
            raise KeyboardInterrupt


def test_a_callback_that_stops_ends_sequential_training_for_good():
    counter = Counter(stop_after=2)
    fitted = model(optimization="smro", max_epochs=30).set_callbacks(counter).fit(X, Y)
    assert fitted.n_iter_ == counter.begun == 2
    assert np.abs(fitted.decompose(X).by_order()[2]).max() == 0


def test_ctrl_c_before_anything_was_learned_is_an_interrupt():
    with pytest.raises(KeyboardInterrupt):
        model(net_params={"callbacks": [Interrupt(1)]}).fit(X, Y)


def test_net_params_reach_skorch():
    fitted = model(net_params={"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9}).fit(X, Y)
    assert not np.array_equal(fitted.predict_proba(X), model().fit(X, Y).predict_proba(X))
    with pytest.raises(ValueError, match="optimiser"):
        model(net_params={"optimiser": torch.optim.SGD}).fit(X, Y)


def test_pickles_hold_neither_data_nor_torch():
    rng = np.random.default_rng(0)
    large = {name: rng.normal(size=(3000, 60)) for name in ("text", "audio")}
    fitted = MRORegressor(max_epochs=1, hidden_layer_sizes=(4,), random_state=0)
    fitted.fit(large, large["text"][:, 0])
    pickled = pickle.dumps(fitted)
    contributions = fitted.unique_contributions_.size * 8
    n_parameters = sum(p.numel() for p in fitted.module_.parameters())
    assert len(pickled) < contributions + 4 * n_parameters + 20_000
    assert b"torch" not in pickled
    assert b"skorch" not in pickled


def test_changed_parameters_do_not_change_a_fitted_model():
    fitted = model().fit(X, Y)
    expected = fitted.predict_proba(X)
    fitted.set_params(hidden_layer_sizes=(3,), fusion="tensor", dtype="float64")
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), expected)


class Counter:
    """A scikit-learn callback that counts, scores every epoch and stops."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.begun, self.scores, self.torn_down = 0, [], 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        self.torn_down += 1

    def on_fit_task_begin(self, estimator, context):
        self.begun += context.task_name == "epoch"

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        if context.task_name != "epoch":
            return False
        self.scores.append(fitted_estimator.score(X, y))
        return len(self.scores) == self.stop_after


def test_callbacks_see_every_epoch_and_may_stop():
    counter = Counter(stop_after=3)
    fitted = model(max_epochs=50).set_callbacks(counter).fit(X, Y)
    assert (counter.begun, len(counter.scores), counter.torn_down) == (3, 3, 1)
    assert fitted.n_iter_ == 3
    assert counter.scores[-1] == fitted.score(X, Y)


def test_callbacks_work_for_every_part_of_sequential_training():
    counter = Counter()
    fitted = model(optimization="smro").set_callbacks(counter).fit(X, Y)
    assert counter.begun == fitted.n_iter_ == 8


def test_progress_bar_shows_epochs_also_inside_a_search(capsys):
    columns = ModalityColumnTransformer([("text", "passthrough", "text")])
    pipe = make_pipeline(columns, model(max_epochs=3))
    search = GridSearchCV(pipe, {"mroclassifier__dropout": [0.0, 0.1]}, cv=2)
    with pytest.warns(UserWarning, match="one modality, 'text'"):
        search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, Y)
    shown = capsys.readouterr().out
    for name in ("GridSearchCV", "ModalityColumnTrans", "MROClassifier"):
        assert name in shown


@pytest.mark.parametrize("optimization", ["mro", "smro"])
@pytest.mark.parametrize("batch_size", [7, 60, 119])
def test_any_batch_size_trains(optimization, batch_size):
    fitted = model(optimization=optimization, batch_size=batch_size).fit(X, Y)
    assert len(fitted.history_) == (8 if optimization == "smro" else 4)


def test_sequential_training_freezes_what_came_before():
    # The unimodal part of sMRO is the whole model of max_order=1.
    params = {"optimization": "smro", "dtype": "float64", "random_state": 0, "max_epochs": 15}
    both = MRORegressor(**params).fit(X, NUMBERS)
    alone = MRORegressor(**(params | {"max_order": 1})).fit(X, NUMBERS)
    np.testing.assert_allclose(
        both.unique_contributions_, alone.unique_contributions_, rtol=1e-9, atol=1e-9
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimization", ["mro", "smro"])
def test_trained_on_a_gpu_predicts_on_the_cpu_and_leaves_no_memory(optimization):
    torch.cuda.synchronize()
    params = {"device": "cuda", "optimization": optimization, "dropout": 0.2}
    first = model(**params).fit(X, Y)
    used = torch.cuda.memory_allocated()
    for _ in range(5):
        again = model(**params).fit(X, Y)
    assert torch.cuda.memory_allocated() == used
    np.testing.assert_allclose(first.predict_proba(X), again.predict_proba(X), atol=1e-4)
    copy = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(copy.predict_proba(X), first.predict_proba(X))
    assert next(copy.module_.parameters()).device.type == "cpu"

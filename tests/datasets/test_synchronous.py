import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from sklearn_mmfuse import FusionClassifier
from sklearn_mmfuse.datasets import make_synchronous
from sklearn_mmfuse.inspection import modality_effects


def test_events_are_where_they_should_be():
    toy = make_synchronous(400, n_steps=9, n_events=3, noise=0.0, random_state=0)
    assert toy.data["audio"].shape == (400, 9, 4)
    assert toy.data["text"].shape == (400, 9, 6)
    assert toy.target.mean() == 0.5
    both = (toy.events["audio"] & toy.events["text"]).sum(axis=1)
    np.testing.assert_array_equal(both, toy.target)
    padded = np.isnan(toy.data["audio"][..., 0])
    np.testing.assert_array_equal(padded, np.isnan(toy.data["text"][..., 0]))
    assert set((~padded).sum(axis=1)) == {6, 7, 8, 9}
    for name, where in toy.events.items():
        assert (where.sum(axis=1) == 3).all()
        assert not (where & padded).any()
        np.testing.assert_array_equal(toy.data[name][..., 0] == 3.0, where)
    np.testing.assert_allclose(toy.contributions.sum()[:, 0], toy.target, atol=1e-12)


def test_contributions_are_the_pure_effects():
    toy = make_synchronous(60, n_steps=8, random_state=0)

    def coincide(X):
        shown = [np.nan_to_num(np.array(X[name]))[..., 0] > 1.5 for name in ("audio", "text")]
        return (shown[0] & shown[1]).any(axis=1).astype(float)

    clean = make_synchronous(60, n_steps=8, noise=0.0, random_state=0)
    np.testing.assert_array_equal(coincide(clean.data), clean.target)
    effects = modality_effects(coincide, clean.data)
    np.testing.assert_allclose(clean.contributions.values, effects.values, atol=1e-6)
    np.testing.assert_allclose(clean.contributions.bias, effects.bias, atol=1e-6)
    assert toy.contributions.method == effects.method == "effects"


def test_neither_modality_nor_means_say_anything():
    toy = make_synchronous(4000, random_state=0)
    flat = {name: np.nan_to_num(block).reshape(4000, -1) for name, block in toy.data.items()}
    means = np.hstack([np.nanmean(np.array(block), axis=1) for block in toy.data.values()])
    for X in (*flat.values(), means, np.hstack(list(flat.values()))):
        score = cross_val_score(LogisticRegression(max_iter=500), X, toy.target).mean()
        assert abs(score - 0.5) < 0.03
    for name, where in toy.events.items():
        rates = [where[toy.target == c].mean(axis=0) for c in (0, 1)]
        np.testing.assert_allclose(*rates, atol=0.05, err_msg=name)


def test_a_fusion_step_by_step_sees_it_and_one_of_means_does_not():
    train = make_synchronous(1500, n_steps=6, n_events=1, random_state=0)
    test = make_synchronous(500, n_steps=6, n_events=1, random_state=1)
    options = {"learning_rate": 3e-3, "state_dim": 32, "max_epochs": 40, "random_state": 0}
    by_step = FusionClassifier(fusion="ef_lstm", **options).fit(train.data, train.target)
    assert by_step.score(test.data, test.target) > 0.95
    by_mean = FusionClassifier(fusion="concat", encoder="mean", **options)
    assert by_mean.fit(train.data, train.target).score(test.data, test.target) < 0.6


def test_bad_numbers():
    with pytest.raises(ValueError, match="need at least 6 steps to be apart; got n_steps=5"):
        make_synchronous(n_steps=5, n_events=3)
    with pytest.raises(ValueError, match="n_events must be an integer of at least 1; got 0"):
        make_synchronous(n_events=0)
    with pytest.raises(ValueError, match="noise must be a standard deviation"):
        make_synchronous(noise=-1)
    with pytest.raises(ValueError, match="n_samples"):
        make_synchronous(0)

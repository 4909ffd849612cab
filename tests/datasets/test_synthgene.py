"""Sequences with motifs: what was put where, and that the stated probabilities are true."""

import numpy as np
import pytest

from sklearn_mmfuse.datasets import make_synthgene, make_synthgene_tri
from sklearn_mmfuse.datasets._synthgene import MOTIFS, evidence, insert


def words(block):
    """Sequences as strings."""
    letters = np.array(list("ACGT"))[block.argmax(axis=2)]
    return ["".join(row) for row in letters]


def test_motifs_of_the_class_are_where_they_were_put():
    genes = make_synthgene(2000, random_state=0)
    assert list(genes.data) == [f"M{i}" for i in range(1, 11)]
    assert abs(genes.target.mean() - 0.5) < 1e-12
    for name in genes.data:
        block = genes.data[name]
        assert block.shape == (2000, 100, 4)
        assert block.dtype == np.float32
        np.testing.assert_array_equal(block.sum(axis=2), 1)
        expected = {"M2": 0.2, "M4": 0.3, "M7": 0.5}.get(name, 0.0)
        assert genes.insertions[name].mean() == pytest.approx(expected, abs=0.04)
    for word, put, label in zip(
        words(genes.data["M7"]), genes.insertions["M7"], genes.target, strict=True
    ):
        assert not put or MOTIFS[1 - label] in word


def test_a_likelihood_ratio_is_that_of_every_place_written_out():
    rng = np.random.RandomState(0)
    letters = rng.randint(4, size=(500, 10)).astype(np.uint8)
    insert(letters, np.arange(250), "CA", rng)

    def likelihood(row):
        """Of the sequence if "CA" overwrote letters at one of nine places."""
        return (
            sum(0.25**8 if (row[i], row[i + 1]) == (1, 0) else 0.0 for i in range(9)) / 9 / 0.25**10
        )

    np.testing.assert_allclose(evidence(letters, "CA"), [likelihood(row) for row in letters])
    assert (evidence(letters[:250], "CA") > 0).all()
    # Its mean over sequences without the motif is one, as of every likelihood ratio.
    plain = rng.randint(4, size=(40000, 10)).astype(np.uint8)
    assert evidence(plain, "CA").mean() == pytest.approx(1, abs=0.02)


def test_the_stated_log_odds_are_calibrated():
    genes = make_synthgene(
        8000, n_modalities=3, probabilities={"M1": 0.3, "M2": 0.5}, random_state=0
    )
    assert [term.order for term in genes.contributions.terms] == [1, 1, 1]
    assert not genes.contributions["M3"].any()
    stated = genes.contributions.predict()[:, 1]
    for low, high in ((0, 0.02), (0.4, 0.6), (0.98, 1)):
        rows = (stated >= low) & (stated <= high)
        assert rows.sum() > 500
        assert genes.target[rows].mean() == pytest.approx(stated[rows].mean(), abs=0.03)
    decided = np.abs(stated - 0.5) > 0.1
    assert decided.mean() == pytest.approx(1 - 0.7 * 0.5, abs=0.05)
    assert ((stated > 0.5) == genes.target)[decided].mean() > 0.98


@pytest.mark.parametrize("motifs", ["presence", "which"])
def test_an_exclusive_or_that_no_modality_tells_alone(motifs):
    genes = make_synthgene_tri(2001, motifs=motifs, random_state=0)
    put = genes.insertions
    np.testing.assert_array_equal(put["M1"] ^ put["M2"], genes.target)
    assert abs(genes.target.mean() - 0.5) < 0.001
    assert not put["M3"].any()
    for name in ("M1", "M2"):
        assert genes.target[put[name]].mean() == pytest.approx(0.5, abs=0.01)
        found = np.array([MOTIFS[0] in word for word in words(genes.data[name])])
        assert found[put[name]].all()
        if motifs == "which":
            assert all(
                MOTIFS[1] in word
                for word in np.array(words(genes.data[name]))[~put[name].to_numpy()]
            )
    stated = genes.contributions.sum()[:, 0]
    assert ((stated > 0.5) == genes.target).mean() > 0.95
    assert 0 <= stated.min() <= stated.max() <= 1
    for rows in (stated < 0.5, stated > 0.5):
        assert genes.target[rows].mean() == pytest.approx(stated[rows].mean(), abs=0.01)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 6])
@pytest.mark.parametrize(
    ("make", "options"), [(make_synthgene, {"n_modalities": 1}), (make_synthgene_tri, {})]
)
def test_classes_are_balanced_and_a_remainder_is_random(make, options, n_samples):
    several = [make(n_samples, random_state=seed, **options) for seed in range(200)]
    ones = np.array([genes.target.sum() for genes in several])
    assert np.abs(2 * ones - n_samples).max() == n_samples % 2
    assert ones.mean() / n_samples == pytest.approx(0.5, abs=0.1)
    if make is make_synthgene_tri:
        put = np.mean([genes.insertions[["M1", "M2"]].mean() for genes in several], axis=0)
        np.testing.assert_allclose(put, 0.5, atol=0.1)


def test_a_seed_reproduces_and_none_is_fresh():
    for make in (make_synthgene, make_synthgene_tri):
        one, two = make(10, random_state=1), make(10, random_state=1)
        np.testing.assert_array_equal(one.data["M1"], two.data["M1"])
        assert not np.array_equal(make(10).data["M1"], make(10).data["M1"])


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (make_synthgene, {"n_samples": 0}, "n_samples must be a positive integer"),
        (make_synthgene, {"probabilities": {"M11": 0.1}}, r"no modalities \['M11'\], only M1 to"),
        (make_synthgene, {"probabilities": {"M1": 1.0}}, r"in \[0, 1\); got {'M1': 1.0}"),
        (make_synthgene, {"probabilities": {"M1": "0.1"}}, r"in \[0, 1\); got {'M1': '0.1'}"),
        (make_synthgene_tri, {"motifs": "both"}, "motifs must be 'presence' or 'which'"),
    ],
)
def test_what_cannot_be_made_is_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)

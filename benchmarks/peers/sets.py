"""The development sets, on which defaults were chosen, and the sets that they were checked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import (
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
    make_friedman1,
    make_friedman2,
    make_hastie_10_2,
)
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit, StratifiedKFold

from sklearn_mmfuse.datasets import (
    fetch_instagram_intent,
    load_breast_cancer_modalities,
    make_bimodal,
    make_redundant,
    make_redundant_interactions,
    make_switching,
    make_trimodal,
)

Blocks = dict[str, np.ndarray]

N_FOLDS = 5


@dataclass(frozen=True)
class Problem:
    """Data, and how it is split for testing."""

    name: str
    X: Blocks
    y: np.ndarray
    is_classification: bool
    groups: np.ndarray | None = None
    folds: np.ndarray | None = None

    def splits(self, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield training and test rows: the paper's folds, persons apart, or at random."""
        n = np.zeros(len(self.y))
        if self.folds is not None:
            return PredefinedSplit(self.folds).split()
        if self.groups is not None:
            splitter = GroupKFold(N_FOLDS, shuffle=True, random_state=seed)
            return splitter.split(n, self.y, self.groups)
        kind = StratifiedKFold if self.is_classification else KFold
        return kind(N_FOLDS, shuffle=True, random_state=seed).split(n, self.y)


def _columns(X: np.ndarray, **widths: int) -> Blocks:
    """Cut columns into blocks, from left to right."""
    cuts = np.cumsum(list(widths.values()))[:-1]
    return dict(zip(widths, np.split(np.asarray(X, dtype=float), cuts, axis=1), strict=True))


def _instagram(home: Any) -> Problem:
    bunch = fetch_instagram_intent(data_home=home, download_if_missing=False)
    X = {name: np.asarray(bunch.data[name]) for name in ("image", "text")}
    return Problem("instagram", X, bunch.target, True, folds=bunch.fold)


def _breast_cancer(_: Any) -> Problem:
    bunch = load_breast_cancer_modalities()
    X = {name: np.asarray(bunch.data[name]) for name in ("mean", "error", "worst")}
    return Problem("breast cancer", X, np.asarray(bunch.target), True)


def _digits(_: Any) -> Problem:
    bunch = load_digits()
    images = bunch.images
    quadrants = {
        "upper left": images[:, :4, :4],
        "upper right": images[:, :4, 4:],
        "lower left": images[:, 4:, :4],
        "lower right": images[:, 4:, 4:],
    }
    X = {name: block.reshape(len(block), -1) for name, block in quadrants.items()}
    return Problem("digits", X, bunch.target, True)


def _wine(_: Any) -> Problem:
    bunch = load_wine()
    return Problem("wine", _columns(bunch.data, minerals=5, phenols=4, look=4), bunch.target, True)


def _diabetes(_: Any) -> Problem:
    bunch = load_diabetes(scaled=False)
    return Problem("diabetes", _columns(bunch.data, person=2, body=2, serum=6), bunch.target, False)


def _switching(_: Any) -> Problem:
    bunch = make_switching(1000, random_state=0)
    X = {name: np.asarray(bunch.data[name]) for name in ("context", "first", "second")}
    return Problem("switching", X, bunch.target, True)


def _products(_: Any) -> Problem:
    bunch = make_bimodal(1000, n_features=3, noise=0.5, random_state=0)
    X = {name: np.asarray(bunch.data[name]) for name in ("acoustic", "text", "vision")}
    return Problem("products", X, bunch.target, False)


def _redundant(_: Any) -> Problem:
    bunch = make_redundant(500, noise=0.5, random_state=0)
    names = list(bunch.data)
    return Problem(
        "redundant", {name: np.asarray(bunch.data[name]) for name in names}, bunch.target, False
    )


def _friedman(_: Any) -> Problem:
    X, y = make_friedman1(1000, noise=1.0, random_state=0)
    return Problem("friedman", _columns(X, waves=2, curves=3, noise=5), y, False)


def _linear(_: Any) -> Problem:
    """Few rows, many correlated features of heavy tails, a truth that is linear."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(300, 12))
    X = factors @ rng.normal(size=(12, 150)) + rng.standard_t(3, size=(300, 150))
    y = factors[:, :4].sum(axis=1) + rng.normal(size=300)
    return Problem("linear, wide", _columns(X, audio=100, video=50), y, False)


def _clusters(_: Any) -> Problem:
    X, y = make_classification(
        600,
        30,
        n_informative=6,
        n_redundant=6,
        n_classes=3,
        n_clusters_per_class=2,
        flip_y=0.05,
        class_sep=0.8,
        random_state=0,
    )
    return Problem("clusters", _columns(X, a=10, b=10, c=10), y, True)


def _persons(_: Any) -> Problem:
    """Sixty persons, ten samples each; features tell persons apart better than they tell y."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(60), 10)
    shared = rng.normal(size=(60, 40))[person]
    state = rng.normal(size=(600, 4))
    X = 1.5 * shared + state @ rng.normal(size=(4, 40)) + rng.normal(size=(600, 40))
    logit = 1.5 * state[:, 0] + np.where(state[:, 1] > 0, 1.5, -1.5) * state[:, 2]
    y = (logit + rng.logistic(size=600) > 0).astype(int)
    return Problem("persons", _columns(X, voice=15, face=15, text=10), y, True, groups=person)


def _iris(_: Any) -> Problem:
    bunch = load_iris()
    return Problem("iris", _columns(bunch.data, sepal=2, petal=2), bunch.target, True)


def _survey(name: str) -> Any:
    """Load survey data that statsmodels brings."""
    from statsmodels import datasets

    return getattr(datasets, name).load_pandas().data


def _vote(_: Any) -> Problem:
    """Who somebody voted for in 1996, by the person, the own views and those seen in others."""
    data = _survey("anes96")
    blocks = {
        "person": ["age", "educ", "income", "logpopul"],
        "views": ["TVnews", "selfLR"],
        "candidates": ["ClinLR", "DoleLR"],
    }
    X = {name: data[columns].to_numpy(dtype=float) for name, columns in blocks.items()}
    return Problem("vote", X, data["vote"].to_numpy(dtype=int), True)


def _affairs(_: Any) -> Problem:
    """Whether there was an affair, 2,000 of the women whom a magazine asked."""
    data = _survey("fair").sample(2000, random_state=0)
    blocks = {
        "marriage": ["rate_marriage", "yrs_married", "children"],
        "person": ["age", "religious", "educ"],
        "work": ["occupation", "occupation_husb"],
    }
    X = {name: data[columns].to_numpy(dtype=float) for name, columns in blocks.items()}
    return Problem("affairs", X, (data["affairs"].to_numpy() > 0).astype(int), True)


def _schools(_: Any) -> Problem:
    """Which share of pupils is above the national median, by school district."""
    data = _survey("star98")
    blocks = {
        "pupils": ["LOWINC", "PERASIAN", "PERBLACK", "PERHISP"],
        "teachers": ["PERMINTE", "AVYRSEXP", "AVSALK"],
        "school": ["PERSPENK", "PTRATIO", "PCTAF", "PCTCHRT", "PCTYRRND"],
    }
    X = {name: data[columns].to_numpy(dtype=float) for name, columns in blocks.items()}
    share = data["NABOVE"] / (data["NABOVE"] + data["NBELOW"])
    return Problem("schools", X, share.to_numpy(dtype=float), False)


def _triple(_: Any) -> Problem:
    bunch = make_trimodal(2000, n_features=2, noise=0.3, random_state=1)
    X = {name: np.asarray(bunch.data[name]) for name in bunch.data}
    return Problem("triple product", X, bunch.target, False)


def _redundant_pairs(_: Any) -> Problem:
    bunch = make_redundant_interactions(1000, noise=0.3, random_state=1)
    X = {name: np.asarray(bunch.data[name]) for name in bunch.data}
    return Problem("redundant pairs", X, bunch.target, False)


def _sphere(_: Any) -> Problem:
    X, y = make_hastie_10_2(1000, random_state=1)
    return Problem("sphere", _columns(X, a=3, b=3, c=4), (y > 0).astype(int), True)


def _circuit(_: Any) -> Problem:
    X, y = make_friedman2(500, noise=100.0, random_state=1)
    return Problem("circuit", _columns(X, resistor=2, coil=2), y, False)


DEVELOPMENT: dict[str, Callable[[Any], Problem]] = {
    "instagram": _instagram,
    "breast cancer": _breast_cancer,
    "digits": _digits,
    "wine": _wine,
    "diabetes": _diabetes,
    "switching": _switching,
    "clusters": _clusters,
    "persons": _persons,
    "products": _products,
    "redundant": _redundant,
    "friedman": _friedman,
    "linear, wide": _linear,
}

# Not looked at before defaults were settled.
CONFIRMATION: dict[str, Callable[[Any], Problem]] = {
    "vote": _vote,
    "affairs": _affairs,
    "schools": _schools,
    "iris": _iris,
    "sphere": _sphere,
    "circuit": _circuit,
    "triple product": _triple,
    "redundant pairs": _redundant_pairs,
}

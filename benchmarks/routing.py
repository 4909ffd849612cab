"""Multimodal Routing: what its coefficients find, where they cost accuracy, and several labels.

1. `make_switching`: a context modality says which of two others holds the label. Accuracy, and how
   often the larger coefficient of the two is that of the right modality, on held-out rows.
2. Instagram intent (features published with the MRO paper, which reports 0.731 for routing): macro
   ROC AUC beside the sharpness of coefficients, and the steps that lead to the figure reported.
3. `make_multilabel_classification` in three modalities: macro F1 beside one-vs-rest logistic
   regression, in cross_val_predict and GridSearchCV.
4. What term contributions hold of other modalities: separation error, before and after
   `purify=True`, on y = x_A + x_T + x_V and on the sum of pairs.

    python -m benchmarks.routing [--data-home FOLDER] [--seeds 5] [--parts 1 2 3 4]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import make_multilabel_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, PredefinedSplit, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.settings import earlier
from sklearn_mmfuse import MultimodalData, RoutingClassifier, RoutingRegressor
from sklearn_mmfuse.datasets import (
    fetch_instagram_intent,
    make_additive,
    make_bimodal,
    make_switching,
    paper_folds,
)
from sklearn_mmfuse.inspection import separation_error
from sklearn_mmfuse.nets import RoutingNet

OUT = Path(__file__).parent / "results" / "routing.json"
RESULTS = json.loads(OUT.read_text()) if OUT.exists() else {}
VARIANTS = {
    "routing": {},
    "routing*": {"n_routing": 1},
    "temperature=1": {"temperature": 1.0},
    "gam": {"routing": False},
}
# What instagram_intent.py found to suit all its models.
INSTAGRAM = {
    "input_scaling": "clip",
    "max_epochs": 100,
    "n_iter_no_change": 15,
    "early_stopping": True,
    "dropout": 0.5,
    "weight_decay": 0.1,
}


def pick(values, names, relevant):
    """Return how often the right one of "first" and "second" has the larger value."""
    first, second = (values[:, names == name].sum(axis=1) for name in ("first", "second"))
    return float((np.where(first > second, "first", "second") == relevant).mean())


def switching_scores(n_classes, max_order, variant, seed):
    toy = make_switching(4000, n_classes=n_classes, random_state=seed)
    train, test = np.arange(3000), np.arange(3000, 4000)
    model = earlier(RoutingClassifier, max_order=max_order, random_state=seed, **VARIANTS[variant])
    model.fit(toy.data[train], toy.target[train])
    X, relevant = toy.data[test], toy.relevant[test]
    routed, predicted = model.routing_coefficients(X), model.predict(X)
    rows = np.arange(len(test))
    # A term that reads one of the two speaks for it, whatever else it reads.
    names = np.array(
        [
            next(iter({"first", "second"} & set(term.modalities)), "")
            if not {"first", "second"} <= set(term.modalities)
            else ""
            for term in model.terms_
        ]
    )
    values = model.decompose(X).values
    if n_classes == 2:
        values = np.concatenate([-values, values], axis=2)
    return {
        "accuracy": float((predicted == toy.target[test]).mean()),
        "pick p r": pick(routed.pr[rows, :, predicted], names, relevant),
        "pick r": pick(routed.r[rows, :, predicted], names, relevant),
        "pick contribution": pick(values[rows, :, predicted], names, relevant),
    }


def part_1(options):
    print(f"{'switching':<36}{'accuracy':>16}{'p r':>16}{'r':>16}{'contribution':>16}")
    for max_order in (1, None):
        for n_classes in (2, 3, 4, 6):
            for variant in VARIANTS:
                scores = [
                    switching_scores(n_classes, max_order, variant, seed)
                    for seed in range(options.seeds)
                ]
                key = f"{n_classes} classes, order {max_order or 3}, {variant}"
                RESULTS.setdefault("switching", {})[key] = scores
                print_row(key, scores)


def print_row(key, scores):
    cells = ""
    for name in scores[0]:
        values = [score[name] for score in scores]
        cells += f"{np.mean(values):>8.3f} >{min(values):.3f} "
    print(f"{key:<36}{cells}", flush=True)


class AuthorsNet(RoutingNet):
    """Routing as re-implemented for the MRO paper, one departure at a time.

    Parameters
    ----------
    departures : set of str
        "raw": no division by sqrt(d_c); "randn": unscaled weights; "ones": first concepts are
        ones; "ten": ten rounds.
    """

    departures: frozenset[str] = frozenset()

    def reset_parameters(self, generators):
        """Draw fresh parameters."""
        super().reset_parameters(generators)
        if "randn" in self.departures:
            for weight, generator in zip(self.vote_weights.data, generators, strict=True):
                weight.normal_(generator=generator)

    def route(self, features, activation, there):
        """Return the routing coefficients."""
        votes = torch.matmul(features, self.vote_weights).unflatten(
            3, (len(self.concept_outputs), -1)
        )
        scale = 1.0 if "raw" in self.departures else math.sqrt(votes.shape[-1])
        concepts = votes.mean(dim=-4, keepdim=True) * votes.shape[-4] / votes.shape[-2]
        if "ones" in self.departures:
            concepts = torch.ones_like(concepts)
        rounds = 10 if "ten" in self.departures else self.n_routing
        for _ in range(rounds):
            coefficients = ((votes * concepts).sum(dim=-1) / scale).softmax(dim=-1)
            weight = (activation.unsqueeze(-1) * coefficients).unsqueeze(-1)
            concepts = (weight * votes).sum(dim=-4, keepdim=True)
        return coefficients


def authors(*departures):
    """Return a RoutingClassifier with these departures."""

    class Net(AuthorsNet):
        pass

    Net.departures = frozenset(departures)

    class Authors(RoutingClassifier):
        @staticmethod
        def _build_net(config):
            return Net(**{key: value for key, value in config.items() if key != "dtype"})

    Authors.__init__ = RoutingClassifier.__init__
    return Authors


def part_2(options):
    posts = fetch_instagram_intent(data_home=options.data_home)
    target, folds = np.asarray(posts.target), list(paper_folds(posts.fold))
    ladder = {
        f"temperature={t:g}": (RoutingClassifier, {"temperature": t}) for t in (0.125, 1, 4, 16, 64)
    }
    ladder["gam"] = (RoutingClassifier, {"routing": False})
    steps, small = ("raw", "randn", "ones", "ten"), {"concept_dim": 5, "temperature": 1.0}
    ladder["temperature=1, concept_dim=5"] = (RoutingClassifier, small)
    for count in range(1, len(steps) + 1):
        ladder[f"+ {', '.join(steps[:count])}"] = (authors(*steps[:count]), small)
    print(f"{'Instagram':<36}{'AUC':>8}{'s.d.':>8}{'accuracy':>10}{'max r':>8}{'s.d. r':>8}")
    for key, (estimator, params) in ladder.items():
        scores = []
        for seed in range(min(options.seeds, 3)):
            for train, validation, test in folds:
                rows = np.concatenate([train, validation])
                watched = PredefinedSplit(np.where(np.isin(rows, validation), 0, -1))
                model = estimator(
                    validation_fraction=watched, random_state=seed, **INSTAGRAM, **params
                ).fit(posts.data[rows], target[rows])
                probabilities = model.predict_proba(posts.data[test])
                r = model.routing_coefficients(posts.data[test]).r
                scores.append(
                    (
                        roc_auc_score(target[test], probabilities, multi_class="ovr"),
                        accuracy_score(target[test], model.classes_[probabilities.argmax(1)]),
                        r.max(axis=2).mean(),
                        r.std(axis=0).mean(),
                    )
                )
        mean, spread = np.mean(scores, axis=0), np.std([score[0] for score in scores])
        RESULTS.setdefault("instagram", {})[key] = {
            "auc": mean[0],
            "auc_sd": spread,
            "accuracy": mean[1],
            "largest_r": mean[2],
            "sd_of_r_over_posts": mean[3],
        }
        print(
            f"{key:<36}{mean[0]:>8.3f}{spread:>8.3f}{mean[1]:>10.3f}{mean[2]:>8.3f}{mean[3]:>8.3f}",
            flush=True,
        )


def part_3(options):
    grid = {"dropout": [0.0, 0.5]}
    print(f"{'several labels':<28}{'routing':>10}{'searched':>10}{'logistic':>10}   macro F1")
    for n_samples in (500, 2000):
        scores = []
        for seed in range(min(options.seeds, 3)):
            features, y = make_multilabel_classification(
                n_samples, n_features=30, n_classes=5, n_labels=2, random_state=seed
            )
            X = MultimodalData(a=features[:, :10], b=features[:, 10:20], c=features[:, 20:])
            folds = KFold(5, shuffle=True, random_state=seed)
            model = earlier(RoutingClassifier, random_state=seed)
            search = GridSearchCV(model, grid, scoring="f1_macro", cv=3)
            logistic = OneVsRestClassifier(
                make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            )
            scores.append(
                [
                    f1_score(
                        y,
                        cross_val_predict(estimator, data, y, cv=folds),
                        average="macro",
                        zero_division=0,
                    )
                    for estimator, data in ((model, X), (search, X), (logistic, features))
                ]
            )
        RESULTS.setdefault("labels", {})[f"{n_samples} rows"] = scores
        cells = "".join(f"{value:>10.3f}" for value in np.mean(scores, axis=0))
        worst = min(score[1] - score[2] for score in scores)
        print(f"{n_samples:>6} rows{'':<17}{cells}   smallest difference {worst:+.3f}", flush=True)


def part_4(options):
    print(f"{'separation error':<28}{'test r':>8}{'as trained':>12}{'purified':>10}")
    for name, make in (("additive", make_additive), ("pairs", make_bimodal)):
        scores = []
        for seed in range(min(options.seeds, 3)):
            toy = make(2000, random_state=seed)
            model = earlier(RoutingRegressor, random_state=seed).fit(
                toy.data[:1000], toy.target[:1000]
            )
            correlation = np.corrcoef(model.predict(toy.data[1000:]), toy.target[1000:])[0, 1]
            rows = toy.data[1000:1100]
            few = toy.data[1000:1008]
            scores.append(
                (
                    correlation,
                    separation_error(model, rows).error,
                    separation_error(model, few, purify=True).error,
                )
            )
        RESULTS.setdefault("separation", {})[name] = scores
        mean = np.mean(scores, axis=0)
        print(f"{name:<28}{mean[0]:>8.4f}{mean[1]:>12.4f}{mean[2]:>10.1e}", flush=True)


def main():
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", default=None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3, 4])
    options = parser.parse_args()
    for part in options.parts:
        (part_1, part_2, part_3, part_4)[part - 1](options)
        OUT.write_text(json.dumps(RESULTS, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()

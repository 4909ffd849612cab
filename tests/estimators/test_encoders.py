"""The parameter `encoder`: sequences and images in every estimator, padding, modules of a user."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from sklearn_mmfuse import (
    InTenseClassifier,
    InTenseRegressor,
    MROClassifier,
    MRORegressor,
    MultimodalData,
    RoutingRegressor,
    SMURFRegressor,
)
from sklearn_mmfuse.inspection import modality_effects

N = 120
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(N, 4))
IMAGES = RNG.normal(size=(N, 2, 6, 5))
LENGTHS = RNG.integers(2, 9, N)
SEQUENCES = RNG.normal(size=(N, 8, 3))
for _row, _length in enumerate(LENGTHS):
    SEQUENCES[_row, _length:] = np.nan
X = {"speech": SEQUENCES, "face": IMAGES, "text": VECTORS}
Y = np.nanmean(SEQUENCES[..., 0], axis=1) + IMAGES[:, 0, :3].mean(axis=(1, 2)) + VECTORS[:, 0]
LABELS = np.where(Y > 0, "yes", "no")

QUICK = {"max_epochs": 3, "random_state": 0, "hidden_layer_sizes": (8,)}
SMALL = {
    "speech": {"name": "gru", "width": 6},
    "face": {"name": "conv2d", "width": 6, "channels": [4]},
}
MODELS = {
    "MRO": MRORegressor(encoder=SMALL, **QUICK),
    "MRO, tensor": MRORegressor(encoder=SMALL, fusion="tensor", **QUICK),
    "MRO, shared": MRORegressor(encoder=SMALL, share_encoders=True, **QUICK),
    "sMRO": MRORegressor(encoder=SMALL, optimization="smro", **QUICK),
    "SMURF": SMURFRegressor(encoder=SMALL, max_order=2, **QUICK),
    "InTense": InTenseRegressor(encoder=SMALL, n_bootstrap=0, **QUICK),
    "Routing": RoutingRegressor(encoder=SMALL, **QUICK),
}


MULT = {"name": "mult", "width": 6, "n_layers": 1, "n_heads": 2}
MULTS = {
    name: clone(model).set_params(encoder={"speech": MULT, "song": MULT})
    for name, model in MODELS.items()
}


class MaskedMean(nn.Module):
    def __init__(self, n_features=3):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(n_features), nn.Dropout(0.5)
        self.linear = nn.Linear(n_features, 5)

    def forward(self, x, mask):
        kept = mask.unsqueeze(-1).to(x)
        return self.linear(self.dropout(self.norm((x * kept).sum(1) / kept.sum(1))))


def make_image_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 7), nn.Tanh())


OWN = {"speech": MaskedMean, "face": make_image_net, "text": partial(nn.Linear, 4, 3)}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_sequences_images_and_vectors_in_every_estimator(model):
    model = clone(model).fit(MultimodalData(X), Y)
    parts = model.decompose(X)
    np.testing.assert_allclose(parts.sum()[:, 0], model.predict(X), atol=1e-12)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    one = {name: block[:1] for name, block in X.items()}
    np.testing.assert_allclose(model.predict(one), model.predict(X)[:1], atol=1e-10)


@pytest.mark.parametrize("model", MULTS.values(), ids=MULTS)
def test_sequences_that_attend_to_each_other_in_every_estimator(model):
    song = np.random.default_rng(1).normal(size=(N, 14, 2))  # of another length
    song[::3, 9:] = np.nan
    some = {"speech": SEQUENCES, "song": song, "text": VECTORS}
    fitted = clone(model).fit(some, Y)
    parts = fitted.decompose(some)
    np.testing.assert_allclose(parts.sum()[:, 0], fitted.predict(some), atol=1e-12)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(some), fitted.predict(some))
    one = {name: block[:1] for name, block in some.items()}
    np.testing.assert_allclose(fitted.predict(one), fitted.predict(some)[:1], atol=1e-10)
    longer = some | {"speech": padded(SEQUENCES, before=2, after=1)}
    np.testing.assert_allclose(fitted.predict(longer), fitted.predict(some), atol=1e-10)
    swapped = clone(model).set_params(modalities=["text", "song", "speech"]).fit(some, Y)
    np.testing.assert_allclose(swapped.predict(some), fitted.predict(some), atol=1e-10)
    few = {name: block[:5] for name, block in some.items()}
    pure = fitted.decompose(few, purify=True)
    np.testing.assert_allclose(pure.sum()[:, 0], fitted.predict(few), atol=1e-9)
    truth = modality_effects(fitted, few, method="exact")
    for term in truth.terms:
        same = [pure[other] for other in pure.terms if other.modalities == term.modalities]
        np.testing.assert_allclose(sum(same), truth[term], atol=1e-9)


def padded(sequences, before, after):
    nothing = np.full((N, 1, 3), np.nan)
    return np.concatenate(
        [nothing] * before + [sequences] + [nothing] * after, axis=1, dtype=sequences.dtype
    )


@pytest.mark.parametrize("encoder", ["gru", "lstm", "transformer", "conv1d", "mult", MaskedMean])
@pytest.mark.parametrize("estimator", [MROClassifier, InTenseClassifier])
def test_padding_changes_neither_the_fit_nor_a_prediction(estimator, encoder):
    model = estimator(encoder={"speech": encoder}, modalities=["speech", "text"], **QUICK)
    plain = clone(model).fit(X, LABELS).predict_proba(X)
    longer = X | {"speech": padded(SEQUENCES, before=1, after=3)}
    other = clone(model).fit(longer, LABELS)
    np.testing.assert_array_equal(other.predict_proba(X), plain)
    np.testing.assert_array_equal(other.predict_proba(longer), plain)
    gaps = X | {"speech": np.insert(SEQUENCES, [1, 2, 2], np.nan, axis=1)}  # between steps, too
    np.testing.assert_array_equal(other.predict_proba(gaps), plain)
    ragged = [row[:length] for row, length in zip(SEQUENCES, LENGTHS, strict=True)]
    np.testing.assert_array_equal(other.predict_proba(X | {"speech": ragged}), plain)


@pytest.mark.parametrize("encoder", ["gru", "mult"])
def test_a_background_may_have_longer_sequences(encoder):
    short = {"speech": SEQUENCES[:6, :4], "text": VECTORS[:6]}
    behind = {"speech": SEQUENCES[6:12], "text": VECTORS[6:12]}
    model = MRORegressor(encoder={"speech": encoder}, modalities=["speech", "text"], **QUICK)
    model.fit(X, Y)
    pure = model.decompose(short, purify=True, background=behind)
    np.testing.assert_allclose(pure.sum(), model.decompose(short).sum(), atol=1e-10)
    truth = modality_effects(
        model, MultimodalData(short), background=MultimodalData(behind), method="exact"
    )
    for term in truth.terms:
        np.testing.assert_allclose(pure[term], truth[term], atol=1e-9)
    longer = {**behind, "speech": padded_to(behind["speech"], 20)}
    same = model.decompose(short, purify=True, background=longer)
    np.testing.assert_allclose(same.values, pure.values, atol=1e-10)


def padded_to(sequences, n_steps):
    more = np.full((len(sequences), n_steps - sequences.shape[1], sequences.shape[2]), np.nan)
    return np.concatenate([sequences, more], axis=1)


def test_inputs_are_standardized_over_steps_and_pixels_and_padding_is_none_of_them():
    model = MRORegressor(encoder=SMALL, **QUICK).fit(X, Y)
    names = list(model.module_.in_features)
    scaling = model.module_.scalings[names.index("speech")]
    steps = SEQUENCES[~np.isnan(SEQUENCES[..., 0])]
    np.testing.assert_allclose(scaling.scale.flatten(), 1 / steps.std(axis=0), rtol=1e-5)
    scaling = model.module_.scalings[names.index("face")]
    np.testing.assert_allclose(scaling.scale.flatten(), 1 / IMAGES.std(axis=(0, 2, 3)), rtol=1e-5)


def test_units_do_not_matter():
    model = MRORegressor(encoder=SMALL, dtype="float64", **QUICK)
    plain = clone(model).fit(X, Y).predict(X)
    other = {"speech": SEQUENCES * 100 + 7, "face": IMAGES * 0.01, "text": VECTORS}
    np.testing.assert_allclose(clone(model).fit(other, Y).predict(other), plain, atol=1e-8)


@pytest.mark.parametrize("estimator", [MRORegressor, SMURFRegressor, InTenseRegressor])
def test_modules_of_a_user(estimator):
    model = estimator(encoder=OWN, early_stopping=True, **QUICK)
    fits = [clone(model).fit(X, Y) for _ in range(2)]
    np.testing.assert_array_equal(fits[0].predict(X), fits[1].predict(X))
    np.testing.assert_array_equal(fits[0].predict(X), fits[0].predict(X))  # dropout is off
    again = pickle.loads(pickle.dumps(fits[0]))
    np.testing.assert_array_equal(again.predict(X), fits[0].predict(X))
    other = clone(model).set_params(random_state=1).fit(X, Y)
    assert np.abs(other.predict(X) - fits[0].predict(X)).max() > 1e-3


def test_a_users_module_is_trained():
    model = MRORegressor(encoder={"text": partial(nn.Linear, 4, 3)}, modalities=["text", "face"])
    model.set_params(**QUICK | {"max_epochs": 1}).fit(X, Y)
    start = model.module_.block.mlps.banks
    later = clone(model).set_params(max_epochs=5).fit(X, Y).module_.block.mlps.banks
    pairs = zip(start.parameters(), later.parameters(), strict=True)
    assert all((one - other).abs().max() > 0 for one, other in pairs)


def test_encoders_are_searched_over_and_a_name_is_used_where_it_fits():
    search = GridSearchCV(
        MRORegressor(max_order=1, **QUICK),
        {"encoder": ["gru", "conv1d"]},
        cv=2,
        error_score="raise",
    )
    search.fit(MultimodalData(X), Y)
    specs = search.best_estimator_._config["encoders"]
    assert specs["speech"].kind == search.best_params_["encoder"]
    assert (specs["face"].kind, specs["text"].kind) == ("conv2d", "mlp")


def test_equal_encoders_of_two_modalities_are_one_bank_whatever_their_lengths():
    two = {"a": SEQUENCES, "b": np.nan_to_num(SEQUENCES[:, :5]), "text": VECTORS}
    model = MRORegressor(max_order=1, **QUICK).fit(two, Y)
    (bank,) = model.module_.block.mlps.banks
    assert len(bank.weight("input_0")) == 2
    swapped = MRORegressor(max_order=1, modalities=["text", "b", "a"], **QUICK).fit(two, Y)
    np.testing.assert_allclose(swapped.predict(two), model.predict(two), atol=1e-12)


def test_a_sequence_may_be_absent():
    missing = X | {"speech": SEQUENCES.copy()}
    missing["speech"][:20] = np.nan
    for model in (MODELS["MRO"], MODELS["InTense"]):
        fitted = clone(model).fit(missing, Y)
        parts = fitted.decompose(missing)
        assert parts.absent[:20].any(axis=1).all()
        assert not parts.absent[20:].any()
        left_out = {name: block[:20] for name, block in missing.items() if name != "speech"}
        np.testing.assert_allclose(fitted.predict(left_out), fitted.predict(missing)[:20])


BAD = {
    "unknown": ("gruu", "no encoder 'gruu', only auto, mlp"),
    "not a sequence": (
        {"text": "gru"},
        r"'gru' does not read feature vectors .* text \(n, 4\) is such; use",
    ),
    "identity of a sequence": ({"speech": "identity"}, r"speech \(n, T, 3\).*'gru' or 'lstm'"),
    "unknown modality": ({"voice": "gru"}, r"encoder names the modalities \['voice'\], but X has"),
    "unknown option": (
        {"speech": {"name": "gru", "kernel": 3}},
        r"no options \['kernel'\]; it has",
    ),
    "no name": ({"speech": {"width": 3}}, "options and no name"),
    "bad option": ({"speech": {"name": "gru", "width": 0}}, "width.*positive integer; got 0"),
    "bad channels": ({"face": {"name": "conv2d", "channels": [0]}}, "list of positive integers"),
    "heads": (
        {"speech": {"name": "transformer", "n_heads": 3}},
        "n_heads=3 .* must divide its width, 64",
    ),
    "mult of a vector": ({"text": "mult"}, "Encoder 'mult' does not read"),
    "a module": ({"text": nn.Linear(4, 2)}, "is a module; pass what makes a new one"),
    "no module": ({"text": dict}, "must return a torch.nn.Module; it returned a dict"),
    "wrong width": (
        {"text": partial(nn.Linear, 9, 2)},
        r"fails on zeros of shape \(2, 4\), in float32",
    ),
    "wrong output": ({"face": nn.Identity}, r"one vector per row, .* it returned \(2, 2, 6, 5\)"),
}


@pytest.mark.parametrize(("encoder", "message"), BAD.values(), ids=BAD)
def test_encoders_that_cannot_be(encoder, message):
    model = InTenseRegressor(encoder=encoder, max_epochs=1)
    with pytest.raises(ValueError, match=message) as caught:
        model.fit(X, Y)
    assert not hasattr(model, "module_")
    if "fails on" not in message:
        assert "\n" not in str(caught.value)


def test_modalities_that_attend_to_each_other_need_the_same_options():
    two = {"a": SEQUENCES, "b": SEQUENCES[..., :2]}
    encoder = {"a": {"name": "mult", "width": 8}, "b": "mult"}
    with pytest.raises(ValueError, match=r"'mult' reads attend .* the same options; got {'a': {'w"):
        RoutingRegressor(encoder=encoder).fit(two, Y)


def test_a_name_that_fits_nothing():
    with pytest.raises(
        ValueError, match=r"'conv2d' reads images .* no modality of X is such: text"
    ):
        MRORegressor(encoder="conv2d").fit({"text": VECTORS, "b": VECTORS[:, :2]}, Y)


@pytest.mark.parametrize("kind", ["gru", "conv1d", "conv2d"])
def test_encoders_learn(kind):
    rng = np.random.default_rng(1)
    if kind == "conv2d":
        block = rng.normal(size=(400, 1, 6, 6))
        target = np.tanh(block[:, 0, :3, :3].sum(axis=(1, 2)))
    else:
        block = rng.normal(size=(400, 10, 2))
        target = block[:, :, 0].max(axis=1) if kind == "conv1d" else block[:, :, 0].sum(axis=1)
    other = rng.normal(size=(400, 2))
    model = MRORegressor(encoder={"x": kind}, max_order=1, max_epochs=60, random_state=0)
    model.fit({"x": block[:300], "z": other[:300]}, target[:300])
    assert model.score({"x": block[300:], "z": other[300:]}, target[300:]) > 0.6


@pytest.mark.gpu
def test_encoders_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    for model in MODELS.values():
        clone(model).set_params(device="cuda").fit(X, Y)


class Plain(nn.Module):
    """A user's module that knows of no mask."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, x):
        return torch.tanh(self.linear(x)).mean(1)


@pytest.mark.parametrize("estimator", [MRORegressor, InTenseRegressor])
def test_a_module_without_a_mask_never_sees_padding(estimator):
    two = {"speech": SEQUENCES, "other": RNG.normal(size=(N, 12, 3))}
    model = estimator(encoder=Plain, **QUICK).fit(two, Y)
    together = model.predict(two)
    for row in range(5):
        one = {name: block[row : row + 1] for name, block in two.items()}
        np.testing.assert_allclose(model.predict(one), together[row], atol=1e-12)
    longer = two | {"other": np.concatenate([two["other"]] * 2, axis=1)}
    alone = [model.decompose(data)["speech"] for data in (two, longer)]
    np.testing.assert_array_equal(*alone)
    gone = two | {"speech": SEQUENCES.copy()}
    gone["speech"][0] = np.nan
    np.testing.assert_allclose(model.predict(gone)[1:], together[1:], atol=1e-12)


def test_a_module_for_sequences_of_one_length():
    def flat():
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 4))

    X_fixed = {"other": RNG.normal(size=(N, 12, 3)), "text": VECTORS}
    model = MRORegressor(encoder={"other": flat}, **QUICK).fit(X_fixed, Y)
    assert model.predict(X_fixed).shape == (N,)


def test_the_best_epoch_comes_back_with_its_batch_normalization():
    def make():
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))

    split = [(np.arange(90), np.arange(90, N))]
    model = MRORegressor(encoder={"text": make}, modalities=["text"], validation_fraction=split)
    model.set_params(random_state=0, learning_rate=0.05, n_iter_no_change=8, max_epochs=60)
    model.set_params(learning_rate_schedule="constant")  # which does not look ahead
    noisy = VECTORS[:, 0] + 2 * RNG.normal(size=N)
    long = clone(model).fit(X, noisy)
    assert long.best_epoch_ < long.n_iter_
    short = clone(model).set_params(max_epochs=long.best_epoch_).fit(X, noisy)
    np.testing.assert_array_equal(long.predict(X), short.predict(X))


def make_lookup(n_samples):
    """A question of 3 steps names one of two keys; a memory of 5 to 9 steps holds their values."""
    rng = np.random.default_rng(0)
    key = rng.integers(2, size=n_samples)
    question = rng.normal(scale=0.1, size=(n_samples, 3, 2))
    question[np.arange(n_samples), rng.integers(3, size=n_samples), key] += 1
    memory, answers = [], rng.choice([-1, 1], size=(n_samples, 2))
    for row in range(n_samples):
        steps = rng.normal(scale=0.1, size=(rng.integers(5, 10), 3))
        places = rng.permutation(len(steps))[:2]
        steps[places, [0, 1]] += 1
        steps[places, 2] = answers[row]
        memory.append(steps)
    data = MultimodalData(question=question, memory=memory)
    return data, answers[np.arange(n_samples), key] > 0


def test_a_question_is_looked_up_in_a_memory_of_other_length():
    data, y = make_lookup(800)
    encoder = {name: {"name": "mult", "width": 16, "n_layers": 1} for name in data}
    model = MROClassifier(
        encoder=encoder, max_epochs=30, n_iter_no_change=8, learning_rate=0.01, random_state=0
    )
    assert model.fit(data[:600], y[:600]).score(data[600:], y[600:]) > 0.95
    additive = clone(model).set_params(max_order=1, max_epochs=10).fit(data[:600], y[:600])
    assert additive.score(data[600:], y[600:]) < 0.8

"""Every fusion against its equations, written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklearn_mmfuse.nets import FUSIONS, FusedNet
from sklearn_mmfuse.nets._encoders import EncoderSpec
from sklearn_mmfuse.nets._fusions import FusionSetting
from sklearn_mmfuse.nets._fusions._raven import shift_words

D = {"audio": 3, "text": 4, "video": 2}
OPTIONS = {"tensor_dim": 3, "rank": 2, "state_dim": 5, "language": "text", "shift": 0.7}
SEQUENTIAL = ["ef_lstm", "mfn", "raven"]
MAKEABLE = [name for name in FUSIONS if name != "mag"]  # its net needs a language model


def make(name, *, n_members=1, hidden=(6,), n_outputs=2, sequences=None, encoder="lstm", seed=0):
    sequences = name in [*SEQUENTIAL, "lf_lstm", "mult"] if sequences is None else sequences
    encoders, widths = {}, dict(D)
    if sequences:
        kind = {"mult": "mult", "lf_lstm": "lstm"}.get(name, encoder)
        kind = "steps" if FUSIONS[name].aligned else kind
        widths = dict(D) if kind == "steps" else dict.fromkeys(D, 4)
        encoders = {m: EncoderSpec(kind, (None, d), widths[m]) for m, d in D.items()}
    setting = FusionSetting(widths, encoders, hidden, "relu", n_outputs, n_members, OPTIONS)
    fusion = FUSIONS[name](setting).double()
    fusion.reset_parameters([torch.Generator().manual_seed(seed + e) for e in range(n_members)])
    return fusion


def data(n=7, n_steps=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = () if n_steps is None else (n_steps,)
    return {
        m: torch.randn(n, *shape, d, generator=generator, dtype=torch.float64) for m, d in D.items()
    }


def inputs(name, n=7, seed=0):
    sequences = name in [*SEQUENTIAL, "lf_lstm", "mult"]
    return data(n, 5 if sequences else None, seed)


@pytest.mark.parametrize("name", MAKEABLE)
@pytest.mark.parametrize("hidden", [(), (6,), (8, 6)])
def test_shapes(name, hidden):
    fusion = make(name, n_members=2, hidden=hidden)
    embedded = fusion.embed(inputs(name))
    n_terms = 3 if fusion.additive else 1
    assert embedded.shape == (2, n_terms, 7, fusion.width)
    assert fusion.read(embedded).shape == (2, n_terms, 7, 2)


@pytest.mark.parametrize("name", MAKEABLE)
def test_members_are_nets_of_their_own(name):
    both, second = make(name, n_members=2), make(name, seed=1)
    x = inputs(name)
    outputs = both.read(both.embed(x))
    torch.testing.assert_close(outputs[1:], second.read(second.embed(x)))
    assert not torch.allclose(outputs[0], outputs[1])


@pytest.mark.parametrize("name", MAKEABLE)
def test_outputs_are_linear_in_what_is_embedded(name):
    fusion = make(name)
    a, b = fusion.embed(inputs(name)), fusion.embed(inputs(name, seed=1))
    zero = fusion.read(torch.zeros_like(a))
    torch.testing.assert_close(
        fusion.read(2 * a + 3 * b) - zero, 2 * (fusion.read(a) - zero) + 3 * (fusion.read(b) - zero)
    )


@pytest.mark.parametrize("name", MAKEABLE)
def test_separated_terms_are_the_outputs(name):
    fusion, x = make(name, n_members=2), inputs(name)
    net = FusedNet(
        in_features=fusion_widths(fusion), fusion=name, n_outputs=2, n_members=2,
        input_scaling=None, hidden=(6,), activation="relu", options=OPTIONS,
        encoders=fusion_encoders(name),
    ).double()  # fmt: skip
    net.reset_parameters([torch.Generator().manual_seed(e) for e in range(2)])
    generator = torch.Generator().manual_seed(0)
    rows = {m: torch.randperm(7, generator=generator).numpy() for m in D}
    with torch.no_grad():
        mixed = net({m: x[m][rows[m]] for m in D}).values.mean(dim=0)  # (T, B, C)
        for term, expected in zip(net.separate(x), mixed, strict=True):
            torch.testing.assert_close(torch.from_numpy(term.evaluate(rows)), expected)


def fusion_encoders(name):
    if name in SEQUENTIAL:
        return {m: EncoderSpec("steps", (None, d), d) for m, d in D.items()}
    if name in ("lf_lstm", "mult"):
        kind = {"lf_lstm": "lstm", "mult": "mult"}[name]
        return {m: EncoderSpec(kind, (None, d), 4) for m, d in D.items()}
    return {}


def fusion_widths(fusion):
    return dict.fromkeys(D, 4) if fusion.sequence_encoder else dict(D)


def embed_vectors(fusion, x):
    return [fusion.encoders({**x})[0, i] for i in range(3)]


def test_tensor_fusion_is_an_outer_product_with_constants():
    fusion, x = make("tensor"), inputs("tensor")
    z = [torch.cat([e, torch.ones(7, 1)], dim=1) for e in embed_vectors(fusion, x)]
    product = torch.einsum("ba,bt,bv->batv", *z).flatten(1)
    torch.testing.assert_close(fusion.combine(fusion.bring(x))[0], product)


def test_low_rank_fusion_is_a_map_of_the_outer_product():
    fusion, x = make("low_rank"), inputs("low_rank")
    z = [torch.cat([e, torch.ones(7, 1)], dim=1) for e in embed_vectors(fusion, x)]
    product = torch.einsum("ba,bt,bv->batv", *z)
    factors = fusion.factors[0].unflatten(2, (2, 6))  # (M, D + 1, rank, width)
    weight = torch.einsum("r,arh,trh,vrh->atvh", fusion.rank_weights[0, 0, :, 0], *factors)
    expected = torch.einsum("batv,atvh->bh", product, weight) + fusion.rank_bias[0]
    torch.testing.assert_close(fusion.combine(fusion.bring(x))[0], expected)


def torch_lstm(bank, n_inputs, width):
    """Return torch's own LSTM with the weights of the first copy of a bank."""
    lstm = nn.LSTM(n_inputs, width, batch_first=True, device="meta").to_empty(device="cpu").double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(bank.weight("input_0")[0].T)
        lstm.weight_hh_l0.copy_(bank.weight("state_0")[0].T)
        lstm.bias_ih_l0.copy_(bank.bias("input_0")[0, 0])
        lstm.bias_hh_l0.copy_(bank.bias("state_0")[0, 0])
    return lstm


def test_ef_lstm_is_torchs_lstm_on_the_concatenation():
    fusion, x = make("ef_lstm"), inputs("ef_lstm")
    together = torch.cat([x[m] for m in sorted(D)], dim=-1)
    lstm = torch_lstm(fusion.lstm, sum(D.values()), 5)
    torch.testing.assert_close(fusion.combine(fusion.bring(x))[0], lstm(together)[1][0][0])


@torch.no_grad()
def test_raven_shifts_every_word_and_reads_them_by_an_lstm():
    fusion, x = make("raven"), inputs("raven")
    w = {key: value[0, 0] for key, value in fusion.weights.weights.items()}
    b = {key: value[0, 0, 0] for key, value in fusion.weights.biases.items()}
    words = x["text"]
    shifted = torch.empty_like(words)
    for row in range(7):
        for t in range(5):
            e = words[row, t]
            h = b["shift"].clone()
            for i, name in enumerate(["audio", "video"]):
                read = torch.relu(x[name][row, t] @ w[f"read_{i}"] + b[f"read_{i}"])
                gate = torch.sigmoid(torch.cat([read, e]) @ w[f"gate_{i}"] + b[f"gate_{i}"])
                h = h + gate * (read @ w[f"shift_{i}"])
            alpha = min(float(0.7 * e.norm() / h.norm()), 1.0)
            shifted[row, t] = e + alpha * h
    lstm = torch_lstm(fusion.lstm, 4, 5)
    torch.testing.assert_close(fusion.combine(fusion.bring(x))[0], lstm(shifted)[1][0][0])


def test_no_word_is_shifted_further_than_allowed():
    words, shift = data()["text"], 100 * data(seed=1)["text"]
    said = torch.arange(7) > 0
    moved = (shift_words(words, shift, 0.5, said) - words).norm(dim=1)
    torch.testing.assert_close(moved[1:], 0.5 * words.norm(dim=1)[1:])
    torch.testing.assert_close(moved[0], shift.norm(dim=1)[0])  # no word is said there
    little = 1e-5 * shift
    torch.testing.assert_close(shift_words(words, little, 0.5, said) - words, little)
    assert shift_words(torch.zeros(7, 3), torch.zeros(7, 3), 1.0, said).isfinite().all()


def test_mfn_is_its_equations():
    fusion, x = make("mfn"), inputs("mfn")
    w = {key: value[0, 0] for key, value in fusion.weights.weights.items()}
    b = {key: value[0, 0, 0] for key, value in fusion.weights.biases.items()}
    hidden = {part: slice(5 * i, 5 * (i + 1)) for i, part in enumerate(["propose", "keep", "take"])}

    def say(part, c_hat):
        inner = torch.relu(c_hat @ w["say_1"][:, hidden[part]] + b["say_1"][hidden[part]])
        return inner @ w[f"{part}_2"] + b[f"{part}_2"]

    h, c = [torch.zeros(7, 5).double()] * 3, [torch.zeros(7, 5).double()] * 3
    u = torch.zeros(7, 5).double()
    for t in range(5):
        before = c
        h, c = list(h), list(c)
        for i, name in enumerate(sorted(D)):
            gates = x[name][:, t] @ w[f"input_{i}"] + b[f"input_{i}"] + h[i] @ w[f"state_{i}"]
            enter, forget, new, leave = gates.chunk(4, dim=1)
            c[i] = forget.sigmoid() * before[i] + enter.sigmoid() * new.tanh()
            h[i] = leave.sigmoid() * c[i].tanh()
        both = torch.cat([*before, *c], dim=1)
        attention = torch.relu(both @ w["attend_1"] + b["attend_1"]) @ w["attend_2"] + b["attend_2"]
        c_hat = both * attention.softmax(dim=1)
        u = (
            say("keep", c_hat).sigmoid() * u
            + say("take", c_hat).sigmoid() * say("propose", c_hat).tanh()
        )
    torch.testing.assert_close(fusion.combine(fusion.bring(x))[0], torch.cat([*h, u], dim=1))


@pytest.mark.parametrize("name", [*SEQUENTIAL, "lf_lstm", "mult"])
def test_padding_changes_nothing(name):
    fusion, x = make(name), inputs(name)
    longer = {m: F.pad(block, (0, 0, 0, 3), value=torch.nan) for m, block in x.items()}
    torch.testing.assert_close(fusion.embed(longer), fusion.embed(x))
    mixed = {m: block.clone() for m, block in longer.items()}
    for block in mixed.values():
        block[2, 3:] = torch.nan
    short = {m: block[2:3, :3] for m, block in x.items()}
    torch.testing.assert_close(fusion.embed(mixed)[:, :, 2:3], fusion.embed(short))


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_step_that_one_modality_lacks_is_at_its_mean(name):
    fusion, x = make(name), inputs(name)
    lacking = {m: block.clone() for m, block in x.items()}
    lacking["audio"][0, 4] = torch.nan
    zero = {m: block.clone() for m, block in x.items()}
    zero["audio"][0, 4] = 0.0
    torch.testing.assert_close(fusion.embed(lacking), fusion.embed(zero))


def test_a_modality_that_a_row_lacks_is_at_its_mean():
    net = FusedNet(
        in_features=D, fusion="concat", n_outputs=1, n_members=1, input_scaling="standard",
        hidden=(6,), activation="relu", options=OPTIONS,
    ).double()  # fmt: skip
    net.reset_parameters([torch.Generator().manual_seed(0)])
    net.set_input_statistics({m: (torch.full((d,), 2.0), torch.ones(d)) for m, d in D.items()})
    x = data()
    present = torch.ones(7, 3).double()
    present[:3, 0] = 0.0
    at_mean = {**x, "audio": x["audio"].clone()}
    at_mean["audio"][:3] = 2.0
    torch.testing.assert_close(net(x, None, present).values, net(at_mean).values)
    present[0] = 0.0
    assert (net(x, None, present).values[:, :, 0] == 0).all()


@pytest.mark.parametrize("name", MAKEABLE)
def test_dropout_masks_cover_exactly_what_is_dropped(name):
    net = FusedNet(
        in_features=fusion_widths(FUSIONS[name]), fusion=name, n_outputs=1, n_members=1,
        input_scaling=None, hidden=(6,), activation="relu", options=OPTIONS,
        encoders=fusion_encoders(name),
    ).double()  # fmt: skip
    net.reset_parameters([torch.Generator().manual_seed(0)])
    x, n_units = inputs(name), net.n_mask_units
    ones = torch.ones(1, 7 * n_units).double()
    torch.testing.assert_close(net(x, ones).values, net(x).values)
    assert n_units > 0
    last = ones.clone().requires_grad_()
    net(x, last).values.sum().backward()
    assert last.grad[0, -1] != 0 or last.grad[0, -7:].abs().sum() > 0

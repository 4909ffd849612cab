"""What a fusion step by step needs of its sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_mmfuse.nets import EncoderSpec

__all__ = ["check_aligned", "check_token_ids", "step_encoders"]

OTHERS = "'lf_lstm' or 'mult', or 'late', 'concat', 'tensor' or 'low_rank' with an encoder"


def step_encoders(
    fusion: str, encoder: Any, shapes: Mapping[str, tuple[int | None, ...]]
) -> dict[str, EncoderSpec]:
    """Return the specification of modalities that are read step by step, as they are.

    Raises
    ------
    ValueError
        When one of them is no sequence, or an encoder is asked for.
    """
    if other := [name for name, shape in shapes.items() if len(shape) != 2]:
        be = "is" if len(other) == 1 else "are"
        raise ValueError(
            f"fusion={fusion!r} reads all modalities together at every time step, so each must be "
            f"a sequence (n, T, d); {' and '.join(map(repr, other))} {be} none. Repeat at every "
            "step of the others what has no steps, np.repeat(x[:, np.newaxis], T, axis=1), or use "
            f"a fusion without steps: {OTHERS}."
        )
    if encoder != "auto":
        width = "" if fusion == "mag" else " (state_dim is the width)"
        raise ValueError(
            f"fusion={fusion!r} reads sequences itself, so there is nothing for "
            f"encoder={encoder!r} to read; leave encoder='auto'{width}, or use fusion='concat'."
        )
    return {n: EncoderSpec("steps", shape, int(shape[-1] or 0)) for n, shape in shapes.items()}


def check_token_ids(
    name: str,
    blocks: Mapping[str, NDArray[np.floating[Any]]],
    language_config: Mapping[str, Any],
) -> None:
    """Refuse anything but token ids of a language model, `(n, T, 1)`, NaN where there are none."""
    block, vocab_size = blocks[name], language_config["vocab_size"]
    ids = block[~np.isnan(block)]
    if block.shape[-1] != 1 or (ids != np.round(ids)).any():
        raise ValueError(
            f"fusion='mag' needs token ids for {name!r}, whole numbers (n, T, 1) with NaN where "
            f"the attention mask is zero; got {block.shape}"
            f"{'' if block.shape[-1] != 1 else ' with fractions'}. TokenSequences in "
            "sklearn_mmfuse.preprocessing makes them of strings."
        )
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        raise ValueError(
            f"The language model knows {vocab_size} tokens, from 0; {name!r} has ids from "
            f"{ids.min():.0f} to {ids.max():.0f}. Use the tokenizer of the same model."
        )
    longest = _limit(language_config)
    for other, steps in blocks.items():
        n_tokens = int((~np.isnan(steps[..., 0])).sum(axis=1).max(initial=0))
        if longest is not None and n_tokens > longest:
            raise ValueError(
                f"The language model reads up to {longest} tokens, and a row of {other!r} has "
                f"{n_tokens}; cut them, e.g. TokenSequences(..., max_length={longest}), and what "
                "goes with them."
            )


def _limit(language_config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a language model reads at most, where it says so."""
    longest = language_config.get("max_position_embeddings")
    if longest is None or longest <= 0:
        return None
    # The RoBERTa family counts positions from behind that of padding.
    from_padding = "roberta" in str(language_config.get("model_type"))
    return int(longest) - (int(language_config.get("pad_token_id") or 0) + 1) * from_padding


def check_aligned(
    fusion: str, blocks: Mapping[str, NDArray[np.floating[Any]]], *, to_the_end: bool = True
) -> None:
    """Refuse rows whose modalities do not have the same time steps.

    A row may lack a modality altogether. With `to_the_end=False` one may end before the others, as
    in rows that were made of modalities of different rows.

    Raises
    ------
    ValueError
        Which row, how many steps of each, and what to do.
    """
    n_steps = max(block.shape[1] for block in blocks.values())
    valid = {}
    for name, block in blocks.items():
        here = ~np.isnan(block[..., 0])
        valid[name] = np.pad(here, ((0, 0), (0, n_steps - here.shape[1])))
    some = np.any(list(valid.values()), axis=0)
    for name, here in valid.items():
        wanted = some
        if not to_the_end:
            last = n_steps - np.argmax(here[:, ::-1], axis=1)
            wanted = some & (np.arange(n_steps) < last[:, np.newaxis])
        wrong = (here != wanted).any(axis=1) & here.any(axis=1)
        if wrong.any():
            raise ValueError(_unaligned(fusion, name, int(np.argmax(wrong)), valid))


def _unaligned(fusion: str, name: str, row: int, valid: Mapping[str, NDArray[np.bool_]]) -> str:
    counts = {n: int(there[row].sum()) for n, there in valid.items() if there[row].any()}
    differs = " and ".join(f"{count} of {n!r}" for n, count in counts.items())
    where = ", at different ones" if len(set(counts.values())) == 1 else ""
    how = (
        "repeat what goes with a word for its tokens (preprocessing.spread_over_tokens)"
        if fusion == "mag"
        else "average over the span of each word"
    )
    return (
        f"fusion={fusion!r} reads all modalities together at every time step, so a row needs the "
        f"same steps of each; row {row} has {differs}{where} ({name!r} lacks some). Align them, "
        f"e.g. {how}, or use a fusion that takes any lengths: {OTHERS}."
    )

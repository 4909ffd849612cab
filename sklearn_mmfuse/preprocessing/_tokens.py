"""Strings as token ids of a language model, and what goes with words as what goes with tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

__all__ = ["TokenSequences", "spread_over_tokens"]

SPECIAL = -1  # the word of a token that belongs to none


class TokenSequences(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Turn strings into sequences of token ids, as `fusion="mag"` reads them.

    Parameters
    ----------
    tokenizer : str or tokenizer
        A folder with, or the hub name of, the tokenizer of a language model; or a fast tokenizer of
        transformers.
    max_length : int, optional
        Longer texts are cut to so many tokens.

    Attributes
    ----------
    tokenizer_ : tokenizer
        What was loaded.

    Examples
    --------
    >>> from sklearn_mmfuse.preprocessing import TokenSequences
    >>> TokenSequences("bert-base-uncased", max_length=50)
    TokenSequences(max_length=50, tokenizer='bert-base-uncased')
    """

    def __init__(self, tokenizer: Any, *, max_length: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length

    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the tokenizer.

        Parameters
        ----------
        X : array-like of str, of shape (n,) or (n, 1)
            Texts.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ImportError
            When transformers is not installed.
        ValueError
            When there is no such tokenizer, or `X` holds something else than strings.
        """
        _as_strings(X)
        if not callable(self.tokenizer) and not isinstance(self.tokenizer, str):
            raise ValueError(
                "tokenizer must be the name or folder of one, or a tokenizer of transformers; got "
                f"{self.tokenizer!r}."
            )
        self.tokenizer_ = (
            _load(self.tokenizer) if isinstance(self.tokenizer, str) else self.tokenizer
        )
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return token ids.

        Parameters
        ----------
        X : array-like of str, of shape (n,) or (n, 1)
            Texts.

        Returns
        -------
        tokens : ndarray of shape (n, n_tokens, 1)
            As many as the longest text has, special ones included; NaN after the end of a text.
        """
        ids = self._encode(X)["input_ids"]
        tokens = np.full((len(ids), max(map(len, ids), default=0), 1), np.nan)
        for row, of_text in enumerate(ids):
            tokens[row, : len(of_text), 0] = of_text
        return tokens

    def word_positions(self, X: Any) -> list[NDArray[np.intp]]:
        """Return, for every text, the position of the word that each token is a part of.

        Parameters
        ----------
        X : array-like of str, of shape (n,) or (n, 1)
            Texts, whose words are separated by white space.

        Returns
        -------
        positions : list of ndarray of int
            Counted from 0; -1 for special tokens.
        """
        encoded = self._encode(X, return_offsets_mapping=True, return_special_tokens_mask=True)
        positions = []
        for text, spans, special in zip(
            _as_strings(X), encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True
        ):
            # A token may begin with the white space before its word: what ends in it, counts.
            ends = np.array([match.end() for match in re.finditer(r"\S+", text)])
            words = np.searchsorted(ends, [stop for _, stop in spans])
            none = np.array(special, dtype=bool) | (words >= len(ends))  # or white space at the end
            positions.append(np.where(none, SPECIAL, words))
        return positions

    def _encode(self, X: Any, **options: Any) -> Any:
        check_is_fitted(self)
        cut = {} if self.max_length is None else {"max_length": self.max_length}
        texts = _as_strings(X)
        if not texts:
            raise ValueError("There are no texts: X has 0 samples.")
        return self.tokenizer_(texts, truncation=bool(cut), **cut, **options)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the name of the only feature of a step.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of str
            "token".
        """
        return np.array(["token"], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        return tags


def spread_over_tokens(
    sequences: Sequence[NDArray[Any]], positions: Sequence[NDArray[np.intp]]
) -> NDArray[np.float64]:
    """Return features of words as features of tokens: each token has those of its word.

    Parameters
    ----------
    sequences : sequence of ndarray of shape (n_words, d)
        For each text, a row per word.
    positions : sequence of ndarray of int
        As `TokenSequences.word_positions` returns them.

    Returns
    -------
    spread : ndarray of shape (n, n_tokens, d)
        Zeros at special tokens, NaN after the end of a text.

    Raises
    ------
    ValueError
        When a text has more words than rows of features.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfuse.preprocessing import spread_over_tokens
    >>> pitch = [np.array([[5.0], [7.0]])]
    >>> spread_over_tokens(pitch, [np.array([-1, 0, 0, 1, -1])])[0, :, 0]
    array([0., 5., 5., 7., 0.])
    """
    arrays = [np.asarray(sequence, dtype=np.float64) for sequence in sequences]
    if wrong := [array.shape for array in arrays if array.ndim != 2]:
        raise ValueError(
            f"Each sequence needs a row per word, (n_words, d); got one of shape {wrong[0]}. A "
            "single feature is a column, x[:, np.newaxis]."
        )
    if len(arrays) != len(positions):
        raise ValueError(
            f"There are {len(arrays)} sequences, but tokens of {len(positions)} texts."
        )
    if len(widths := {array.shape[1] for array in arrays}) > 1:
        raise ValueError(f"Sequences have different numbers of features: {sorted(widths)}.")
    width = arrays[0].shape[1] if arrays else 0
    spread = np.full((len(arrays), max(map(len, positions), default=0), width), np.nan)
    for row, (array, words) in enumerate(zip(arrays, positions, strict=True)):
        if len(words) and words.max() >= len(array):
            raise ValueError(
                f"Text {row} has at least {words.max() + 1} words, but {len(array)} rows of "
                "features; give a row for every word between white space."
            )
        padded = np.concatenate([array, np.zeros((1, width))])  # the last is that of no word
        spread[row, : len(words)] = padded[words]
    return spread


def _as_strings(X: Any) -> list[str]:
    array = np.asarray(X, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            "TokenSequences needs one string per sample, (n,) or (n, 1); got an array of shape "
            f"{array.shape}."
        )
    if other := [(row, text) for row, text in enumerate(array) if not isinstance(text, str)]:
        raise ValueError(
            f"TokenSequences needs one string per sample; sample {other[0][0]} is {other[0][1]!r}."
        )
    return list(array)


def _load(name: str) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ImportError(
            "TokenSequences needs transformers; install it with: "
            "pip install 'sklearn-mmfuse[transformers]'"
        ) from error
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"There is no tokenizer {name!r}, neither in a folder of that name nor on the hub: "
            f"{error}"
        ) from error

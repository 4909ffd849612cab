"""LF-LSTM: each sequence read by a recurrent net of its own, then one net on all last states."""

from __future__ import annotations

from sklearn_mmfuse.nets._fusions._base import PerceptronFusion

__all__ = ["LFLSTMFusion"]


class LFLSTMFusion(PerceptronFusion):
    """An LSTM per sequence; one perceptron on the concatenation of what they return.

    A baseline of Tsai et al. (2019, 2020). Sequences may differ in length; feature vectors are
    concatenated as they are.
    """

    sequence_encoder = "lstm"

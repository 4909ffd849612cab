"""MulT: sequences attend to each other, whatever their lengths."""

from __future__ import annotations

from sklearn_mmfuse.nets._fusions._base import PerceptronFusion

__all__ = ["MulTFusion"]


class MulTFusion(PerceptronFusion):
    """One perceptron on what all sequences make of each other by cross-modal attention.

    Tsai, Bai, Liang, Kolter, Morency and Salakhutdinov. Multimodal Transformer for Unaligned
    Multimodal Language Sequences. ACL 2019. See :class:`~sklearn_mmfuse.nets._encoders.MulTEncoder`
    for the attention.
    """

    sequence_encoder = "mult"

"""TFN: the outer product of what the modalities say, each with a constant beside it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor
from torch.nn import functional as F

from sklearn_mmfuse.nets._fusions._base import Brought, FusionSetting, JointFusion
from sklearn_mmfuse.nets._layers import MaskReader
from sklearn_mmfuse.nets._tensor_product import outer_product

__all__ = ["TensorFusion"]


class TensorFusion(JointFusion):
    """An embedding per modality, the outer product of all `[embedding, 1]`, and a perceptron on it.

    Zadeh, Chen, Poria, Cambria and Morency. Tensor Fusion Network for Multimodal Sentiment
    Analysis. EMNLP 2017, eqs. 1-3. The constants keep the products of fewer modalities.

    NOTE[DIFF] Embeddings are linear in the last hidden layer of their perceptron (`tensor_dim`
    units for each), where TFN has one more relu: units that never fire would erase products.

    Parameters
    ----------
    setting : FusionSetting
        Looks at the option `tensor_dim`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse.nets._fusions import FusionSetting, TensorFusion
    >>> setting = FusionSetting({"a": 3, "v": 2}, {}, (8,), "relu", n_outputs=1, n_members=1,
    ...                         options={"tensor_dim": 4})
    >>> tensor = TensorFusion(setting)
    >>> tensor.combine(tensor.bring({"a": torch.zeros(5, 3), "v": torch.zeros(5, 2)})).shape
    torch.Size([1, 5, 25])
    """

    def __init__(self, setting: FusionSetting) -> None:
        tensor_dim = int(setting.options["tensor_dim"])
        super().__init__(setting, (tensor_dim + 1) ** len(setting.names))
        self.encoders = setting.mlps([(name,) for name in setting.names], n_outputs=tensor_dim)

    @property
    def n_mask_units(self) -> int:
        """Hidden units per member and row that a dropout mask must cover."""
        return self.head.n_mask_units + self.encoders.n_mask_units

    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw fresh parameters; member e draws from `generators[e]` alone."""
        self.encoders.reset_parameters(generators)
        super().reset_parameters(generators)

    def bring(self, x: Brought, drop: MaskReader | None = None) -> dict[str, Tensor]:
        """Return the embeddings, `(E, B, tensor_dim + 1)` each."""
        embedded = F.pad(self.encoders(x, drop), (0, 1), value=1.0)
        return dict(zip(self.names, embedded.unbind(1), strict=True))

    def combine(self, brought: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return the outer product."""
        return outer_product([brought[name] for name in self.names])

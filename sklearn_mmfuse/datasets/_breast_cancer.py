"""A real data set with three modalities that is always at hand."""

from __future__ import annotations

import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.utils import Bunch

from sklearn_mmfuse._data import MultimodalData

__all__ = ["load_breast_cancer_modalities"]

MODALITIES = ("mean", "error", "worst")

DESCR = """\
Breast cancer Wisconsin (diagnostic), as three modalities
---------------------------------------------------------

scikit-learn's `load_breast_cancer` holds ten measurements of the cell nuclei in an image (radius,
texture, ...), each summarized in three ways. Each way is a modality of ten columns:

- `mean`: the mean over the nuclei;
- `error`: the standard error of that mean;
- `worst`: the mean of the three largest values.

569 samples; the target is 0 for malignant (212) and 1 for benign (357). The three modalities
measure the same nuclei, so much of what they say is redundant.

What follows is scikit-learn's own description.

"""


def _split_name(name: str) -> tuple[str, str]:
    """("error", "radius") for scikit-learn's "radius error"."""
    if name.endswith(" error"):
        return "error", name.removesuffix(" error")
    modality, measurement = name.split(" ", 1)
    return modality, measurement


def load_breast_cancer_modalities(*, as_frame: bool = False) -> Bunch:
    """Load scikit-learn's breast-cancer data as the modalities mean, error and worst.

    Parameters
    ----------
    as_frame : bool, default=False
        Whether `data` is a DataFrame with columns such as `mean__radius` (and `target` a Series)
        instead of `MultimodalData` (and an array).

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        `data`, three modalities of shape (569, 10); `target`, 0 for malignant and 1 for benign;
        `target_names`; `feature_names`, the ten names of each modality; `DESCR`.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import load_breast_cancer_modalities
    >>> bunch = load_breast_cancer_modalities()
    >>> bunch.data["worst"].shape
    (569, 10)
    >>> bunch.feature_names["worst"][:2]
    ['radius', 'texture']
    """
    source = load_breast_cancer()
    columns: dict[str, dict[str, int]] = {modality: {} for modality in MODALITIES}
    for index, name in enumerate(source.feature_names):
        modality, measurement = _split_name(str(name))
        columns[modality][measurement] = index

    data: MultimodalData | pd.DataFrame
    if as_frame:
        data = pd.DataFrame(
            {
                f"{modality}__{measurement}": source.data[:, index]
                for modality, part in columns.items()
                for measurement, index in part.items()
            }
        )
    else:
        data = MultimodalData(
            {key: source.data[:, [*part.values()]] for key, part in columns.items()}
        )
    return Bunch(
        data=data,
        target=pd.Series(source.target, name="target") if as_frame else source.target,
        target_names=source.target_names,
        feature_names={modality: list(part) for modality, part in columns.items()},
        DESCR=DESCR + source.DESCR,
    )

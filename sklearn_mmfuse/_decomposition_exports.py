"""A decomposition as text, as HTML, as a data frame, as a shap.Explanation."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_mmfuse._terms import BIAS

if TYPE_CHECKING:
    from sklearn_mmfuse._decomposition import Decomposition

__all__ = ["to_frame", "to_html", "to_shap", "to_text"]

MAX_NAMES = 8  # in the repr
MAX_ROWS = 20  # in the HTML


def to_text(parts: Decomposition) -> str:
    """Return one line: how many samples, which terms."""
    names = [str(term) for term in parts.terms]
    if len(names) > MAX_NAMES:
        names = [*names[: MAX_NAMES - 1], f"... ({len(names)} terms)"]
    outputs = f", {len(parts.outputs)} outputs" if len(parts.outputs) > 1 else ""
    return f"<Decomposition of {len(parts)} samples{outputs}: {', '.join(names)}>"


def to_html(parts: Decomposition) -> str:
    """Return a table of the mean absolute contribution of each term, largest first."""
    if not len(parts) or not parts.terms:
        return f"<p>{escape(to_text(parts))}</p>"
    size = np.abs(parts.values).mean(axis=(0, 2))
    largest = float(size.max()) or 1.0
    rows = [
        f"<tr><th style='text-align:left'>{escape(str(parts.terms[i]))}</th>"
        f"<td style='text-align:right'>{size[i]:.3g}</td>"
        "<td style='width:12em;text-align:left'><div style='background:#0072B2;height:.8em;"
        f"width:{100 * size[i] / largest:.0f}%'></div></td></tr>"
        for i in np.argsort(-size, kind="stable")[:MAX_ROWS]
    ]
    rest = len(parts.terms) - len(rows)
    more = f"<tr><td colspan='3'>and {rest} smaller terms</td></tr>" if rest else ""
    outputs = "" if len(parts.outputs) == 1 else f", mean over {len(parts.outputs)} outputs"
    return (
        f"<table><caption>Decomposition of {len(parts)} samples; link {parts.link}</caption>"
        f"<tr><th style='text-align:left'>term</th><th colspan='2'>mean |contribution|{outputs}"
        f"</th></tr>{''.join(rows)}{more}</table>"
    )


def to_frame(parts: Decomposition, index: Any = None) -> pd.DataFrame:
    """Return a row per sample, a column per (output and) term, and the bias."""
    columns = [str(term) for term in parts.terms] + [BIAS]
    values = parts.values
    if parts.absent is not None:
        values = np.where(parts.absent[:, :, np.newaxis], np.nan, values)
    table = np.concatenate([values, parts.biases[:, np.newaxis]], axis=1)
    if len(parts.outputs) == 1:
        return pd.DataFrame(table[:, :, 0], columns=columns, index=index)
    names = pd.MultiIndex.from_product([parts.outputs, columns], names=["output", "term"])
    flat = table.transpose(0, 2, 1).reshape(len(parts), -1)
    return pd.DataFrame(flat, columns=names, index=index)


def to_shap(parts: Decomposition, data: Any = None) -> Any:
    """Return a `shap.Explanation` whose features are the terms."""
    try:
        from shap import Explanation
    except ImportError as error:
        raise ImportError("to_shap needs shap; install it with: pip install shap") from error
    single = len(parts.outputs) == 1
    return Explanation(
        values=parts.values[:, :, 0] if single else parts.values,
        base_values=parts.biases[:, 0] if single else parts.biases,
        data=data,
        feature_names=[str(term) for term in parts.terms],
        output_names=None if single else list(parts.outputs),
    )

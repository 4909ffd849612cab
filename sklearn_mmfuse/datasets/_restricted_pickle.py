"""Read arrays out of a `torch.save` archive without torch, and without trusting the archive."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from typing import Any, BinaryIO

import numpy as np

__all__ = ["load_arrays"]

# Real and whole numbers and text of a fixed width. Objects ("O") and records ("V") are left out:
# they are what makes an array file able to carry more than data.
_PLAIN_DTYPE = re.compile(r"[fiu][1248]|U\d{1,4}")


class _Dtype:
    """Stands in for `numpy.dtype`, whose own state a pickle could set to anything."""

    def __init__(self, spec: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(spec, str) or not _PLAIN_DTYPE.fullmatch(spec):
            raise pickle.UnpicklingError(f"The dtype {spec!r} is not one of plain numbers or text.")
        self._spec, self._order = spec, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order not in ("<", ">", "|"):
            raise pickle.UnpicklingError(f"{order!r} is no byte order.")
        self._order = order

    def resolve(self) -> np.dtype[Any]:
        """Build the numpy dtype that is meant."""
        return np.dtype(self._order + self._spec)


class _FromBuffer:
    """Stands in for numpy's private `_frombuffer`, so that no private name is imported.

    It is a class because a pickle may set attributes of a function, and not of a class whose
    `__setstate__` needs an instance.
    """

    def __new__(cls, buffer: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> Any:
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("An array needs one of the plain dtypes.")
        return np.frombuffer(buffer, dtype=dtype.resolve()).reshape(shape, order=order)  # type: ignore[call-overload]

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("An array carries no further state.")


_ALLOWED = {
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,  # numpy < 2
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds containers and plain arrays; every other name is refused before it is looked up."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"The file asks for {module_name}.{global_name}; only plain arrays are read."
            ) from None


def load_arrays(file: BinaryIO) -> Any:
    """Read the containers and arrays that `torch.save` wrote, and refuse anything else.

    Parameters
    ----------
    file : binary file object
        The zip archive; `file` must be seekable.

    Returns
    -------
    content : object
        Lists, tuples, dicts, strings and numbers, with numpy arrays in them.

    Examples
    --------
    >>> import io, pickle, zipfile
    >>> from sklearn_mmfuse.datasets._restricted_pickle import load_arrays
    >>> file = io.BytesIO()
    >>> with zipfile.ZipFile(file, "w") as archive:
    ...     archive.writestr("name/data.pkl", pickle.dumps({"a": [1, 2]}))
    >>> load_arrays(file)
    {'a': [1, 2]}
    """
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise pickle.UnpicklingError("The archive is not one that torch.save writes.")
        content = archive.read(pickles[0])
    return _ArrayUnpickler(io.BytesIO(content)).load()

"""Read arrays out of pickles and `torch.save` archives, without torch and without trusting them."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from typing import Any, BinaryIO

import numpy as np

__all__ = ["load_arrays", "load_pickle"]

# Real and whole numbers and text of a fixed width. Objects ("O") and records ("V") are left out:
# they are what makes an array file able to carry more than data.
_PLAIN_DTYPE = re.compile(r"[fiu][1248]|[US]\d{1,4}")


class _Dtype:
    """Stands in for `numpy.dtype`, whose own state a pickle could set to anything."""

    plain = _PLAIN_DTYPE

    def __init__(self, spec: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(spec, str) or not self.plain.fullmatch(spec):
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


class _ListDtype(_Dtype):
    """A dtype that may also be "O": of an array whose entries are listed one by one."""

    plain = re.compile(f"{_PLAIN_DTYPE.pattern}|O8?")


class _ArrayType:
    """Stands in for `numpy.ndarray`, which is only ever named."""

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("numpy.ndarray carries no state.")


class _Reconstruct:
    """Stands in for numpy's private `_reconstruct`: an array that is told what it holds."""

    def __init__(self, kind: type, shape: tuple[int, ...], code: bytes) -> None:
        if kind is not _ArrayType:
            raise pickle.UnpicklingError("Only plain numpy arrays are read.")
        self.array: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("An array needs one of the plain dtypes.")
        if isinstance(content, list):
            if not all(isinstance(entry, str | bytes | int | float) for entry in content):
                raise pickle.UnpicklingError("Arrays of objects other than text are not read.")
            texts = [e.decode("latin1") if isinstance(e, bytes) else str(e) for e in content]
            array = np.array(texts, dtype=np.str_)
        else:
            raw = content.encode("latin1") if isinstance(content, str) else content
            array = np.frombuffer(raw, dtype=dtype.resolve())
        self.array = array.reshape(shape, order="F" if fortran else "C")


class _Encode:
    """Stands in for `_codecs.encode`, by which old protocols write bytes."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1" or not isinstance(text, str):
            raise pickle.UnpicklingError(f"Bytes are written in latin1, not {encoding!r}.")
        return text.encode("latin1")

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("Bytes carry no state.")


_ALLOWED = {
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,  # numpy < 2
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer,
}


_ALLOWED_IN_PICKLES = {
    **_ALLOWED,
    ("numpy", "dtype"): _ListDtype,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
    ("_codecs", "encode"): _Encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds containers and plain arrays; every other name is refused before it is looked up."""

    allowed = _ALLOWED

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return self.allowed[module_name, global_name]
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


class _PickleUnpickler(_ArrayUnpickler):
    allowed = _ALLOWED_IN_PICKLES


def load_pickle(file: BinaryIO) -> Any:
    """Read the containers and arrays of a plain pickle of any protocol, and refuse anything else.

    Parameters
    ----------
    file : binary file object
        The pickle.

    Returns
    -------
    content : object
        Lists, tuples, dicts, strings and numbers, with numpy arrays in them; arrays of objects
        become text.

    Raises
    ------
    pickle.UnpicklingError
        When the file holds or asks for anything else.

    Examples
    --------
    >>> import io, pickle
    >>> import numpy as np
    >>> from sklearn_mmfuse.datasets._restricted_pickle import load_pickle
    >>> load_pickle(io.BytesIO(pickle.dumps({"a": np.arange(3)})))
    {'a': array([0, 1, 2])}
    """
    try:
        return _resolve(_PickleUnpickler(file, encoding="latin1").load())
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, EOFError) as error:
        raise pickle.UnpicklingError(f"The pickle is broken: {error}") from error


def _resolve(content: Any) -> Any:
    """Put arrays where their stand-ins are."""
    if isinstance(content, _Reconstruct):
        return content.array
    if isinstance(content, dict):
        return {key: _resolve(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_resolve(value) for value in content)
    return content

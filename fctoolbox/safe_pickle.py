"""Read a pickle that holds numpy arrays, and nothing that could run."""

import codecs
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError


def _reconstruct(_kind: object, _shape: object, _code: object) -> NDArray[Any]:
    return np.empty(0)  # a placeholder: the array follows as its state


def _array(_version: int, shape: tuple[int, ...], dtype: np.dtype[Any], fortran: bool, content: Any) -> NDArray[Any]:
    if dtype.hasobject:
        values: NDArray[Any] = np.empty(len(content), dtype=object)
        for i, value in enumerate(content):
            values[i] = value
    else:
        values = _values(dtype, content)
    return values.reshape(shape, order="F" if fortran else "C")


def _dtype(plain: np.dtype[Any], state: tuple[Any, ...]) -> np.dtype[Any]:
    _, byte_order, subtype, names, parts, *sizes = state
    if (subtype, names, parts) != (None, None, None) or len(sizes) != 3:
        raise pickle.UnpicklingError("it holds records or dates, and only plain arrays are read")
    return plain.newbyteorder(byte_order)


def _frombuffer(buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    return _values(dtype, buffer).reshape(shape, order=order)


def _scalar(dtype: np.dtype[Any], content: bytes | str) -> Any:
    return _values(dtype, content)[0]


def _values(dtype: np.dtype[Any], content: bytes | str) -> NDArray[Any]:
    # Python 2 kept bytes as text.
    return np.frombuffer(content.encode("latin-1") if isinstance(content, str) else content, dtype).copy()


# What a pickle of arrays asks for. Our own functions stand in place of numpy's: those trust what a file says of
# sizes and types, and crash, or read memory that is not theirs, where it is wrong.
_BUILDERS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): np.dtype,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,  # protocol 5
    # Protocols 0 to 2 have no bytes: they write those of an array as text to be encoded, and b"" as bytes().
    ("_codecs", "encode"): codecs.encode,
    ("__builtin__", "bytes"): bytes,
}


class _ArrayUnpickler(pickle._Unpickler):  # the one in Python, because one of its steps is replaced
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    memo: dict[int, Any]

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy.core."):  # as numpy 1 called it
            module = module.replace("numpy.core.", "numpy._core.", 1)
        if (module, name) not in _BUILDERS:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, and only numpy arrays are read, because other pickles can run any code"
            )
        return _BUILDERS[module, name]

    def load_build(self) -> None:
        """Put an array or a dtype in the place of the one that its state belongs to."""
        state, instance = self.stack.pop(), self.stack[-1]
        if isinstance(instance, np.dtype):
            built: Any = _dtype(instance, state)
        elif isinstance(instance, np.ndarray):
            built = _array(*state)
        else:
            raise pickle.UnpicklingError(f"it changes a {type(instance).__name__}, and only numpy arrays are read")
        self.stack[-1] = built
        self.memo.update({place: built for place, value in self.memo.items() if value is instance})

    dispatch[pickle.BUILD[0]] = load_build


def load_array_pickle(path: Path) -> Any:
    """The content of a pickle made of numpy arrays and plain containers.

    Parameters
    ----------
    path : Path

    Returns
    -------
    object
        Arrays, numbers, strings, lists, tuples and dicts.

    Raises
    ------
    InputError
        If the file asks for anything else (a pickle can run any code), or is no pickle at all.
    """
    with Path(path).open("rb") as stream:
        try:
            return read_array_pickle(stream)
        except Exception as error:  # a broken pickle raises whatever its instructions run into
            raise InputError(
                f"{path} could not be read as a pickle of numpy arrays: {error}. Save the arrays as NPZ instead."
            ) from error


def read_array_pickle(stream: IO[bytes]) -> Any:
    """The same from an open file, with the errors as pickle raises them."""
    # Python 2 kept the bytes of an array as text; latin-1 gives them back unchanged.
    return _ArrayUnpickler(stream, encoding="latin-1").load()

"""Read a pickle that holds numpy arrays, and nothing that could run."""

import pickle
from pathlib import Path
from typing import Any

from fctoolbox.errors import InputError

_NUMPY_BUILDERS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((module, name) for module in ("numpy.core.multiarray", "numpy._core.multiarray") for name in ("_reconstruct", "scalar")),
    # Python 2 pickles spell the bytes of an array as text to be encoded.
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY_BUILDERS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


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
    try:
        with Path(path).open("rb") as stream:
            return _ArrayUnpickler(stream).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError) as error:
        raise InputError(
            f"{path} was not read: only pickles of numpy arrays are, because others can run any code; {error}. "
            "Save the arrays as NPZ instead."
        ) from error

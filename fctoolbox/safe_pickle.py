"""Read a pickle that holds numpy arrays, and nothing that could run."""

import pickle
from pathlib import Path
from typing import IO, Any

from fctoolbox.errors import InputError

_NUMPY_BUILDERS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    # numpy 2 calls its core numpy._core; files of both spellings are about.
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
    # Protocols 0 to 2 have no bytes: they write those of an array as text to be encoded, and b"" as bytes().
    ("_codecs", "encode"),
    ("__builtin__", "bytes"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY_BUILDERS:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, and only numpy arrays are read, because other pickles can run any code"
            )
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

"""How loops are compiled: once, kept on disk where there is a folder for it, and without the interpreter lock."""

from numba import njit

# Sums may be taken in another order (vector units), but NaN and infinity keep their meaning.
REORDERED = {"reassoc", "contract", "nsz", "arcp"}


def compiled(**options):  # type: ignore[no-untyped-def]
    """Decorate a function with numba's njit and these options."""

    def decorated(function):  # type: ignore[no-untyped-def]
        try:
            return njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder that compiled code could be kept in: it is compiled anew in each process
            return njit(nogil=True, **options)(function)

    return decorated

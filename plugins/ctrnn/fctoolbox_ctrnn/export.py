"""The weights of a network as a file that any program can read: NPZ, plain arrays without pickles."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import written_whole
from fctoolbox.errors import InputError, blamed_on
from fctoolbox.system import RecurrentSystem
from fctoolbox_ctrnn.network import CTRNN, PARAMETERS

# How the network moves on. A file without them is read with the defaults of `CTRNN`.
_DYNAMICS = ("alpha", "rule", "nonlinearity", "noise", "silent", "sign", "mask")
# The options of the source that say what the network was trained on.
_TRAINED_ON = ("task", "dt", "tau", "timing", "task_options")


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """What a file of weights holds.

    Parameters
    ----------
    network : CTRNN
    trained_on : mapping of str to value
        ``task``, ``dt``, ``tau``, ``timing`` and ``task_options`` as options of the source, where the file tells them.
    """

    network: CTRNN
    trained_on: dict[str, Any]


def export_weights(network: RecurrentSystem | CTRNN, path: str | Path) -> Path:
    """Write a network to an NPZ file, which ``load("ctrnn", weights=path)`` and ``numpy.load`` read.

    It holds ``w_in``, ``b_in``, ``w_rec``, ``b_rec``, ``w_out``, ``b_out``, ``alpha``, ``rule``, ``nonlinearity``,
    ``noise``, ``silent``, and ``sign`` and ``mask`` where the network has them, as `CTRNN` describes them; of a system
    that ``load("ctrnn")`` gave, also ``task``, ``dt`` (ms), ``tau`` (ms), ``timing`` and ``task_options``.

    Parameters
    ----------
    network : RecurrentSystem or CTRNN
    path : str or Path
        Ending in .npz; a file of that name is replaced.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the system has no CTRNN as its model, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"weights are written to NPZ; {path} must end in .npz")
    model = network.model if isinstance(network, RecurrentSystem) else network
    if not isinstance(model, CTRNN):
        what = "no model" if model is None else f"a model of the kind {type(model).__name__}"
        raise InputError(f"only a CTRNN can be exported, and this has {what}")
    arrays: dict[str, Any] = {**model.parameters, **{name: getattr(model, name) for name in _DYNAMICS}}
    arrays["silent"] = np.array(model.silent, dtype=np.int64)
    if isinstance(network, RecurrentSystem) and network.provenance.source == "ctrnn":
        arrays |= {name: network.provenance.options.get(name) for name in _TRAINED_ON}
    kept: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items() if value is not None}
    with written_whole(path) as temporary:
        np.savez(temporary, **kept)
    return path


def read_weights(path: str | Path) -> StoredNetwork:
    """The network in an NPZ file; see `export_weights`.

    Biases may be missing (they are 0 then), and so may all that says how the network moves on.

    Raises
    ------
    InputError
        If there is no such file, it is not NPZ, lacks weights, or they make no network.
    """
    arrays: dict[str, Any] = read_arrays(path)
    missing = [name for name in ("w_in", "w_rec", "w_out") if name not in arrays]
    if missing:
        raise InputError(
            f"{path} holds no {' and no '.join(missing)}; it holds {', '.join(arrays) or 'nothing'}. "
            "export_weights writes such files"
        )
    rows = {"b_in": "w_rec", "b_rec": "w_rec", "b_out": "w_out"}
    for bias, weights in rows.items():
        arrays.setdefault(bias, np.zeros(np.shape(arrays[weights])[:1]))
    dynamics = {name: _plain(arrays[name]) for name in _DYNAMICS if name in arrays}
    dynamics["silent"] = tuple(np.atleast_1d(arrays.get("silent", ())).astype(int).tolist())
    try:
        network = CTRNN(**{name: arrays[name] for name in PARAMETERS}, **{"alpha": 1.0, **dynamics})
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error
    return StoredNetwork(network, {name: _plain(arrays[name]) for name in _TRAINED_ON if name in arrays})


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """All arrays of an NPZ file.

    Raises
    ------
    InputError
        If there is no such file, it is not NPZ, or holds Python objects.
    """
    try:
        # Opened here, because numpy leaves the file open when it cannot make sense of it.
        with blamed_on(f"{path} cannot be read"), Path(path).open("rb") as stream:
            stored = np.load(stream, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise InputError(f"{path} holds a single array; a network needs w_in, w_rec and w_out in one NPZ file")
            return {name: stored[name] for name in stored.files}
    except InputError:
        raise
    except (ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is no NPZ file of plain arrays, or a damaged one: {error}") from error


def _plain(array: NDArray[Any]) -> Any:
    return array.item() if array.ndim == 0 else array

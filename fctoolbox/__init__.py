"""fctoolbox: do units with similar input projections work together?

>>> import fctoolbox as fct
>>> system = fct.load("toy")
>>> report = fct.analyse_origin(system, n_nulls=99, n_restarts=5, rng=0)
>>> report.communities.n
4
"""

from fctoolbox.communities import Communities, detect_communities, modularity
from fctoolbox.data import DataFile, cache_folder, fetch
from fctoolbox.errors import DataUnavailable, InputError, PluginError
from fctoolbox.origin import OriginReport, analyse_origin
from fctoolbox.plugins import Source, hookimpl, load
from fctoolbox.similarity import cosine_similarity, functional_connectivity
from fctoolbox.system import (
    FactoredMatrix,
    FileRecord,
    Geometry,
    InputProjection,
    LabelVolume,
    Provenance,
    RecurrentActivity,
    RecurrentSystem,
    Surface,
)

__all__ = [
    "Communities",
    "DataFile",
    "DataUnavailable",
    "FactoredMatrix",
    "FileRecord",
    "Geometry",
    "InputError",
    "InputProjection",
    "LabelVolume",
    "OriginReport",
    "PluginError",
    "Provenance",
    "RecurrentActivity",
    "RecurrentSystem",
    "Source",
    "Surface",
    "analyse_origin",
    "cache_folder",
    "cosine_similarity",
    "detect_communities",
    "fetch",
    "functional_connectivity",
    "hookimpl",
    "load",
    "modularity",
]

__version__ = "0.1.0"

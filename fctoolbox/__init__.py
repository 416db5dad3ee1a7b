"""fctoolbox: do units with similar input projections work together?

>>> import fctoolbox as fct
>>> system = fct.load("toy")
>>> report = fct.analyse_origin(system, n_nulls=99, n_restarts=5, rng=0)
>>> report.communities.n
4
"""

from fctoolbox.agreement import (
    adjusted_mutual_information,
    adjusted_rand,
    mean_agreement,
    variation_of_information,
    z_rand,
)
from fctoolbox.communities import Communities, detect_communities
from fctoolbox.consensus import (
    Consensus,
    ResolutionSweep,
    coassignment,
    consensus_partition,
    expected_coassignment,
    resolution_sweep,
)
from fctoolbox.data import DataFile, cache_folder, fetch
from fctoolbox.edge_moments import relationship_r
from fctoolbox.errors import DataUnavailable, InputError, PluginError
from fctoolbox.group_mean import group_system
from fctoolbox.groups import GroupComparison, compare_groups
from fctoolbox.origin import OriginReport, analyse_origin
from fctoolbox.plugins import Source, hookimpl, load
from fctoolbox.quality import LowRankNull, modularities, modularity
from fctoolbox.similarity import cosine_similarity, functional_connectivity
from fctoolbox.subjects import SubjectsReport, analyse_subjects, load_subjects
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
from fctoolbox.systems import SystemsReport, analyse_systems

__all__ = [
    "Communities",
    "Consensus",
    "DataFile",
    "DataUnavailable",
    "FactoredMatrix",
    "FileRecord",
    "Geometry",
    "GroupComparison",
    "InputError",
    "InputProjection",
    "LabelVolume",
    "LowRankNull",
    "OriginReport",
    "PluginError",
    "Provenance",
    "RecurrentActivity",
    "RecurrentSystem",
    "ResolutionSweep",
    "Source",
    "SubjectsReport",
    "Surface",
    "SystemsReport",
    "adjusted_mutual_information",
    "adjusted_rand",
    "analyse_origin",
    "analyse_subjects",
    "analyse_systems",
    "cache_folder",
    "coassignment",
    "compare_groups",
    "consensus_partition",
    "cosine_similarity",
    "detect_communities",
    "expected_coassignment",
    "fetch",
    "functional_connectivity",
    "group_system",
    "hookimpl",
    "load",
    "load_subjects",
    "mean_agreement",
    "modularities",
    "modularity",
    "relationship_r",
    "resolution_sweep",
    "variation_of_information",
    "z_rand",
]

__version__ = "0.1.0"

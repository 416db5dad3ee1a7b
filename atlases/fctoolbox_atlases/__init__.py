"""Region tables that sources and users share; plain data with one loader."""

from fctoolbox_atlases.atlas import Atlas, atlas_names, load_atlas

__all__ = ["Atlas", "atlas_names", "load_atlas"]

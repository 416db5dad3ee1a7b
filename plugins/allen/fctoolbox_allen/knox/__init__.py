"""The voxel-scale model of Knox et al. 2018: its published files, read once and kept as two memory-mapped factors."""

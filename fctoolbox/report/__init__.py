"""Results to files that people and programs read: JSON, TSV, HTML, SVG and PNG."""

from fctoolbox.report.groups import save_groups
from fctoolbox.report.subjects import save_subjects
from fctoolbox.report.write import save_comparison, save_report

__all__ = ["save_comparison", "save_groups", "save_report", "save_subjects"]

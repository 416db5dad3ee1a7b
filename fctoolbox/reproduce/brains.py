"""Real systems for pages that need them; their miniatures where the data are not at hand."""

from collections.abc import Callable

from fctoolbox.errors import DataUnavailable
from fctoolbox.plugins import find_source, load_source
from fctoolbox.system import RecurrentSystem


def or_miniature(name: str, progress: Callable[[str], object]) -> RecurrentSystem:
    """The system of a source; where its data can be neither found nor downloaded, its synthetic miniature."""
    source = find_source(name)
    try:
        return load_source(source)
    except DataUnavailable:
        if not source.miniature:
            raise
        progress(
            f"the files of {name} are not there (`fctoolbox fetch {name}` says how to get them); {source.miniature} "
            "instead"
        )
        return load_source(find_source(source.miniature))

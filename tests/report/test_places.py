"""Pictures of where modules are."""

from types import SimpleNamespace

import pytest

from fctoolbox.report import places
from fctoolbox.report.figures import STYLE, new_figure


@pytest.mark.parametrize("size", [20, 987, 4631, 29_696])
def test_the_legend_of_modules_fits_into_a_column(size):
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = new_figure()
        figure.subplots()
        places._legend(figure, SimpleNamespace(communities=SimpleNamespace(n=12, sizes=[size] * 12)))
        figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width

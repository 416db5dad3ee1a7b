import pytest

from fctoolbox.errors import DataUnavailable, InputError, PluginError, blamed_on, counted, listed, nearest, suggestion


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        ([1, 2], "1, 2"),
        (iter("abcdefgh"), "a, b, c, d, e, f, g, h"),
        ("abcdefghij", "a, b, c, d, e, f, g, h … and 2 more"),
    ],
)
def test_a_list_says_how_much_it_leaves_out(names, text):
    assert listed(names) == text


def test_a_list_of_a_chosen_length():
    assert listed("abc", most=1) == "a … and 2 more"


@pytest.mark.parametrize(
    ("words", "text"),
    [((0, "run"), "0 runs"), ((1, "run"), "1 run"), ((1294, "unit"), "1,294 units"),
     ((1, "entry", "entries"), "1 entry"), ((2, "entry", "entries"), "2 entries")],
)  # fmt: skip
def test_a_number_and_what_it_counts(words, text):
    assert counted(*words) == text


@pytest.mark.parametrize(
    ("name", "near"),
    [("alen-mouse", "allen-mouse"), ("TOY", "toy"), ("Allen-Mouse", "allen-mouse"), ("zebrafish", ""), ("", "")],
)
def test_the_nearest_name(name, near):
    known = ["toy", "allen-mouse", "hcp-human"]
    assert nearest(name, known) == near
    assert suggestion(name, known) == (f" Did you mean '{near}'?" if near else "")


def test_of_names_that_differ_in_case_alone_the_first_is_meant():
    assert nearest("vispp", ["VISp", "visp"]) == "VISp"


def test_what_a_user_can_repair_is_one_kind_of_error():
    for error in (DataUnavailable, PluginError):
        assert issubclass(error, InputError)
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    ("error", "message"),
    [(PermissionError(13, "Permission denied", "/tmp/.hidden"), "a.csv cannot be read: Permission denied"),
     (OSError("no number"), "a.csv cannot be read: no number")],
)  # fmt: skip
def test_the_system_speaks_of_the_path_that_the_user_named(error, message):
    with pytest.raises(InputError, match=f"^{message}$"), blamed_on("a.csv cannot be read"):
        raise error

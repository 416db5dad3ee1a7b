"""What a source's options are called where they are typed: words on a command line, cells of a table."""

from collections.abc import Sequence
from typing import Any

from fctoolbox.errors import InputError, suggestion
from fctoolbox.plugins import Source


def parsed(source: Source, options: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE words as values of the type that the option's default has.

    Raises
    ------
    InputError
        If a word is no such pair, the source has no such option, or it was given before.
    """
    known = source.options
    values: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise InputError(f"-o {option}: write KEY=VALUE")
        if key not in known:
            raise InputError(
                f"source '{source.name}' has no option '{key}'.{suggestion(key, list(known))} "
                f"It has: {', '.join(known) or 'none'}."
            )
        if key in values:
            raise InputError(f"-o {option}: option '{key}' was given before; give it once")
        values[key] = typed(text.strip(), known[key], key)
    return values


def typed(text: str, default: Any, key: str) -> Any:
    """The value that the text stands for, of the type that the option's default has.

    Parameters
    ----------
    text : str
    default : object
        Of the option; with None, numbers are read as numbers.
    key : str
        The option's name, for messages.

    Raises
    ------
    InputError
        If the text is no such value.
    """
    if text.lower() == "none" and default is None:
        return None
    if isinstance(default, bool):
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise InputError(f"option {key} is '{text}'; it must be true or false")
        return words[text.lower()]
    kinds: dict[type, str] = {int: "a whole number", float: "a number"}
    kind = type(default) if type(default) in kinds else None
    if kind is None and default is None:
        # No default to learn from: numbers are read as numbers, anything else as text.
        for attempt in (int, float):
            try:
                return attempt(text)
            except ValueError:
                continue
    if kind is None:
        return text
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"option {key} is '{text}'; it must be {kinds[kind]}") from None

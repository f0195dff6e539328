"""What the command lines of the examples have in common: names that must be known, for ``argparse``."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Collection


def one_of(known: Collection[str]) -> Callable[[str], str]:
    """A type for ``add_argument``: a name that must be known."""

    def read(text: str) -> str:
        if text not in known:
            raise ArgumentTypeError(f"there is no {text!r}; choose from: {', '.join(known)}")
        return text

    return read


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """The same for names with commas between; ``none`` stands for none at all."""
    read_one = one_of(known)

    def read(text: str) -> list[str]:
        return [] if text == "none" else [read_one(name.strip()) for name in text.split(",") if name.strip()]

    return read


def matching(known: Collection[str]) -> Callable[[str], list[str]]:
    """The same, in the order in which they are known; a word that is no name stands for all names that hold it."""

    def read(text: str) -> list[str]:
        words = [word.strip() for word in text.split(",") if word.strip()]
        for word in words:
            if not any(word in name for name in known):
                raise ArgumentTypeError(f"there is no {word!r}; choose from: {', '.join(known)}")
        return [n for n in known if n in words or any(word not in known and word in n for word in words)]

    return read


def numbers(text: str) -> list[int]:
    """The same for whole numbers, one or more."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError as err:
        raise ArgumentTypeError(f"{text!r} isn't a list of whole numbers with commas between") from err
    if min(found) < 1:
        raise ArgumentTypeError(f"{text!r}: give 1 or more")
    return found

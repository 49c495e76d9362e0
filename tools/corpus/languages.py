"""The language of a caption, told offline by the model that py3langid brings."""

from __future__ import annotations


def language_of(caption: str) -> str | None:
    """Return the ISO 639-1 code of a caption's most likely language; None where it has no letters.

    The fewer its words, the more often the guess is wrong.
    """
    if not any(letter.isalpha() for letter in caption):
        return None
    # half a second and some ten megabytes, which only those pay who ask for languages
    from py3langid import classify  # noqa: PLC0415

    return str(classify(caption)[0])

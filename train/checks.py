"""How settings refuse a value: one sentence with its name, what was given and what is taken."""

from __future__ import annotations

import math


def require(holds: bool, name: str, value: object, wanted: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Check a setting.

    Raises:
        ValueError: it does not hold; the message names the setting, its value and what is wanted.
    """
    if not holds:
        raise ValueError(f"{name}={value} must be {wanted}")


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that a setting is one of a few words.

    Raises:
        ValueError: it is none of them.
    """
    require(value in choices, name, value, "one of " + ", ".join(choices))


def require_counts(section: str, config: object, *names: str) -> None:
    """Check that settings are whole numbers from 1 on, or None where they may be.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(config, name)
        require(value is None or value >= 1, f"{section}.{name}", value, "a whole number, 1 or more")


def require_not_negative(section: str, config: object, *names: str) -> None:
    """Check that settings are finite and 0 or more, or None where they may be.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(config, name)
        require(value is None or (math.isfinite(value) and value >= 0), f"{section}.{name}", value, "0 or more")


def require_shares(section: str, config: object, *names: str) -> None:
    """Check that settings are probabilities, from 0 to 1.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(config, name)
        require(0 <= value <= 1, f"{section}.{name}", value, "at least 0 and at most 1")


def require_rising_pair(name: str, value: tuple[float, ...]) -> None:
    """Check that a setting is two numbers above 0, the second no smaller than the first.

    Raises:
        ValueError: it is not.
    """
    fit = len(value) == 2 and 0 < value[0] <= value[1] and math.isfinite(value[1])  # noqa: PLR2004 - from and to
    require(fit, name, list(value), "two numbers above 0, the second no smaller than the first")

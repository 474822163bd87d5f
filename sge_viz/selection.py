"""Groups and input sizes as people write them, read into numbers or refused with a sentence."""

from __future__ import annotations

import math


def parse_size(size: str | int) -> str | int:
    """Read an input size as it comes from a menu or a client: "published", 448 or "448"."""
    text = str(size).strip()
    return int(text) if text.isdecimal() else text


def parse_group(group: object, groups: int) -> int:
    """Read a group number that came from outside.

    Raises:
        ValueError: It is no whole number from 0 to `groups` - 1.
    """
    try:
        value = float(group)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(group, bool) or not value.is_integer() or not 0 <= value < groups:
        raise ValueError(f"There is no group {group}: groups go from 0 to {groups - 1}.")
    return int(value)


def parse_groups(text: object, groups: int) -> list[int]:
    """Read several group numbers: a list, or a text such as "17, 21, 40".

    Raises:
        ValueError: One of them is no group, or there is none.
    """
    parts = text if isinstance(text, list) else str(text or "").replace(",", " ").split()
    if not parts:
        raise ValueError("Name at least one group, for instance 17, 21, 40.")
    return list(dict.fromkeys(parse_group(part, groups) for part in parts))

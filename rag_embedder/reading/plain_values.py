"""Text that is plainly a number becomes one, so that metadata filters such as {"year": {"gte": 2020}} work."""

import re

# No leading zeros: "0047" is a code, not a number. Few digits: a store keeps integers of 64 bits.
_INT = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}")


def plain_value(text: str) -> str | int | float:
    """An int for "2020", a float for "0.5", and every other text as it is."""
    digits = text.strip()
    if _INT.fullmatch(digits):
        return int(digits)
    return float(digits) if _FLOAT.fullmatch(digits) else text

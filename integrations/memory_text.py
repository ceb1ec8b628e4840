"""Recalled memories inside the tags that mark them in a prompt: nothing that was said can open or close one."""

import re

_BETWEEN = r"[\s/\u00ad\u200b-\u200f\u2060-\u2064\ufeff]*"
"""What may stand between "<" and a name and still be read as a tag: spaces, the slash, and what cannot be seen."""


def without_tags(text: str, *names: str) -> str:
    """The text with a space after the "<" of each opening or closing tag of these names, so that it is none."""
    name = "|".join(r"\s+".join(map(re.escape, name.split())) for name in names)
    return re.sub(rf"<({_BETWEEN}(?:{name}))", r"< \1", text, flags=re.IGNORECASE)


def memories_section(memories: str, header: str) -> str:
    """Header and memories between tags; a tag inside a memory cannot end them."""
    section = f"<memories>\n{without_tags(memories, 'memories')}\n</memories>"
    return f"{header}\n{section}" if header else section

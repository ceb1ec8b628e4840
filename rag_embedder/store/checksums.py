"""CRC-32 of rows: SQLite has no page checksums, so each row proves its own content and place."""

import zlib


def of_item(n: int, key: tuple[str, str, str, int], texts: tuple[str, str, str]) -> int:
    """Checksum of one item row; `key` is (kind, scope, id, part), `texts` is (digest, payload, metadata)."""
    kind, scope, entry_id, part = key
    return zlib.crc32("\0".join((str(n), kind, scope, entry_id, str(part), *texts)).encode("utf-8"))


def of_vector(space: int, n: int, content: bytes) -> int:
    """Checksum of one vector row; `content` is float32, little endian."""
    return zlib.crc32(content, zlib.crc32(b"%d\0%d\0" % (space, n)))

"""The checksum of a data set's file, for kinds whose readers do not give one."""

from pathlib import Path

from evals.datasets.validation import Reading


def checksum_of(file: Path) -> str:
    """SHA-256, in hex, over the content, unpacked: what `Reading.checksum` is after this file alone was read.

    Raises:
        DataSetError: if the file cannot be read.
    """
    reading = Reading(file.name)
    for _ in reading.lines(file):
        pass
    reading.raise_problems()
    return reading.checksum

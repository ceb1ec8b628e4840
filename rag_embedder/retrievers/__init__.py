"""The five retrievers, one file per kind of need."""

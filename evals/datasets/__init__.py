"""Data sets from files: read, checked as a whole before anything is encoded, and listed by suite."""

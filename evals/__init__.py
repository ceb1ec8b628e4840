"""One benchmark per scenario, run with `python -m evals`."""

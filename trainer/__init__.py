"""Training from a language model's feedback, in stages run with `python -m trainer.<stage>`."""

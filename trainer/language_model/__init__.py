"""A small causal language model, trained to judge how much a retrieved text helps."""

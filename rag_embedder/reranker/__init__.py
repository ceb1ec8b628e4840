"""Rerankers: models that read query and text together and answer one number, higher for a better match.

reranker.py   `Reranker`: load, score, rerank
template.py   how a query and a text become the one sequence that the model reads
folder.py     what of a model folder decides a score besides the weights, and folders of our own
weights.py    encoders with a classification head, decoders with a score head, adapters over a decoder
forward.py    one padded batch through the model
item_text.py  the text of what the retrievers find
"""

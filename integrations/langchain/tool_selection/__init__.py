"""`RagToolSelectorMiddleware`: the few tools of many that a request needs, chosen without a call of a model."""

"""Adapters for LangChain and LlamaIndex: they translate types and hold no logic. Imports nothing itself."""

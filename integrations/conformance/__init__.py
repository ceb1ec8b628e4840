"""Tests for adapters, yours or ours: pytest classes to subclass, in the manner of langchain-tests.

Subclass one, give its fixtures, and pytest runs its tests on your object. Each needs pytest and the framework it is
about, and pytest-asyncio with `asyncio_mode = "auto"` where it has async tests. No model is loaded and nothing is
downloaded: what stands in for a language model is in `scripted_chat_model` and its like.
"""

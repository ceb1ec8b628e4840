"""Pre-training of decoders as encoders: EBAE and EBAR (LLaRA, arXiv 2312.15503; Llama2Vec, ACL 2024)."""

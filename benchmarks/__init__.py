"""Speed and quality, each a command; the figures are in docs/log.md."""

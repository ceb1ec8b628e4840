"""The embeddings of a prompt form's own tokens, trained although those of all other tokens stay as they are.

Adapters leave the embeddings alone, and a token that was added for a prompt begins at random: it would stay so.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SlotEmbeddings(nn.Module):
    """Rows of a frozen embedding `table` (tokens, width) in float32, which are looked up in its place."""

    ids: Tensor

    def __init__(self, table: Tensor, ids: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("ids", torch.tensor(sorted(ids), device=table.device), persistent=False)
        self.rows = nn.Parameter(table.detach()[self.ids].float())

    def forward(self, token_ids: Tensor, embedded: Tensor) -> Tensor:
        """`embedded` (..., width) of `token_ids` (...), with these rows in the places of their tokens."""
        places = torch.searchsorted(self.ids, token_ids).clamp(max=len(self.ids) - 1)
        is_own = self.ids[places] == token_ids
        return torch.where(is_own.unsqueeze(-1), self.rows[places].to(embedded.dtype), embedded)

    @torch.no_grad()
    def put_into(self, table: Tensor) -> None:
        """Write the rows back, in place; the table is on the CPU."""
        table[self.ids.cpu()] = self.rows.detach().cpu().to(table.dtype)

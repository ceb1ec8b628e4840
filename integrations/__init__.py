"""Adapters for LangChain and LlamaIndex: they translate types and keep every promise of the core.

`integrations.langchain` and `integrations.llama_index` hold the adapters; `audit_roles` says of any component whether
queries reach the query side of the encoder and documents the document side. Importing this imports no framework.
"""

from typing import TYPE_CHECKING

from rag_embedder.lazy_names import lazy_names

if TYPE_CHECKING:
    from integrations.audit import RoleAudit as RoleAudit
    from integrations.audit import aaudit_roles as aaudit_roles
    from integrations.audit import audit_roles as audit_roles

_PUBLIC = {
    "RoleAudit": "integrations.audit:RoleAudit",
    "aaudit_roles": "integrations.audit:aaudit_roles",
    "audit_roles": "integrations.audit:audit_roles",
}

__all__ = sorted(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__ = lazy_names(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return list(__all__)

"""Whether queries really reach the query side of the encoder, and documents the document side: `audit_roles`.

Imports no framework: a component is recognised by the classes that are imported already.
"""

from integrations.audit.auditing import aaudit_roles, audit_roles
from integrations.audit.kinds import KINDS
from integrations.audit.report import RoleAudit

__all__ = ["KINDS", "RoleAudit", "aaudit_roles", "audit_roles"]

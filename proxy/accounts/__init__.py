"""Who may use the product: API keys."""

from proxy.accounts.keys import Authenticator, digest, ensure_admin, is_weak, mint

__all__ = ["Authenticator", "digest", "ensure_admin", "is_weak", "mint"]

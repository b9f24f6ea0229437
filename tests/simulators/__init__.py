"""One local stand-in per provider, each written from the provider's documentation."""

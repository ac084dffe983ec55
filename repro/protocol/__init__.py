"""How nets are tested: scales in paper pixels, views, and the protocols that average them."""

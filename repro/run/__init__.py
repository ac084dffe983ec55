"""One request, resolved once, and its way to a finished run."""

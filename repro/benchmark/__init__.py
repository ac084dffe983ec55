"""The same work done by this suite, by its peers and by nothing but the machine."""

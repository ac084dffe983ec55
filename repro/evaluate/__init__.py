"""Testing by Section 3.2: a net looks at a test set, view by view."""

"""Nets that others trained: a file of weights becomes the state dict of one of our nets.

`read.read` is the way in. Each format has a module that finds the layers in a file, in the order in
which the net applies them, and says what input they want; `fit` gives them our names and refuses
another net.
"""

"""Published nets: weights that others trained, read from their own files into ours.

`read.read` is the way in. Each format has a module that finds the layers in a file; `fit` gives
them our names and refuses what is not the net that was asked for; `convention` says what input the
net wants.
"""

"""The command line through Hydra: composing jobs, launching them, and the words of errors."""

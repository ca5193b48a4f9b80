"""The engine: one file from its source to all its destinations. Knows no terminal, no signal, no argument."""

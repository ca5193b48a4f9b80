"""What the program writes and reads, held against the tools that others use for the same formats."""

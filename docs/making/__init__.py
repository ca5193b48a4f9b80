"""What is made, not written: manual, completions, reference, pictures, the single file."""

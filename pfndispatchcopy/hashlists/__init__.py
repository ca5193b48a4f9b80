"""Hash lists: media hash lists of both kinds, and sum files. Formats only: nothing here opens a file."""

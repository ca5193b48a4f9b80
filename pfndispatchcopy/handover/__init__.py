"""What is handed over with the copies: media hash lists and sum files, written into every destination."""

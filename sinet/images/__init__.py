"""From files to upright RGB pixels and to masks in {0, 1}, and nothing guessed on the way."""

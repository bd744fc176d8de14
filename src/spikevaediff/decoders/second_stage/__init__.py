"""What the second stage is given, and where its unfinished images are kept."""

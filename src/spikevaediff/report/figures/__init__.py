"""One module for each kind of picture, with the table that it shows."""

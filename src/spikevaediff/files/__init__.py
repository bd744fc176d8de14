"""Files: written whole or not at all, fetched and checked, tables of numbers."""

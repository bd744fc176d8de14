"""What a run found: tables, pictures, one page, cards."""

"""A finished run as named arrays, its saved models applied to new data, and its figures: docs/api.md."""

"""Folders of the plain format, read and judged."""

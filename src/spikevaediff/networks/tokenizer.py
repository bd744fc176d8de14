"""Tokenizers out of tokenizer.json, the file that says how words become the numbers that a language network reads."""

from tokenizers import Tokenizer


def read(content: str) -> Tokenizer:
    """The tokenizer that a tokenizer.json describes.

    Raises
    ------
    ValueError
        The content is damaged or describes no tokenizer.
    """
    try:
        return Tokenizer.from_str(content)
    except Exception as error:
        # The library says so by Exception itself and by nothing narrower; whatever has a class of its own is not meant.
        if type(error) is not Exception:
            raise
        raise ValueError(f"tokenizer.json describes no tokenizer: {error}") from error

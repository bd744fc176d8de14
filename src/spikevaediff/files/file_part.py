"""Part of a file on a server: the bytes between two places, all of one version of the file."""

import http.client
import re
import time
import urllib.error

from spikevaediff.files.one_request import (
    ATTEMPTS,
    BusyError,
    Stated,
    UnreachableError,
    answers_to,
    check_kind,
    pause_s,
    refusal,
    request_for,
    stated_by,
)


class ReplacedError(ValueError):
    """A server has another version of a file than the one of which it has sent parts."""


def read_part(url: str, start: int, stop: int, known: Stated | None) -> tuple[bytes, Stated]:
    """The bytes from `start` to `stop`, exclusive, of a file that is not fetched as a whole.

    A connection that breaks is resumed where it broke, and a busy server is asked again, as by `download`.

    Parameters
    ----------
    url : str
    start, stop : int
        Within the file, stop after start.
    known : Stated or None
        What an earlier part came with; None: this is the first one.

    Returns
    -------
    bytes, (stop - start,)
    Stated
        What the server said of the file: its size and its ETag or date.

    Raises
    ------
    OSError
        As `download`; or the server sends the whole file, other bytes than asked for, or says nothing by which one
        version of the file could be told from another.
    ReplacedError
        The file is not the one that `known` is of.
    """
    content, failures = bytearray(), 0
    while True:
        try:
            known = _receive_part(url, start, stop, known, content)
            return bytes(content), known
        except (http.client.HTTPException, ConnectionError, TimeoutError, BusyError) as error:
            failures += 1
            unreachable = isinstance(error, UnreachableError) and known is None
            if failures == ATTEMPTS or unreachable:
                if isinstance(error, BusyError):
                    raise OSError(str(error)) from error
                what = "went silent" if isinstance(error, TimeoutError) else "broke"
                at = start + len(content)
                raise OSError(f"the connection {what} at byte {at} ({type(error).__name__})") from error
            time.sleep(pause_s(failures, error))


def _receive_part(url: str, start: int, stop: int, known: Stated | None, content: bytearray) -> Stated:
    """Requests that append to `content` what it lacks of the part."""
    while len(content) < stop - start:
        at = start + len(content)
        request = request_for(url, known or Stated(url))
        request.add_header("Range", f"bytes={at}-{stop - 1}")
        try:
            response, answers = answers_to(request)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:
                raise OSError(f"the file ends before byte {at} ({error.headers.get('Content-Range')})") from error
            raise refusal(error) from error
        with response:
            check_kind(response)
            said = stated_by(url, answers, response.status)
            sent = response.headers.get("Content-Range", "no range")
            match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", sent)
            if response.status != 206:
                raise OSError("the server sends the whole file where a part was asked for: it cannot be read in parts")
            if match is None or int(match[1]) != at or not at <= int(match[2]) < stop:
                raise OSError(f"asked for the bytes {at}-{stop - 1}, the server sent {sent}")
            said.total = int(match[3])
            if not (said.etag or said.modified):
                raise OSError("the server states neither ETag nor date: parts of two versions could not be told apart")
            for name in ("total", "etag", "modified"):
                if known is not None and getattr(known, name) != getattr(said, name):
                    was, now = getattr(known, name), getattr(said, name)
                    raise ReplacedError(f"{url} was replaced while it was read: its {name} was {was} and is {now}")
            known, end = said, int(match[2]) + 1
            while start + len(content) < end:
                chunk = response.read1(end - start - len(content))
                if not chunk:
                    raise http.client.IncompleteRead(b"", end - start - len(content))
                content += chunk
    assert known is not None
    return known

"""One request to a server over https: what its answer states of a file, and what it says when it refuses.

Where nobody publishes a sha256, what servers state of a file is compared: the hub of Hugging Face (X-Linked-ETag and
X-Linked-Size, in the answer that redirects), Azure (Content-MD5), Amazon S3 (ETag).
"""

import base64
import binascii
import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_S = 60  # of silence, after which a connection counts as broken
ATTEMPTS = 5  # requests that brought less than a chunk, before the user is asked to try again
_PAUSE_S = 1.0  # before the second request; doubled each time
_LONGEST_PAUSE_S = 30.0
_BUSY = {429, 500, 502, 503, 504}  # worth another try
_REASONS = {
    401: "the server asks for a login (401)",
    403: "the server refuses access (403): the address has expired, or needs a login or an accepted licence",
    404: "the server has no such file (404): it was moved or taken away",
    407: "the proxy asks for a login (407): name it in the address, https_proxy=http://USER:PASSWORD@HOST:PORT",
    429: "the server has had too many requests (429): try again later",
    503: "the server answered 503, it is busy or down: try again later",
}
# Azure answers requests that name no version as it did in 2009, when it could not continue a file from a byte on.
_AZURE, _AZURE_VERSION = re.compile(r"\.(blob\.core\.windows|azureedge)\.net$"), "2020-04-08"


@dataclass
class Stated:
    """What servers said of a file while it was fetched; empty where they said nothing.

    url : str; the address that was asked for.
    total : int or None; bytes.
    etag, modified : str; what tells one version of it from another: an ETag that promises equal bytes, or a date.
    sha256, git_sha1, md5 : str; hexadecimal digests; git_sha1 is that of Git's blob, the hub's for small files.
    s3_etag : str; of Amazon S3, which may be an MD5.
    commit : str; of the hub's repository.
    is_azure : bool
    """

    url: str
    total: int | None = None
    etag: str = ""
    modified: str = ""
    sha256: str = ""
    git_sha1: str = ""
    md5: str = ""
    s3_etag: str = ""
    commit: str = ""
    is_azure: bool = False

    @property
    def is_checkable(self) -> bool:
        """Whether the bytes can be compared with something."""
        return bool(self.sha256 or self.git_sha1 or self.md5 or re.fullmatch(r'"[0-9a-f]{32}"', self.s3_etag))

    @property
    def ties(self) -> bool:
        """Whether a part that was left can be told from one of another version of the file."""
        return bool(self.etag or self.modified or self.is_checkable)


class BusyError(Exception):
    """The server asks to come back later, after some seconds when it says so."""

    def __init__(self, text: str, after_s: float) -> None:
        super().__init__(text)
        self.after_s = after_s


class UnreachableError(BusyError):
    """Nobody answers."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps what each answer said: the hub states its checksums in the one that redirects."""

    def __init__(self) -> None:
        self.said: list[Message] = []

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.said.append(headers)
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            fp.close()
            raise OSError(f"the server sends on to {newurl}, over a connection that anybody can alter")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def answers_to(request: urllib.request.Request) -> tuple[http.client.HTTPResponse, list[Message]]:
    """The answer to a request, and the headers of all answers on the way to it; errors as one readable line."""
    address = urlsplit(request.full_url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(address.scheme, "")
    if proxy.startswith("socks") and not urllib.request.proxy_bypass(address.hostname or ""):
        raise OSError(
            f"{address.scheme}_proxy is {proxy}: SOCKS is not supported. Name an http proxy, or fetch the file by "
            "other means"
        )
    redirects = _Redirects()
    try:
        response = urllib.request.build_opener(redirects).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        cause = error.reason
        if isinstance(cause, ssl.SSLError):
            raise OSError(
                f"the server's certificate is not trusted here ({cause}). Where a proxy opens connections, name the "
                "file of its certificate: SSL_CERT_FILE=/path/to/certificate.pem"
            ) from error
        if isinstance(cause, TimeoutError):
            raise cause from error
        if "Tunnel connection failed" in str(cause):
            raise OSError(f"the proxy does not let {address.hostname} through ({cause})") from error
        unused = proxies.get("all", "")
        hint = f"; all_proxy is {unused}, and SOCKS is not supported" if unused.startswith("socks") else ""
        raise UnreachableError(f"no connection ({cause}{hint})", 0.0) from error
    return response, [*redirects.said, response.headers]


def stated_by(url: str, answers: Sequence[Message], status: int) -> Stated:
    """What the answers to one request say of the file."""
    last = answers[-1]
    stated = Stated(url, modified=last.get("Last-Modified", ""), is_azure="x-ms-version" in last)
    etag = last.get("ETag", "")
    # A weak one, W/"...", promises no equal bytes.
    stated.etag = etag if etag.startswith('"') else ""
    # Encrypted with a key of Amazon's, the ETag is not an MD5.
    if last.get("Server") == "AmazonS3" and "kms" not in last.get("x-amz-server-side-encryption", ""):
        stated.s3_etag = stated.etag
    for headers in answers:
        if "X-Repo-Commit" in headers:  # the hub
            stated.commit = headers["X-Repo-Commit"]
            tag = str(headers.get("X-Linked-ETag") or headers.get("ETag", "")).removeprefix("W/").strip('"')
            stated.sha256 = tag if re.fullmatch("[0-9a-f]{64}", tag) else ""
            stated.git_sha1 = tag if re.fullmatch("[0-9a-f]{40}", tag) else ""
        if (size := headers.get("X-Linked-Size", "")).isdecimal():
            stated.total = int(size)
    # Of a part of a file, Content-MD5 is the sum of the part.
    sums = last.get("Content-MD5", "") if status == 200 else last.get("x-ms-blob-content-md5", "")
    try:
        stated.md5 = base64.b64decode(sums, validate=True).hex()
    except binascii.Error:
        stated.md5 = ""
    if len(stated.md5) != 32:
        stated.md5 = ""
    return stated


def request_for(url: str, stated: Stated) -> urllib.request.Request:
    request = urllib.request.Request(url, headers={"User-Agent": "spikevaediff", "Accept-Encoding": "identity"})
    if stated.is_azure or _AZURE.search(urlsplit(url).hostname or ""):
        request.add_header("x-ms-version", _AZURE_VERSION)
    return request


def refusal(error: urllib.error.HTTPError) -> OSError | BusyError:
    """What a server says by a status, and whether it is worth another try."""
    reason = _REASONS.get(error.code, f"the server answered {error.code} {' '.join(str(error.reason).split())}")
    if error.code not in _BUSY:
        return OSError(reason)
    after = error.headers.get("Retry-After", "")
    return BusyError(reason, float(after) if after.isdecimal() else 0.0)


def check_kind(response: http.client.HTTPResponse) -> None:
    """Refuse anything but the file itself."""
    if response.headers.get_content_type() == "text/html":
        raise OSError("the server sent a web page in place of the file (from a login or a proxy, perhaps)")
    if (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise OSError(f"the server sent the file as {coding}, though it was asked not to: a proxy in between, perhaps")


def pause_s(barren: int, error: Exception) -> float:
    """How long to wait before the next request, after so many in a row that brought little."""
    asked = max(_PAUSE_S * 2 ** (barren - 1), error.after_s) if isinstance(error, BusyError) else _PAUSE_S
    return min(asked, _LONGEST_PAUSE_S)

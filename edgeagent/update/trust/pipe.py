"""Where python-tuf's client gets its files from: the parent, who has the link."""

from __future__ import annotations

from collections.abc import Iterator

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient import FetcherInterface

from edgeagent.update.trust.child import Channel

_MOST = 5_000_000


class PipeFetcher(FetcherInterface):
    """Asks for a file with the limit that its role has, so that no more of it ever comes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def download_bytes(self, url: str, max_length: int) -> bytes:
        self._channel.send({"fetch": url, "most": max_length})
        answer = self._channel.receive()
        if isinstance(answer, bytes):
            if len(answer) > max_length:
                raise DownloadLengthMismatchError(f"{url}: more than {max_length} bytes")
            return answer
        if answer.get("missing"):
            # The client asks for the next root until there is none.
            raise DownloadHTTPError(f"there is no {url}", 404)
        raise DownloadError(answer.get("text", f"{url} can't be had"))

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, _MOST)

"""The newest committed state of the videos that were last used, in memory."""

from __future__ import annotations

import sys
from collections import OrderedDict

from proxy.records import Video


class Recent:
    """A bounded map from id to `Video`: at most `entries`, and about `memory` bytes of prompts and metadata."""

    def __init__(self, entries: int, memory: int) -> None:
        self._entries = entries
        self._memory = memory
        self._used = 0
        self._videos: OrderedDict[str, Video] = OrderedDict()

    def get(self, video_id: str) -> Video | None:
        video = self._videos.get(video_id)
        if video is not None:
            self._videos.move_to_end(video_id)
        return video

    def put(self, video: Video) -> None:
        """Keep `video`, unless a newer version of it is here: a read may end after a commit that it did not see."""
        known = self._videos.get(video.id)
        if known is not None:
            if known.version > video.version:
                return
            self._used -= _weight(known)
        self._videos[video.id] = video
        self._videos.move_to_end(video.id)
        self._used += _weight(video)
        while len(self._videos) > self._entries or (self._used > self._memory and len(self._videos) > 1):
            self._used -= _weight(self._videos.popitem(last=False)[1])

    def renew(self, video: Video) -> None:
        """Keep `video` in the place of an older version of it; nothing where none is here."""
        known = self._videos.get(video.id)
        if known is not None and known.version < video.version:
            self.put(video)

    def clear(self) -> None:
        """Forget everything: somebody else has written."""
        self._videos.clear()
        self._used = 0

    def drop(self, video_id: str) -> None:
        """Forget what is known of a video that turned out to be old."""
        known = self._videos.pop(video_id, None)
        if known is not None:
            self._used -= _weight(known)


def _weight(video: Video) -> int:
    return sys.getsizeof(video.prompt) + len(video.metadata or b"")

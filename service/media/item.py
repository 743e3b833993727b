"""One picture or point cloud of a request, not yet fetched or decoded."""

from __future__ import annotations

from dataclasses import dataclass

from lamm_model.conversation import Modality
from lamm_model.formats.cloud_format import CloudFile
from service.media.process import MediaJob
from service.media.sources import MediaSource


@dataclass(frozen=True, slots=True)
class MediaItem:
    """A medium as sent; `param` names its part of the request. A cloud has `cloud`."""

    modality: Modality
    source: MediaSource
    param: str
    cloud: CloudFile | None = None

    def job(self, content: str | bytes, cache_salt: str | None = None) -> MediaJob:
        """The decoding job, once its bytes (or their base64 text) are known."""
        return MediaJob(self.modality, content, self.cloud, cache_salt)

"""A host on the loopback that media are fetched from: over TLS, with answers byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import trustme

from lamm_model.conversation import Modality
from service.media.budgets import MediaBudget
from service.media.remote import RemoteLimits, RemoteMedia
from service.media.remote_address import AllowedHosts, Resolver, is_public
from tests.service.chat_requests import png

NAME = "media.example"
# A client that goes away, and a test that ends.
_ENDS = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
PNG_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"


def ok(body: bytes, *headers: str) -> bytes:
    """A whole answer."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return PNG_HEAD + f"Content-Length: {len(body)}\r\n{lines}\r\n".encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    """An answer that leads elsewhere."""
    return f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@dataclass
class MediaHost:
    """`answers` by path: bytes, and seconds to wait between them; `forever` repeats the last."""

    authority: trustme.CA
    port: int = 0
    answers: dict[str, Sequence[bytes | float]] = field(default_factory=dict)
    forever: set[str] = field(default_factory=set)
    connections: int = 0
    names: list[str] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def tls(self) -> ssl.SSLContext:
        """What a client needs to trust this host alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context

    def url(self, path: str = "/a.png", name: str = NAME) -> str:
        """An address here."""
        return f"https://{name}:{self.port}{path}"

    def media(
        self, *addresses: Sequence[str], timeout_s: float = 20.0, hosts: Sequence[str] = ()
    ) -> RemoteMedia:
        """A fetcher for which 127.0.0.1, and nothing else of this machine, is the open internet.

        `addresses` are what each lookup finds; the last one from then on.
        """
        found = list(addresses) or [["127.0.0.1"]]

        async def lookup(host: str, port: int) -> Sequence[str]:
            self.lookups.append(host)
            return found.pop(0) if len(found) > 1 else found[0]

        resolver = Resolver(lookup, lambda text: text == "127.0.0.1" or is_public(text))
        return RemoteMedia(self.hosts(*hosts), RemoteLimits(timeout_s), resolver, self.tls())

    def hosts(self, *more: str) -> AllowedHosts:
        """This host's name and port, and others."""
        return AllowedHosts((f"{NAME}:{self.port}", *more))

    async def fetch(
        self, media: RemoteMedia, path: str = "/a.png", modality: Modality = Modality.IMAGE
    ) -> bytes:
        """What the fetcher gets from an address here, up to 100000 bytes."""
        url = media.hosts.check(self.url(path))
        return await media.fetch(url, modality, MediaBudget(100_000, 100_000).item(), "url")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one answer."""
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(*_ENDS):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            path = head.split(b" ")[1].decode()
            answer = self.answers.get(path, [b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"])
            for step in answer:
                await self._send(step, writer)
            while path in self.forever and not writer.is_closing():
                await self._send(answer[-1], writer)
                await asyncio.sleep(0)
        writer.close()

    @staticmethod
    async def _send(step: bytes | float, writer: asyncio.StreamWriter) -> None:
        if isinstance(step, float):
            await asyncio.sleep(step)
        else:
            writer.write(step)
            await writer.drain()


@contextlib.asynccontextmanager
async def media_host(
    authority: trustme.CA, address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[MediaHost]:
    """A running host with a picture at `/a.png`."""
    host = MediaHost(authority)
    host.answers["/a.png"] = [ok(png())]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    host.authority.issue_cert(NAME).configure_cert(context)

    def note_name(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        host.names.append(str(name))

    context.sni_callback = note_name
    server = await asyncio.start_server(host.serve, address, port, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        for writer in host.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # the loop closes what was aborted

# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's packages for a machine without a network: a proxy on the controller that fetches as its own apt does."""

import contextlib
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from switchover.hosts import processes
from switchover.lab.mirror import Mirror
from switchover.record.errors import CommandFailed

APT_HELPER = "/usr/lib/apt/apt-helper"


@contextlib.contextmanager
def serve_packages(mirror: Mirror, directory: Path) -> Iterator[int]:
    """The port of 127.0.0.1 where it listens. It knows the two names of images/bare, and no other address."""
    places = {"archive.invalid": mirror.archive, "security.invalid": mirror.security or ""}
    handler = type("Handler", (_Handler,), {"places": places, "directory": directory})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="packages")
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Apt asks a proxy for whole addresses, ``GET http://NAME/PATH``."""

    places: Mapping[str, str]
    directory: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urllib.parse.urlsplit(self.path)
        place = self.places.get(asked.netloc)
        target = self.directory / urllib.parse.quote(asked.path, safe="")
        if not place or not _fetch(f"{place.rstrip('/')}{asked.path}", target):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(target.stat().st_size))
        self.end_headers()
        with target.open("rb") as file:
            while block := file.read(1 << 20):
                self.wfile.write(block)

    def log_message(self, format: str, *words: object) -> None:
        """Not on standard error: apt says what it misses."""


def _fetch(uri: str, target: Path) -> bool:
    if target.exists():
        return True
    part = target.with_name(f"{target.name[-100:]}.{threading.get_ident()}")
    try:
        processes.run([APT_HELPER, "download-file", uri, str(part)], timeout=300)
    except CommandFailed:
        return False
    part.rename(target)
    return True

"""A loopback proxy in front of a server, that does what bad networks do to imports and exports."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import httpx

# Gets what forwards the request and gives (status, content); returns what to answer, or None to hang up.
Fault = Callable[[Callable[[], tuple[int, bytes]]], tuple[int, bytes] | None]


class Proxy:
    """`with Proxy(url) as proxy`: forwards; the next imports and exports go through `proxy.faults`, one each."""

    def __init__(self, target: str) -> None:
        self.faults: list[Fault] = []
        self.imports = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() in ("authorization", "content-type", "accept")
                }

                def forward() -> tuple[int, bytes]:
                    answer = httpx.request(
                        self.command, target + self.path, content=content, headers=headers, timeout=120
                    )
                    return answer.status_code, answer.content

                fault: Fault | None = None
                if self.command == "POST" and self.path.endswith("/import"):
                    proxy.imports += 1
                    fault = proxy.faults.pop(0) if proxy.faults else None
                elif "/export" in self.path:
                    fault = proxy.faults.pop(0) if proxy.faults else None
                try:
                    answer = fault(forward) if fault else forward()
                except httpx.ConnectError:
                    answer = (502, b"<html>Bad gateway; Set-Cookie: sessionid=abc</html>")
                except httpx.HTTPError:
                    answer = None
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            do_GET = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815 (the base class asks for them)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

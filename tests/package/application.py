#!/usr/bin/env python3
"""application.py PORT|/SOCKET NAME: an application that says its name, counts nothing, keeps nothing.

`/begin` begins a session as Django does, `/slow` takes two seconds, in ten pieces.
"""

import http.server
import os
import secrets
import socket
import socketserver
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        if self.path == "/begin":
            self.send_header("Set-Cookie", f"sessionid={secrets.token_hex(16)}; Path=/; Max-Age=1209600")
        if self.path == "/slow":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(10):
                time.sleep(0.2)
                self.wfile.write(b"1\r\n.\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
            return
        body = f"{sys.argv[2]}\n".encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "proxy"

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


where = sys.argv[1]
if where.startswith("/"):
    Server.address_family = socket.AF_UNIX
    server = Server(where, Handler)
    os.chmod(where, 0o666)
    server.serve_forever()
else:
    Server(("127.0.0.1", int(where)), Handler).serve_forever()

"""An OpenAI-compatible completions server for tests: real numbers of a tiny model, and faults on demand."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from tests.tiny_language_models import POSITIONS, make_language_model, make_tokenizer


class Completions(BaseHTTPRequestHandler):
    """`server.faults` are (status, headers, body) to answer first; `server.seen` the requests' headers and bodies."""

    def do_GET(self):
        self._answer({"data": [{"id": name, "max_model_len": POSITIONS} for name in self.server.names]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((dict(self.headers), body))
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault:
            status, headers, text = fault
            self._send(status, text.encode(), headers)
            return
        ids = body["prompt"]
        assert len(ids) + body["max_tokens"] <= POSITIONS
        choice = {"text": self._generate(ids, body)}
        if body.get("echo"):
            choice["logprobs"] = self.server.edit(self._log_probabilities(ids))
        self._answer({"choices": [choice]})

    def _generate(self, ids, body):
        new = []
        for _ in range(body["max_tokens"]):
            new.append(self._logits([*ids, *new])[-1].argmax().item())
        text = make_tokenizer().decode(new)
        for stop in body.get("stop", []):
            text = text.split(stop)[0]
        return text

    def _log_probabilities(self, ids):
        """Like vLLM: the generated token's value comes last, the first token has none."""
        rows = self._logits(ids).double().log_softmax(-1)
        following = [*ids[1:], rows[-1].argmax().item()]
        values = [rows[place, token].item() for place, token in enumerate(following)]
        tops = [{"chosen": value, "likeliest": rows[place].max().item()} for place, value in enumerate(values)]
        return {"token_logprobs": [None, *values], "top_logprobs": [None, *tops]}

    def _logits(self, ids):
        with self.server.lock, torch.no_grad():
            return self.server.model(torch.tensor([ids])).logits[0]

    def _answer(self, content):
        self._send(200, json.dumps(content).encode(), {})

    def _send(self, status, body, headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing on the terminal."""


@contextmanager
def completions_server(*, names=("tiny",), faults=(), edit=lambda logprobs: logprobs):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Completions)
    server.names, server.faults, server.edit = names, list(faults), edit
    server.seen, server.lock, server.model = [], threading.Lock(), make_language_model()
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""JSON over HTTP with the standard library: retries, clear errors, and a key that goes nowhere else."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from evals.language_model.protocol import LanguageModelError
from rag_embedder.errors import ConfigError

_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 60.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects are errors: the standard handler would send the key to wherever the server points."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow none."""
        return


@dataclass(frozen=True, slots=True)
class JsonClient:
    """Requests to one server. The key is read from an environment variable and appears in no message.

    `retries` is how often a request is repeated after it failed in a way that may pass; `wait` seconds before the
    first repetition, doubled each time, unless the server says how long.
    """

    base_url: str
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 300.0
    retries: int = 4
    wait: float = 1.0
    _opener: urllib.request.OpenerDirector = field(
        default_factory=lambda: urllib.request.build_opener(_NoRedirects()), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname or address.username:
            raise ConfigError(
                f"{address.scheme}://{address.hostname}: expected an address such as http://localhost:8000/v1, "
                f"without a user name; a key is read from the environment variable {self.key_variable}."
            )

    def get(self, path: str) -> Any:  # noqa: ANN401  (whatever JSON the server answers)
        """The JSON at a path below the base; errors as for `post`."""
        return self._send(path, None)

    def post(self, path: str, content: Mapping[str, object]) -> Any:  # noqa: ANN401  (whatever JSON it answers)
        """The server's answer.

        Raises:
            LanguageModelError: if there is none after all retries, or it is not JSON, or it is a refusal.
        """
        return self._send(path, json.dumps(content).encode())

    def _send(self, path: str, body: bytes | None) -> Any:  # noqa: ANN401
        url = f"{self.base_url.rstrip('/')}/{path}"
        for attempt in range(self.retries + 1):
            wait: float | None = self.wait * 2**attempt
            try:
                with self._opener.open(self._request(url, body), timeout=self.timeout) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code}{_kind(error)}"
                wait = _asked(error, self.wait * 2**attempt) if error.code in _TRY_AGAIN else None
                error.close()
            except (OSError, ValueError) as error:
                reason = getattr(error, "reason", None) or error
                problem = f"{type(reason).__name__}"
            if wait is None or attempt == self.retries:
                raise LanguageModelError(
                    f"{_shown(url)}: {problem} after {attempt + 1} attempts; expected JSON. "
                    "Check the address, the model's name and the server's own log."
                )
            time.sleep(min(wait, _LONGEST_WAIT))
        raise AssertionError("unreachable")

    def _request(self, url: str, body: bytes | None) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = os.environ.get(self.key_variable, "")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return urllib.request.Request(url, data=body, headers=headers)


def _kind(error: urllib.error.HTTPError) -> str:
    """The error's own type. Its message may quote the prompt, so it is not shown."""
    try:
        content = json.loads(error.read(10_000))
        kind = content.get("error", content).get("type")
    except (OSError, ValueError, AttributeError):
        return ""
    return f" ({kind[:80]})" if isinstance(kind, str) else ""


def _asked(error: urllib.error.HTTPError, otherwise: float) -> float:
    try:
        return float(error.headers.get("Retry-After", otherwise))
    except ValueError:
        return otherwise


def _shown(url: str) -> str:
    address = urlsplit(url)
    return f"{address.scheme}://{address.netloc}{address.path}"

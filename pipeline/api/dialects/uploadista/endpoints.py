"""The addresses of tokens, uploads, flows, jobs, sockets, dead letters and health; a client's base is `/uploadista`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.api.dialects.uploadista import auth, flows, health, letters, sockets, steering, uploads
from pipeline.api.dialects.uploadista.errors import TOKEN_VOICE, VOICE
from pipeline.api.endpoint import Act, Endpoint
from pipeline.api.voices import Voice
from pipeline.describe import BINARY, Raw

BASE = "/uploadista"
API = f"{BASE}/api"
JSON = Raw("application/json", {"type": "object"})
BYTES = Raw("application/octet-stream", BINARY)
READINESS: Mapping[int, Raw | None] = {200: JSON, 503: JSON}
NO_BODY: Mapping[int, Raw | None] = {204: None}
SOCKET: Mapping[int, Raw | None] = {101: None}


def _endpoint(
    method: str,
    path: str,
    summary: str,
    act: Act,
    tag: str,
    *,
    body: Raw | None = None,
    answers: Mapping[int, Raw | None] | None = None,
    voice: Voice = VOICE,
) -> Endpoint:
    return Endpoint(
        method,
        path,
        summary,
        act=act,
        tag=f"uploadista {tag}",
        api="uploadista",
        body=body,
        answers=answers or {200: JSON},
        public=True,
        voice=voice,
    )


def _socket(path: str, summary: str, act: Act) -> Endpoint:
    return _endpoint("GET", f"{BASE}/ws{path}", summary, act, "sockets", answers=SOCKET)


TOKENS: Sequence[Endpoint] = (
    _endpoint("GET", f"{BASE}/auth/jwt", "Get a token for an API key.", auth.exchange, "tokens", voice=TOKEN_VOICE),
    _endpoint(
        "GET",
        "/api/auth/token/{client}",
        "Get a token for a page, if the project's own check knows it.",
        auth.page_token,
        "tokens",
        voice=TOKEN_VOICE,
    ),
    _endpoint(
        "GET",
        f"{API}/auth/token/{{client}}",
        "Get a token for a page, the same.",
        auth.page_token,
        "tokens",
        voice=TOKEN_VOICE,
    ),
)

UPLOADS: Sequence[Endpoint] = (
    _endpoint("POST", f"{API}/upload", "Begin an upload.", uploads.create, "uploads", body=JSON),
    _endpoint("GET", f"{API}/upload/capabilities", "See what a storage takes.", uploads.capabilities, "uploads"),
    _endpoint(
        "GET", f"{API}/upload/{{storage}}/capabilities", "See what a storage takes.", uploads.capabilities, "uploads"
    ),
    _endpoint("GET", f"{API}/upload/{{id}}", "See how far an upload has come.", uploads.get, "uploads"),
    _endpoint(
        "PATCH",
        f"{API}/upload/{{id}}",
        "Send the next chunk, all of it or nothing.",
        uploads.patch,
        "uploads",
        body=BYTES,
    ),
    _endpoint("DELETE", f"{API}/upload/{{id}}", "Give an upload up.", uploads.delete, "uploads", answers=NO_BODY),
)

FLOWS: Sequence[Endpoint] = (
    _endpoint("GET", f"{API}/flow/{{flow}}", "See the nodes and edges of a flow.", flows.get, "flows"),
    _endpoint(
        "POST",
        f"{API}/flow/{{flow}}/{{storage}}",
        "Run a flow, on files yet to come too.",
        flows.run,
        "flows",
        body=JSON,
    ),
    _endpoint("GET", f"{API}/jobs/{{id}}/status", "See how a job stands.", steering.status, "jobs"),
    _endpoint(
        "PATCH",
        f"{API}/jobs/{{id}}/resume/{{node}}",
        "Give a waiting node what it waits for, or let a paused job go on.",
        steering.resume,
        "jobs",
        body=JSON,
    ),
    _endpoint("POST", f"{API}/jobs/{{id}}/pause", "Let a job rest.", steering.pause, "jobs"),
    _endpoint("POST", f"{API}/jobs/{{id}}/cancel", "End a job.", steering.cancel, "jobs"),
)

LETTERS: Sequence[Endpoint] = (
    _endpoint("GET", f"{API}/dlq", "List dead letters.", letters.listed, "dead letters"),
    _endpoint("GET", f"{API}/dlq/stats", "Count dead letters.", letters.stats, "dead letters"),
    _endpoint("POST", f"{API}/dlq/retry-all", "Run dead letters again.", letters.retry_all, "dead letters", body=JSON),
    _endpoint("POST", f"{API}/dlq/cleanup", "Forget dead letters.", letters.cleanup, "dead letters", body=JSON),
    _endpoint("GET", f"{API}/dlq/{{id}}", "Look at a dead letter.", letters.get, "dead letters"),
    _endpoint("POST", f"{API}/dlq/{{id}}/retry", "Run a dead letter again.", letters.retry, "dead letters"),
    _endpoint("POST", f"{API}/dlq/{{id}}/resolve", "Put a dead letter aside.", letters.resolve, "dead letters"),
    _endpoint("DELETE", f"{API}/dlq/{{id}}", "Forget a dead letter.", letters.delete, "dead letters"),
)

HEALTH: Sequence[Endpoint] = (
    _endpoint("GET", f"{BASE}/health", "Whether the server is alive.", health.health, "health"),
    _endpoint("GET", f"{BASE}/healthz", "The same.", health.health, "health"),
    _endpoint("GET", f"{BASE}/ready", "Whether requests can be served.", health.ready, "health", answers=READINESS),
    _endpoint("GET", f"{BASE}/readyz", "The same.", health.ready, "health", answers=READINESS),
    _endpoint("GET", f"{BASE}/health/components", "See how each part is.", health.components, "health"),
)

SOCKETS: Sequence[Endpoint] = (
    _socket("/flow/{id}", "Hear what becomes of a job, from its beginning.", sockets.flow),
    _socket("/flow", "The same; its id in the query, as `jobId`.", sockets.flow),
    _socket("/upload/{id}", "Hear how far an upload comes, from its beginning.", sockets.upload),
    _socket("/upload", "The same; its id in the query, as `uploadId`.", sockets.upload),
    _socket("/{path:.*}", "Hear that there is no such socket.", sockets.nothing),
)

ENDPOINTS: Sequence[Endpoint] = (*TOKENS, *UPLOADS, *FLOWS, *LETTERS, *HEALTH, *SOCKETS)

UNSPOKEN: Mapping[str, str] = {
    "Nodes as the vendor's code defines them": "Flows are YAML files of our nodes; a page has them made and shown.",
    "Inputs that are no files": "A 400 `FLOW_INPUT_VALIDATION_ERROR`, but for parameters of the flow.",
    "`intermediateFiles` of a job": "Left out; what lies between is no upload, and nothing of it stays.",
    "`nextRetryAt` of a dead letter": "Left out; a job that is `pending` has its next try in the queue.",
    "Usage hooks, subscriptions": "The project's `limits`; a 402 `QUOTA_EXCEEDED` when there is no room left.",
}
"""What of the protocol is not spoken, and what happens instead."""

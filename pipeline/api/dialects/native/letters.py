"""`/v1/dead-letters`: runs that were given up, to be looked at, run again or put aside."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from pipeline.acts import settled
from pipeline.api.dialects.native.runs import asked, run_shape
from pipeline.api.dialects.native.shapes import (
    CountShape,
    LettersAsk,
    LetterShape,
    LettersQuery,
    Listing,
    NoteAsk,
    ResolveAsk,
    RunShape,
    letter_shape,
)
from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.errors import LetterNotFound, RunNotEnded


async def listed(call: Call) -> web.Response:
    query = call.query(LettersQuery)
    page = await call.core.runs.letters.list(call.grant, query.cursor, query.limit, query.flow, query.code)
    return answer(Listing[LetterShape](items=tuple(letter_shape(one) for one in page.items), next=page.next))


async def get(call: Call) -> web.Response:
    return answer(letter_shape(await call.core.runs.letters.get(call.grant, call.id(LetterNotFound))))


async def retry(call: Call) -> web.Response:
    run = await settled(call.core.runs.letters.retry(call.grant, call.id(LetterNotFound)))
    return answer(await run_shape(call, run), 202)


async def resolve(call: Call) -> web.Response:
    ask = await asked(call, NoteAsk)
    await settled(call.core.runs.letters.resolve(call.grant, call.id(LetterNotFound), ask.note))
    return web.Response(status=204)


async def retry_all(call: Call) -> web.Response:
    ask = await asked(call, LettersAsk)
    count = await settled(call.core.runs.letters.retry_all(call.grant, ask.flow, ask.code, ask.runs))
    return answer(CountShape(count=count))


async def resolve_all(call: Call) -> web.Response:
    ask = await asked(call, ResolveAsk)
    return await _dropped(call, ask, "resolved", ask.note)


async def purge(call: Call) -> web.Response:
    return await _dropped(call, await asked(call, LettersAsk), "purged")


async def _dropped(call: Call, ask: LettersAsk, how: str, note: str = "") -> web.Response:
    letters = call.core.runs.letters
    count = await settled(letters.drop_all(call.grant, how, note, ask.flow, ask.code, ask.runs))
    return answer(CountShape(count=count))


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        "/v1/dead-letters",
        "List the project's dead letters, newest first.",
        act=listed,
        tag="dead letters",
        query=LettersQuery,
        answers={200: Listing[LetterShape]},
    ),
    Endpoint(
        "POST",
        "/v1/dead-letters/retry",
        "Run dead letters again, some or all.",
        act=retry_all,
        tag="dead letters",
        body=(LettersAsk,),
        answers={200: CountShape},
        errors=(LetterNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/dead-letters/resolve",
        "Drop dead letters, some or all, with a note.",
        act=resolve_all,
        tag="dead letters",
        body=(ResolveAsk,),
        answers={200: CountShape},
        errors=(LetterNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/dead-letters/purge",
        "Forget dead letters, some or all.",
        act=purge,
        tag="dead letters",
        body=(LettersAsk,),
        answers={200: CountShape},
        errors=(LetterNotFound,),
    ),
    Endpoint(
        "GET",
        "/v1/dead-letters/{id}",
        "Look at the dead letter of a run, with every try.",
        act=get,
        tag="dead letters",
        answers={200: LetterShape},
        errors=(LetterNotFound,),
    ),
    Endpoint(
        "POST",
        "/v1/dead-letters/{id}/retry",
        "Run it again, which ends the letter.",
        act=retry,
        tag="dead letters",
        answers={202: RunShape},
        errors=(LetterNotFound, RunNotEnded),
    ),
    Endpoint(
        "POST",
        "/v1/dead-letters/{id}/resolve",
        "Drop the letter and keep the run, with a note.",
        act=resolve,
        tag="dead letters",
        body=(NoteAsk,),
        answers={204: None},
        errors=(LetterNotFound,),
    ),
)

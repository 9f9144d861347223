"""A web service that answers some requests at once and takes others for later.

pip install fastapi uvicorn
uvicorn fastapi_service:app --app-dir examples
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from forebay import AsyncClient, Classify, ForebayError, InvalidJob, Summarize, UnknownJob


class Text(BaseModel):
    """The body of both requests."""

    text: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Share one client among all requests; it keeps one connection that waits for all answers."""
    async with AsyncClient(tenant="support") as client:
        app.state.forebay = client
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(InvalidJob)
async def refuse(_request: Request, error: InvalidJob) -> JSONResponse:
    """Tell which field of a body is wrong."""
    return JSONResponse({"detail": str(error)}, 422)


@app.exception_handler(ForebayError)
async def fail(_request: Request, error: ForebayError) -> JSONResponse:
    """Tell why there is no answer now."""
    return JSONResponse({"detail": str(error)}, 503)


def forebay(request: Request) -> AsyncClient:
    """Return the client of this application."""
    client: AsyncClient = request.app.state.forebay
    return client


Forebay = Annotated[AsyncClient, Depends(forebay)]


@app.post("/label")
async def label(body: Text, client: Forebay) -> dict[str, str]:
    """Wait for the label of a text: nobody looks at a page for longer than ten seconds."""
    request = Classify(text=body.text, labels=["billing", "login", "delivery"])
    try:
        answer = await client.run(request, timeout=10)
    except TimeoutError as error:
        raise HTTPException(503, str(error)) from None
    return {"label": answer.content.label, "lane": str(answer.lane)}


@app.post("/summaries", status_code=202)
async def summarize(body: Text, client: Forebay) -> dict[str, str]:
    """Take a text for later; the job outlives this process."""
    job_id = await client.submit(Summarize(text=body.text), priority="bulk")
    return {"id": job_id}


@app.get("/summaries/{job_id}")
async def summary(job_id: str, client: Forebay) -> dict[str, str | None]:
    """Return the summary, or where the job is."""
    try:
        status = await client.status(job_id)
        if status.receipt is None:
            return {"state": status.state, "text": None}
        answer = await client.result(job_id)
    except UnknownJob:
        raise HTTPException(404, "no such summary") from None
    except ForebayError as error:
        return {"state": error.code, "text": None}
    text = answer.content.text if answer.content.kind == "summarize" else None
    return {"state": status.state, "text": text}

"""The page of `scn serve` and what it asks for, as a FastAPI application.

    GET    /                        the page
    GET    /api/about               models, formats and limits
    POST   /api/jobs?name=...       the photograph's file is the body; 201 with the job, 503 while the queue is full
    GET    /api/estimate            seconds that photographs of these sizes will take
    GET    /api/jobs/ID             state, progress, place in the queue, seconds left
    GET    /api/jobs/ID/FILE        before.png, after.png, or result, which is downloaded under its own name
    DELETE /api/jobs/ID             cancels it, or forgets its result

POST, DELETE and the estimate, which loads models, need the header X-SCN, which pages of other origins can't send
without being allowed to. docs/serving-api.md has all of it for programs.
"""

import asyncio
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from scn.core.errors import UserError, short
from scn.core.files import private_folder
from scn.core.masking import masked
from scn.imaging.formats import FORMATS, writable
from scn.inference.restore import SMALLEST, Chroma
from scn.registry.pointers import LATEST
from scn.registry.reference import ModelEntry
from scn.serving.jobs import AWAY, ENDED, Full, Job, Jobs, State
from scn.serving.work import Restorer, Wanted, header
from scn.storage.base import StoreError

PAGE = Path(__file__).parent / "page"
_POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
Pixels = Annotated[int, Field(ge=1, le=10**12)]
_FILES = {"before.png": "image/png", "after.png": "image/png", "result": "application/octet-stream"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one photograph may take."""

    megapixels: float = 100.0
    """Of the result."""
    upload_mib: int = 256


def make_app(
    jobs: Jobs,
    restorer: Restorer,
    models: Callable[[], Sequence[ModelEntry]],
    limits: Limits,
    hosts: Sequence[str],
) -> FastAPI:
    """The application.

    Args:
        jobs: does the work; its folder takes what is being uploaded, too.
        restorer: checks what is wanted, and estimates.
        models: lists the models that may be chosen.
        hosts: names that the page may be asked for by, so that no other site's name leads to it; "*": any.
    """
    app = FastAPI(title="SCN", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.middleware("http")
    async def guarded(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.exception_handler(UserError)
    async def told(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(StoreError)
    async def away(request: Request, error: StoreError) -> JSONResponse:
        print(masked(str(error)), file=sys.stderr)
        return JSONResponse({"error": AWAY}, 502)

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: AnyHTTPException) -> JSONResponse:
        what = error.detail
        if what == HTTPStatus(error.status_code).phrase:  # of no route: there is none, or it has no such method
            what = (
                f"{request.method} {short(request.url.path)} is nothing that can be asked for: see docs/serving-api.md."
            )
        return JSONResponse({"error": what}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def misread(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place, name = first["loc"][:2]
        if place == "path":
            return JSONResponse({"error": f"There is no page {request.url.path}: ask for /."}, 404)
        given = "" if first["type"] == "missing" else f"'{short(str(first['input']))}': "
        return JSONResponse({"error": f"{name}: {given}{first['msg']}."}, 422)

    @app.get("/healthz")
    def healthz() -> dict[str, int]:
        return {"waiting": jobs.waiting()}

    @app.get("/", response_class=FileResponse)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/{file}", response_class=FileResponse)
    def part_of_the_page(file: Literal["page.css", "page.js", "sizes.js"]) -> FileResponse:
        return FileResponse(PAGE / file)

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        # A published version goes before the one that ships, and of several the one that the name alone means.
        entries = {entry.name: entry for entry in sorted(models(), key=lambda entry: LATEST in entry.names)}
        return {
            "models": [
                {"reference": entry.name, "task": entry.task, "level": entry.level, "scale": entry.scale}
                | {"figures": entry.figures}
                for entry in entries.values()
            ],
            "formats": writable(),
            "lossy": [name for name in writable() if FORMATS[name].has_quality],
            "upload_mib": limits.upload_mib,
            "megapixels": limits.megapixels,
        }

    @app.get("/api/estimate", dependencies=[Depends(_from_the_page)])  # it loads models
    def estimate(wanted: Wish, pixels: Annotated[list[Pixels], Query(max_length=256)]) -> dict[str, list[float | None]]:
        restorer.check(wanted)
        return {"seconds": [restorer.seconds(wanted, count) for count in pixels]}

    @app.post("/api/jobs", status_code=201, dependencies=[Depends(_from_the_page)])
    async def submit(request: Request, wanted: Wish, owner: Owner = "") -> dict[str, Any]:
        try:
            jobs.room()  # before the file is read, as is what follows
            wanted.check()
            jobs.folder = private_folder(jobs.folder)  # it may have been cleaned away, and its name be another user's
            with tempfile.TemporaryDirectory(dir=jobs.folder, prefix="upload-") as folder:
                file = Path(folder) / "input"
                await _receive(request, file, wanted.name, limits)
                job = await asyncio.to_thread(_admitted, jobs, restorer, limits, wanted, owner, file)
        except ClientDisconnect:  # it was cancelled: nobody hears this
            raise HTTPException(400, f"{wanted.name} did not arrive whole: send it again.") from None
        except OSError as error:
            why = error.strerror or error
            raise HTTPException(507, f"The disk does not take {wanted.name} ({why}): make room on it.") from None
        except Full as full:
            raise HTTPException(503, str(full), headers={"Retry-After": "5"}) from None
        return _told(jobs, job)

    @app.get("/api/jobs/{job_id}")
    def status(job_id: str) -> dict[str, Any]:
        return _told(jobs, _found(jobs, job_id))

    @app.get("/api/jobs/{job_id}/{file}")
    def download(job_id: str, file: str) -> FileResponse:
        job = _found(jobs, job_id)
        if why := _why_not(job, file):
            raise HTTPException(404, f"{job.wanted.name} has {why}.")
        if not (job.folder / file).is_file():  # it was cleaned away
            raise _gone()
        headers = _saved_as(job.wanted.result_name) if file == "result" else {}
        return FileResponse(job.folder / file, media_type=_FILES[file], headers=headers)

    @app.delete("/api/jobs/{job_id}", status_code=204, dependencies=[Depends(_from_the_page)])
    def end(job_id: str) -> None:
        jobs.end(job_id)

    for route in app.routes:
        if isinstance(route, Route) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")
    return app


def _wish(
    name: Annotated[str, Query(min_length=1, max_length=255)] = "photograph",
    model: str = "auto",
    factor: float | None = None,
    strength: float = 1.0,
    self_ensemble: bool = False,
    chroma: Chroma = "restore",
    as_format: Annotated[str, Query(alias="format")] = "png",
    quality: int | None = None,
) -> Wanted:
    return Wanted(
        name=Path(name).name or "photograph",
        reference=model,
        factor=factor,
        strength=strength,
        self_ensemble=self_ensemble,
        chroma=chroma,
        as_format=as_format,
        quality=quality,
    )


Wish = Annotated[Wanted, Depends(_wish)]
Owner = Annotated[str, Query(max_length=64)]


def _from_the_page(x_scn: Annotated[str | None, Header()] = None) -> None:
    if x_scn is None:
        raise HTTPException(403, "The header X-SCN is missing: send it, with any value (docs/serving-api.md).")


async def _receive(request: Request, file: Path, name: str, limits: Limits) -> None:
    """Writes the body of a request into a file. Raises HTTPException if it is larger than allowed."""
    most, got = limits.upload_mib * 2**20, 0
    with file.open("wb") as out:
        async for part in request.stream():
            got += len(part)
            if got > most:
                raise HTTPException(413, f"{name} has more than {limits.upload_mib} MiB: save it smaller.")
            await asyncio.to_thread(out.write, part)


def _admitted(jobs: Jobs, restorer: Restorer, limits: Limits, wanted: Wanted, owner: str, file: Path) -> Job:
    about, growth = header(file, wanted.name), restorer.check(wanted)
    wanted = replace(wanted, reference=restorer.reference(wanted))  # settled: it asks the registry no more
    if min(about.width, about.height) < SMALLEST:
        raise UserError(
            f"{wanted.name} is {about.width}x{about.height} pixels: give an image of at least {SMALLEST}x{SMALLEST}."
        )
    megapixels = about.width * about.height / 1e6
    result, largest = megapixels * float(growth.result), megapixels * float(growth.largest)
    if result > limits.megapixels:
        raise HTTPException(
            413,
            f"The result of {wanted.name} would have {result:.6g} megapixels, and {limits.megapixels:g} are "
            "allowed: enlarge less, or have it served with a larger --megapixels.",
        )
    if largest > limits.megapixels:
        raise HTTPException(
            413,
            f"{wanted.name} would have {largest:.6g} megapixels before it is reduced to {result:.6g}, and "
            f"{limits.megapixels:g} are allowed: cut it into parts, or have it served with a larger --megapixels.",
        )
    return jobs.submit(wanted, about, owner, file)


def _found(jobs: Jobs, job_id: str) -> Job:
    if job := jobs.find(job_id):
        return job
    raise _gone()


def _gone() -> HTTPException:
    return HTTPException(404, "This photograph is not here any more: restore it again.")


def _why_not(job: Job, file: str) -> str:
    """Why there is no such file of a job, after its name; "" if there is one."""
    if file not in _FILES:
        return f"no such file: ask for {', '.join(_FILES)}"
    if job.state in (State.QUEUED, State.RUNNING):
        return "no such file yet: wait until it is done"
    return "" if job.state == State.DONE else f"no result: {job.message.rstrip('.')}"


def _saved_as(name: str) -> dict[str, str]:
    """The header by which a file is saved under a name (RFC 6266); `curl -OJ` knows its plain form alone."""
    plain = re.sub(r'[^ -~]|["\\]', "_", name)
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"}


def _told(jobs: Jobs, job: Job) -> dict[str, Any]:
    ended = job.state in ENDED
    return {
        "id": job.id,
        "name": job.wanted.name,
        "state": job.state.value,
        "progress": round(job.progress, 4),
        "ahead": len(jobs.ahead(job)) if job.state == State.QUEUED else 0,
        "seconds_left": jobs.seconds_left(job),
        "seconds": round(job.ended - job.started, 2) if ended and job.started else None,
        "message": job.message,
        "by": job.by,
        "width": job.header.width,
        "height": job.header.height,
        "result_width": job.width,
        "result_height": job.height,
        "result_name": job.wanted.result_name,
    }

"""The OpenAPI document and its page, Swagger UI, served from this origin only.

The page's script and style come from the package `fastapi-offline`.
"""

from __future__ import annotations

import asyncio
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from service.http.security_headers import page_policy
from service.keys.auth import USER

router = APIRouter(include_in_schema=False, dependencies=[USER])

Asset = Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    # Made on first use: it takes longer than a probe may wait.
    document: dict[str, Any] = await asyncio.to_thread(request.app.openapi)
    return JSONResponse(document)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Swagger UI. Its links are relative, so that it works below a proxy's path prefix too."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=request.app.title,
        oauth2_redirect_url=None,
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
        # No badge of the online validator, which would receive the document's address.
        swagger_ui_parameters={"validatorUrl": None},
    )
    scripts = _INLINE_SCRIPT.findall(bytes(page.body).decode())
    page.headers["Content-Security-Policy"] = page_policy(scripts)
    return page


@router.get("/docs/{asset}")
async def docs_asset(asset: Asset) -> FileResponse:
    """A file of the page."""
    folder = Path(str(files("fastapi_offline"))) / "static"
    return FileResponse(folder / asset, headers={"Cache-Control": "public, max-age=86400"})

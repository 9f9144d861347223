"""The page that shows all endpoints, light or dark as the reader's system is."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

_FILES = "/static-offline-docs"  # where fastapi-offline serves what the page needs
_HEAD = """<meta name="color-scheme" content="light dark">
<style>
/* A word of code is no higher than its line. A phone has no room for the column of links: it is
   empty. */
.swagger-ui .markdown code, .swagger-ui .renderedMarkdown code { padding: 0 4px; }
@media (max-width: 600px) { .swagger-ui .response-col_links { display: none; } }
</style>
<script>
const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();
</script>
</head>"""


def add_docs(app: FastAPI) -> None:
    """Serve the page at `/docs`."""

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=f"{app.title}: endpoints",
            swagger_js_url=f"{root}{_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{root}{_FILES}/favicon.png",
            swagger_ui_parameters=app.swagger_ui_parameters,
        )
        text = bytes(page.body).decode()
        text = text.replace("<html>", '<html lang="en">', 1).replace("</head>", _HEAD, 1)
        return HTMLResponse(text)

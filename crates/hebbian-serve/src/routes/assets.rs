//! The page and what it is made of, all within the program.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::OPENAPI;
use crate::problem::Problem;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const ASSETS: [(&str, &str, &str); 6] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../page/style.css")),
    ("app.js", SCRIPT, include_str!("../page/app.js")),
    ("api.js", SCRIPT, include_str!("../page/api.js")),
    ("card.js", SCRIPT, include_str!("../page/card.js")),
    ("grid.js", SCRIPT, include_str!("../page/grid.js")),
    ("icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
];

pub(super) async fn page() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (kind, include_str!("../page/index.html")).into_response()
}

pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let found = ASSETS.iter().find(|(known, ..)| *known == name);
    let (_, kind, text) = found.ok_or_else(|| Problem::missing("there is no such file"))?;
    Ok(([(header::CONTENT_TYPE, *kind)], *text).into_response())
}

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

//! What can be asked, one file a noun.

mod assets;
mod gallery;
mod health;
mod items;
mod labels;
mod search;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use crate::app::App;
use crate::guard;
use crate::problem::Problem;
use crate::upload::MAX_REQUEST;

/// Most bytes of the body of a request that is no search.
const MAX_BODY: usize = 4 << 20;

/// The interface as OpenAPI, written by hand.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// A path, its methods and what answers.
type Route = (&'static str, &'static [&'static str], MethodRouter<Arc<App>>);

/// All routes.
fn table() -> [Route; 14] {
    [
        ("/", &["get"], get(assets::page)),
        ("/assets/{name}", &["get"], get(assets::asset)),
        ("/openapi.json", &["get"], get(assets::openapi)),
        ("/healthz", &["get"], get(health::healthz)),
        ("/metrics", &["get"], get(health::metrics)),
        ("/api/gallery", &["get"], get(gallery::gallery)),
        ("/api/model/filters", &["get"], get(gallery::filters)),
        ("/api/model/scores", &["get"], get(gallery::scores)),
        ("/api/items", &["get"], get(items::list)),
        ("/api/items/{id}", &["get"], get(items::item)),
        ("/api/items/{id}/{form}", &["get"], get(items::picture)),
        (
            "/api/search",
            &["get", "post"],
            get(search::by_id).post(search::by_upload).layer(DefaultBodyLimit::max(MAX_REQUEST)),
        ),
        ("/api/labels", &["post"], post(labels::set)),
        ("/api/labels.csv", &["get"], get(labels::csv)),
    ]
}

/// All routes, guarded.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for (path, _, answer) in table() {
        router = router.route(path, answer);
    }
    router
        .fallback(async || Problem::missing("there is nothing here; see /openapi.json"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(app), guard::around))
        .with_state(Arc::clone(app))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let described: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut routes: Vec<String> = Vec::new();
        for (path, methods, _) in table() {
            routes.extend(methods.iter().map(|method| format!("{method} {path}")));
        }
        let mut found = Vec::new();
        for (path, methods) in described["paths"].as_object().unwrap() {
            let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
            found.extend(methods.map(|method| format!("{method} {path}")));
        }
        routes.sort();
        found.sort();
        assert_eq!(routes, found);
    }
}

//! Who may ask: host, token, origin; and the headers of every answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::problem::Problem;

/// Name of the cookie that holds the token.
const COOKIE: &str = "hebb_token";
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("x-frame-options", "DENY"),
];

/// The rules of admission.
pub(crate) struct Guard {
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

impl Guard {
    /// The answer that ends the request here, if one does.
    fn check(&self, request: &Request) -> Result<(), Box<Response>> {
        let headers = request.headers();
        let refuse =
            |status, message: &str| Err(Box::new(Problem::new(status, message).into_response()));
        if self.address.ip().is_loopback() && !self.own_host(headers) {
            return refuse(StatusCode::FORBIDDEN, "the Host header names another machine");
        }
        if request.uri().path() == "/healthz" {
            return Ok(());
        }
        if let Some(token) = &self.token {
            if let Some(given) = opening(request)
                && same(&given, token)
            {
                let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
                let headers = [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, cookie)];
                return Err(Box::new((StatusCode::SEE_OTHER, headers).into_response()));
            }
            if !shown(headers).any(|given| same(given, token)) {
                let message = "a token is needed: open the address that `hebb serve` printed, or \
                               send it as `Authorization: Bearer TOKEN`";
                return refuse(StatusCode::UNAUTHORIZED, message);
            }
        }
        if !from_here(request) {
            return refuse(StatusCode::FORBIDDEN, "requests of other sites are not answered");
        }
        Ok(())
    }

    /// Whether the request was made to this machine by a name of its own: a page elsewhere whose
    /// name was made to point here is not.
    fn own_host(&self, headers: &HeaderMap) -> bool {
        let host = text(headers, "host").map(without_port).unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == self.address.ip())
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The token in the address of the page.
fn opening(request: &Request) -> Option<String> {
    let query = request.uri().query().filter(|_| request.uri().path() == "/")?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned())
}

/// The tokens in the headers.
fn shown(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let bearer = text(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
    let cookies = text(headers, "cookie").unwrap_or_default().split(';');
    let cookie = cookies.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    bearer.into_iter().chain(cookie)
}

/// Compares in a time that tells nothing: hashes compare in constant time.
fn same(given: &str, token: &str) -> bool {
    blake3::hash(given.as_bytes()) == blake3::hash(token.as_bytes())
}

/// Whether no page of another site has made the request. Programs that are no browser send neither
/// header.
fn from_here(request: &Request) -> bool {
    let headers = request.headers();
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    // A link elsewhere may lead to the page, and to nothing else.
    let page = reads && request.uri().path() == "/";
    let site = text(headers, "sec-fetch-site")
        .is_none_or(|site| site == "same-origin" || (reads && site == "none") || page);
    let origin = headers.get(header::ORIGIN).is_none_or(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.is_some() && host == text(headers, "host")
    });
    site && origin
}

/// Around every request: counting, the guard, the headers.
pub(crate) async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none", MatchedPath::as_str).to_owned();
    let flight = Flight::begin(&app);
    let mut response = match app.guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(response) => *response,
    };
    drop(flight);
    app.metrics.record(&route, response.status().as_u16(), begun.elapsed());
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let fresh = HeaderValue::from_static("no-store");
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(fresh);
    response
}

/// Counts a request as being answered, until dropped: also where the client goes away.
struct Flight<'a>(&'a App);

impl<'a> Flight<'a> {
    fn begin(app: &'a App) -> Self {
        app.metrics.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(app)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

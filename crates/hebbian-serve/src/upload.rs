//! What is sent to be searched with: images, or a vector.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use futures_util::{Stream, StreamExt};
use hebbian_data::{Size, decode, resize};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::pictures;
use crate::problem::Problem;

/// Most bytes of an image, or of a vector.
const MAX_BYTES: usize = 16 << 20;
/// Most images of a request.
const MAX_IMAGES: usize = 16;
/// Most bytes of a request, of which at most [`MAX_BYTES`] are in memory.
pub(crate) const MAX_REQUEST: usize = MAX_IMAGES * MAX_BYTES + (1 << 20);
/// Time in which a request must have arrived.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    vector: Vec<f32>,
}

/// The vectors of what was sent, one an image.
pub(crate) async fn vectors(app: &Arc<App>, request: Request) -> Result<Vec<Vec<f32>>, Problem> {
    let until = Instant::now() + PATIENCE;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    if kind == "application/json" {
        let body = body(request, until).await?;
        let Vector { vector } = serde_json::from_slice(&body).map_err(|error| {
            Problem::bad(format!("the body must be {{\"vector\": [...]}}: {error}"))
        })?;
        return Ok(vec![vector]);
    }
    let is_form = kind == "multipart/form-data";
    if !is_form && !kind.starts_with("image/") && kind != "application/octet-stream" {
        let problem = "send an image, multipart/form-data or application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
    }
    let Some(model) = &app.model else {
        let problem = "there is no model here to read images with; start `hebb serve` with --model";
        return Err(Problem::new(StatusCode::CONFLICT, problem));
    };
    if app.current.get().gallery.info().model != model.fingerprint {
        let problem = "the gallery now holds features of another model; start `hebb serve` again";
        return Err(Problem::new(StatusCode::CONFLICT, problem));
    }
    let images = match is_form {
        true => form(app, request, model.size, until).await?,
        false => vec![small(app, body(request, until).await?, model.size).await?],
    };
    let mut vectors = Vec::new();
    for image in images {
        vectors.push(model.queue.ask(image).await?);
    }
    Ok(vectors)
}

/// Decodes an image to height x width x 3 bytes, as the gallery's own were.
async fn small(app: &Arc<App>, bytes: Vec<u8>, size: Size) -> Result<Vec<u8>, Problem> {
    let unreadable = |reason: String| {
        Problem::unusable(format!("an upload can't be read as an image: {reason}"))
    };
    let work = move |_: &App| {
        pictures::header(&bytes)?;
        let image = decode::decode(&bytes).map_err(unreadable)?;
        resize::cover(image, size).map_err(|error| unreadable(error.to_string()))
    };
    app.blocking(work).await
}

async fn body(request: Request, until: Instant) -> Result<Vec<u8>, Problem> {
    let broken = |error: axum::Error| Problem::bad(error.to_string());
    whole(request.into_body().into_data_stream(), broken, until).await
}

/// All files of a form, whatever their names, each made small once it is there.
async fn form(
    app: &Arc<App>,
    request: Request,
    size: Size,
    until: Instant,
) -> Result<Vec<Vec<u8>>, Problem> {
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|refusal| Problem::new(refusal.status(), refusal.body_text()))?;
    // A client that goes away midway is no failure of the server.
    let refused = |error: MultipartError| match error.status() {
        status if status.is_server_error() => Problem::bad("the form ends midway"),
        status => Problem::new(status, error.body_text()),
    };
    let mut images = Vec::new();
    while let Some(field) =
        timeout_at(until, form.next_field()).await.map_err(late)?.map_err(refused)?
    {
        if images.len() == MAX_IMAGES {
            return Err(Problem::bad(format!("at most {MAX_IMAGES} images at a time")));
        }
        images.push(small(app, whole(field, refused, until).await?, size).await?);
    }
    if images.is_empty() {
        return Err(Problem::bad("the form holds no image"));
    }
    Ok(images)
}

/// All of what arrives, if it does in time and is not too much.
async fn whole<E>(
    mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    broken: impl Fn(E) -> Problem,
    until: Instant,
) -> Result<Vec<u8>, Problem> {
    let mut all = Vec::new();
    while let Some(part) = timeout_at(until, stream.next()).await.map_err(late)? {
        let part = part.map_err(&broken)?;
        if all.len() + part.len() > MAX_BYTES {
            let problem = format!("at most {} MiB an image or vector", MAX_BYTES >> 20);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, problem));
        }
        all.extend_from_slice(&part);
    }
    Ok(all)
}

fn late(_: tokio::time::error::Elapsed) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long to come")
}

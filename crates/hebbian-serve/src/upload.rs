//! What is sent to be searched with: images, or a vector.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};
use hebbian_data::{decode, resize};
use serde::Deserialize;

use crate::app::App;
use crate::pictures;
use crate::problem::Problem;

/// Most bytes of a request.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Most images of a request.
const MAX_IMAGES: usize = 16;
/// Time in which a request must have arrived.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    vector: Vec<f32>,
}

/// The vectors of what was sent, one an image.
pub(crate) async fn vectors(app: &Arc<App>, request: Request) -> Result<Vec<Vec<f32>>, Problem> {
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long to come");
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    if kind == "application/json" {
        let body = tokio::time::timeout(PATIENCE, body(request)).await.map_err(late)??;
        let Vector { vector } = serde_json::from_slice(&body).map_err(|error| {
            Problem::bad(format!("the body must be {{\"vector\": [...]}}: {error}"))
        })?;
        return Ok(vec![vector]);
    }
    let images = if kind == "multipart/form-data" {
        tokio::time::timeout(PATIENCE, parts(request)).await.map_err(late)??
    } else if kind.starts_with("image/") || kind == "application/octet-stream" {
        vec![tokio::time::timeout(PATIENCE, body(request)).await.map_err(late)??]
    } else {
        let problem = "send an image, multipart/form-data or application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
    };
    let Some(model) = &app.model else {
        let problem = "there is no model here to read images with; start `hebb serve` with --model";
        return Err(Problem::new(StatusCode::CONFLICT, problem));
    };
    if app.current.get().gallery.info().model != model.fingerprint {
        let problem = "the gallery now holds features of another model; start `hebb serve` again";
        return Err(Problem::new(StatusCode::CONFLICT, problem));
    }
    let mut vectors = Vec::new();
    for image in images {
        let size = model.size;
        let pixels = app.blocking(move |_| pixels(&image, size)).await?;
        vectors.push(model.embed(pixels).await?);
    }
    Ok(vectors)
}

/// Decodes an image to height x width x 3 bytes, as the gallery's own were.
fn pixels(bytes: &[u8], size: hebbian_data::Size) -> Result<Vec<u8>, Problem> {
    pictures::header(bytes)?;
    let unreadable = |reason: String| {
        Problem::unusable(format!("an upload can't be read as an image: {reason}"))
    };
    let image = decode::decode(bytes).map_err(unreadable)?;
    resize::cover(image, size).map_err(|error| unreadable(error.to_string()))
}

async fn body(request: Request) -> Result<Bytes, Problem> {
    Bytes::from_request(request, &())
        .await
        .map_err(|refusal| Problem::new(refusal.status(), refusal.body_text()))
}

/// All files of a form, whatever their names.
async fn parts(request: Request) -> Result<Vec<Bytes>, Problem> {
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|refusal| Problem::new(refusal.status(), refusal.body_text()))?;
    let refused = |error: axum::extract::multipart::MultipartError| {
        Problem::new(error.status(), error.body_text())
    };
    let mut images = Vec::new();
    while let Some(field) = form.next_field().await.map_err(refused)? {
        if images.len() == MAX_IMAGES {
            return Err(Problem::bad(format!("at most {MAX_IMAGES} images at a time")));
        }
        images.push(field.bytes().await.map_err(refused)?);
    }
    if images.is_empty() {
        return Err(Problem::bad("the form holds no image"));
    }
    Ok(images)
}

//! What can be typed about serving.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Help of `hebb serve`.
pub const SERVE_HELP: &str = "\
Opens a page to drop images on, and an HTTP API (/openapi.json). The gallery may
be changed by `hebb index` meanwhile. Ctrl-C stops it.

Given photos instead of a gallery, it makes all that is needed, in a folder that
it says: a model, pre-trained without labels on at most 1,000 of them, and their
gallery. The page opens with the first images; the others come in while it is
served. The next time only what is new or changed is added, what is gone is
taken out, and nothing is trained again.

On an address that other machines can reach, a token is needed: that in
--token-file, or one that is made and printed. Open the printed address, or send
`Authorization: Bearer TOKEN`. Nothing is encrypted; across a network that you
don't trust, put a proxy with TLS in front, or use ssh -L.

Examples:
  hebb serve photos/
  hebb serve photos/ --model runs/tuned --out tuned-photos
  hebb serve gallery --model runs/tuned --labels labels.csv
  hebb serve gallery --listen 0.0.0.0:7878 --token-file token.txt
  curl -F image=@query.jpg 'http://127.0.0.1:7878/api/search?k=5'";

/// `hebb serve`
#[derive(Args)]
pub struct ServeArgs {
    /// Gallery folder, or photos: any data set.
    #[arg(value_name = "GALLERY|PHOTOS")]
    pub what: PathBuf,
    /// Folder for what is made of photos (default: hebb-NAME, by the photos' name).
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Run or model folder the gallery was made with (default: where it was
    /// then), or is to be made with.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:7878", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// File that holds the token to be shown.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Table of path,label that labels given on the page are kept in (default:
    /// GALLERY.labels.csv).
    #[arg(long, value_name = "CSV")]
    pub labels: Option<PathBuf>,
    /// Searches under way or waiting; more are told to come back (status 429).
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub queue: usize,
    /// Where to compute: cpu, or in a build with GPU support vulkan.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: String,
}

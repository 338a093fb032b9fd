//! Official archives: download, check, unpack.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use md5::{Digest, Md5};

use crate::beside::Beside;
use crate::{Error, Result};

/// A published archive and what is taken from it.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The folder that its files go into.
    pub folder: String,
    /// Where it is published.
    pub url: String,
    /// As published, in lower-case hexadecimal.
    pub md5: String,
    /// The most bytes the download may have.
    pub max_bytes: u64,
    /// The names of the files to take, without folders, and the most bytes of each.
    pub members: Vec<(String, u64)>,
}

/// The most bytes of a table of names.
const TABLE: u64 = 1 << 16;

impl Archive {
    /// CIFAR-10, binary version (<https://www.cs.toronto.edu/~kriz/cifar.html>).
    pub fn cifar10() -> Self {
        let batch = |n| format!("data_batch_{n}.bin");
        let names = (1..=5).map(batch).chain(["test_batch.bin".to_owned()]);
        let bins = names.map(|name| (name, 10_000 * 3073));
        Self {
            folder: "cifar-10".to_owned(),
            url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz".to_owned(),
            md5: "c32a1d4ab5d03f1284b67883e8d87530".to_owned(),
            max_bytes: 200 << 20,
            members: bins.chain([("batches.meta.txt".to_owned(), TABLE)]).collect(),
        }
    }

    /// CIFAR-100, binary version (<https://www.cs.toronto.edu/~kriz/cifar.html>).
    pub fn cifar100() -> Self {
        let members = [
            ("train.bin", 50_000 * 3074),
            ("test.bin", 10_000 * 3074),
            ("fine_label_names.txt", TABLE),
            ("coarse_label_names.txt", TABLE),
        ];
        Self {
            folder: "cifar-100".to_owned(),
            url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz".to_owned(),
            md5: "03b5dce01913d631647c71ecec9e9cb8".to_owned(),
            max_bytes: 200 << 20,
            members: members.map(|(name, len)| (name.to_owned(), len)).into(),
        }
    }

    /// The same archive from another address.
    #[must_use]
    pub fn from_url(self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self }
    }
}

/// Downloads `archive`, checks it and unpacks its members into a folder in
/// `into`, whose path is returned; does nothing where that folder is there.
///
/// The download and the folder are made beside and renamed, so that after a
/// failure nothing is left and the next call starts clean. `progress` is told
/// bytes downloaded and in all, where the server says so.
///
/// # Errors
/// [`Error::Download`] when the address can't be reached, [`Error::Checksum`]
/// when it is another file, [`Error::Format`] when a member is missing or too
/// long, [`Error::Io`].
pub fn fetch(
    archive: &Archive,
    into: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<PathBuf> {
    let folder = into.join(&archive.folder);
    if folder.is_dir() {
        return Ok(folder);
    }
    std::fs::create_dir_all(into).map_err(Error::io("create", into))?;
    let mut file = tempfile::tempfile_in(into).map_err(Error::io("write in", into))?;
    download(archive, &mut file, into, progress)?;
    file.seek(SeekFrom::Start(0)).map_err(Error::io("read", into))?;
    let beside = Beside::new(into, ".fetch-")?;
    unpack(archive, file, beside.path())?;
    beside.rename(&folder)?;
    Ok(folder)
}

fn download(
    archive: &Archive,
    file: &mut fs::File,
    into: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<()> {
    let failed = |problem: String| Error::Download { url: archive.url.clone(), problem };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .build()
        .into();
    let mut response = agent.get(&archive.url).call().map_err(|e| failed(e.to_string()))?;
    let total = response.body().content_length();
    let mut reader = response.body_mut().as_reader().take(archive.max_bytes + 1);
    let mut digest = Md5::new();
    let mut done = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = reader.read(&mut buffer).map_err(|e| failed(e.to_string()))?;
        if n == 0 {
            break;
        }
        file.write_all(&buffer[..n]).map_err(Error::io("write in", into))?;
        digest.update(&buffer[..n]);
        done += n as u64;
        if done > archive.max_bytes {
            return Err(failed(format!("it is longer than {} bytes", archive.max_bytes)));
        }
        progress(done, total);
    }
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == archive.md5 {
        return Ok(());
    }
    Err(Error::Checksum { url: archive.url.clone(), expected: archive.md5.clone(), found })
}

/// Writes the expected members of a gzipped tar into `folder`, and nothing else.
fn unpack(archive: &Archive, file: fs::File, folder: &Path) -> Result<()> {
    let name = PathBuf::from(&archive.url);
    let bad = |problem: String| Error::Format { path: name.clone(), problem };
    let mut tar = tar::Archive::new(GzDecoder::new(file));
    let mut missing: Vec<&(String, u64)> = archive.members.iter().collect();
    for entry in tar.entries().map_err(|e| bad(e.to_string()))? {
        let mut entry = entry.map_err(|e| bad(e.to_string()))?;
        let path = entry.path().map_err(|e| bad(e.to_string()))?.into_owned();
        let is_it = |member: &&(String, u64)| path.file_name().is_some_and(|n| n == &*member.0);
        let Some(position) = missing.iter().position(is_it) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let (member, most) = missing.remove(position);
        if entry.size() > *most {
            return Err(bad(format!(
                "{member} has {} bytes, at most {most} are due",
                entry.size()
            )));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|e| bad(format!("{member}: {e}")))?;
        let to = folder.join(member);
        let mut out = std::fs::File::create(&to).map_err(Error::io("write", &to))?;
        out.write_all(&content).map_err(Error::io("write", &to))?;
        out.sync_all().map_err(Error::io("write", &to))?;
    }
    match missing.first() {
        Some((member, _)) => Err(bad(format!("{member} is not in it"))),
        None => Ok(()),
    }
}

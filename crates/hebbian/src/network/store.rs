//! Named tensors in safetensors files, written atomically, read as untrusted.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};

/// Tensors of `f32` by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    /// Adds a tensor.
    pub fn insert(&mut self, name: impl Into<String>, shape: &[usize], data: &[f32]) {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        self.0.insert(name.into(), (shape.to_vec(), data.to_vec()));
    }

    /// The numbers of a tensor.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.0.get(name).map(|(_, data)| data.as_slice())
    }

    /// Takes a tensor out, checking its shape; `path` is for messages.
    pub fn take(&mut self, path: &Path, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (found, data) = self
            .0
            .remove(name)
            .ok_or_else(|| Error::file(path, format!("the tensor '{name}' is missing")))?;
        if found != shape {
            let problem = format!("the tensor '{name}' has shape {found:?}, not {shape:?}");
            return Err(Error::file(path, problem));
        }
        Ok(data)
    }

    /// Takes out every tensor whose name starts with `prefix`, as
    /// `(rest of the name, shape, data)`.
    pub fn take_prefix(&mut self, prefix: &str) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let names: Vec<String> = self.0.keys().filter(|n| n.starts_with(prefix)).cloned().collect();
        let parts = names.into_iter().filter_map(|name| {
            let (shape, data) = self.0.remove(&name)?;
            Some((name[prefix.len()..].to_owned(), shape, data))
        });
        parts.collect()
    }

    /// The bytes of a safetensors file; equal tensors give equal bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .0
            .iter()
            .map(|(name, (shape, data))| {
                (name, shape, data.iter().flat_map(|x| x.to_le_bytes()).collect())
            })
            .collect();
        let views: std::result::Result<Vec<_>, _> = bytes
            .iter()
            .map(|(name, shape, data)| {
                TensorView::new(Dtype::F32, (*shape).clone(), data)
                    .map(|view| (name.as_str(), view))
            })
            .collect();
        views
            .and_then(|views| safetensors::serialize(views, None))
            .map_err(|e| Error::Data(format!("tensors cannot be written: {e}")))
    }

    /// Reads the bytes of a safetensors file; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::File`] if the file is cut short or tampered with, holds
    /// anything but `f32`, or a number that is not finite.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let bad =
            |e| Error::file(path, format!("is no whole safetensors file ({e}); write it anew"));
        let file = SafeTensors::deserialize(bytes).map_err(bad)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                let problem = format!("the tensor '{name}' holds {:?}, not F32", view.dtype());
                return Err(Error::file(path, problem));
            }
            let (numbers, _) = view.data().as_chunks::<4>();
            let data: Vec<f32> = numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            if data.iter().any(|x| !x.is_finite()) {
                let problem = format!("the tensor '{name}' holds a number that is not finite");
                return Err(Error::file(path, problem));
            }
            tensors.insert(name, (view.shape().to_vec(), data));
        }
        Ok(Self(tensors))
    }
}

/// Writes a file beside its place, flushes it to disk and renames it there: a
/// reader sees the old file or the new one, whatever happens in between.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = fs_err::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs_err::rename(&beside, path)
    };
    write().inspect_err(|_| {
        let _ = fs_err::remove_file(&beside);
    })?;
    Ok(())
}

//! The metrics of a run for TensorBoard: an event file beside `metrics.jsonl`.
//!
//! The file is a row of records, each a length, its checksum, a message and its
//! checksum (TensorFlow's TFRecord format); the messages are `Event` of
//! `tensorflow/core/util/event.proto` and `Summary` of
//! `tensorflow/core/framework/summary.proto`, as far as numbers need them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use serde_json::Value;

use super::metrics::{append_bytes, curves};
use crate::error::Result;

/// How the file's name begins, by which TensorBoard knows it.
const PREFIX: &str = "events.out.tfevents.";
/// How it ends, by which it is known as ours.
const SUFFIX: &str = ".hebb";
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.SessionStatus.START`: what was known of later steps is void.
const START: i32 = 1;

/// The event file of a session on a run.
pub(super) struct EventFile(PathBuf);

impl EventFile {
    /// That of this process in folder `run`; nothing is written yet.
    pub(super) fn of(run: &Path) -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let id = std::process::id();
        Self(run.join(format!("{PREFIX}{seconds:010}.{id}{SUFFIX}")))
    }

    /// Adds lines of metrics.
    pub(super) fn add(&self, lines: &[Value]) -> Result<()> {
        let mut bytes = Vec::new();
        if !self.0.exists() {
            let wall_time = lines.first().map_or(0.0, time);
            let empty = Event { wall_time, ..Event::default() };
            let version = Some("brain.Event:2".to_owned());
            record(&Event { file_version: version, ..empty.clone() }, &mut bytes);
            let started = Some(SessionLog { status: START });
            record(&Event { session_log: started, ..empty }, &mut bytes);
        }
        for line in lines {
            let (wall_time, step) = (time(line), line["step"].as_i64().unwrap_or(0));
            let scalar = |(tag, value)| Scalar { tag, simple_value: Some(value as f32) };
            let summary = Some(Summary { value: curves(line).into_iter().map(scalar).collect() });
            record(&Event { wall_time, step, summary, ..Event::default() }, &mut bytes);
        }
        append_bytes(&self.0, &bytes)
    }

    /// Takes the place of the files of earlier sessions, with the lines that stay.
    pub(super) fn replace_earlier(&self, lines: &[Value]) -> Result<()> {
        for entry in fs_err::read_dir(self.0.parent().unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                fs_err::remove_file(entry.path())?;
            }
        }
        if lines.is_empty() { Ok(()) } else { self.add(lines) }
    }
}

fn time(line: &Value) -> f64 {
    line["time"].as_f64().unwrap_or(0.0)
}

/// Appends a record.
fn record(event: &Event, out: &mut Vec<u8>) {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(&message);
    out.extend(masked(&message).to_le_bytes());
}

/// A checksum as records have it.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a file, their checksums checked bit by bit as the
    /// polynomial says.
    fn events(mut bytes: &[u8]) -> Vec<Event> {
        let crc = |bytes: &[u8]| {
            let mut crc = !0u32;
            for byte in bytes {
                crc ^= u32::from(*byte);
                for _ in 0..8 {
                    crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
                }
            }
            let crc = !crc;
            crc.rotate_right(15).wrapping_add(0xa282_ead8)
        };
        let mut take = |len: usize| {
            let (head, rest) = bytes.split_at_checked(len)?;
            bytes = rest;
            Some(head)
        };
        let mut found = Vec::new();
        while let Some(length) = take(8) {
            assert_eq!(take(4).unwrap(), crc(length).to_le_bytes());
            let message = take(u64::from_le_bytes(length.try_into().unwrap()) as usize).unwrap();
            assert_eq!(take(4).unwrap(), crc(message).to_le_bytes());
            found.push(Event::decode(message).unwrap());
        }
        found
    }

    #[test]
    fn lines_become_events_and_a_resumed_session_replaces_them() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"time": 1.5, "stage": "pretrain", "step": 10, "steps": 20, "epoch": 0,
                       "images_per_second": 99.5, "change": [null, 0.25]}"#;
        let line: Value = serde_json::from_str(text).unwrap();
        let file = EventFile::of(folder.path());
        file.add(std::slice::from_ref(&line)).unwrap();
        file.add(std::slice::from_ref(&line)).unwrap();
        let found = events(&std::fs::read(&file.0).unwrap());
        assert_eq!(found[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!(found[1].session_log, Some(SessionLog { status: START }));
        assert_eq!((found.len(), found[2].step, found[2].wall_time), (4, 10, 1.5));
        let scalars = found[2].summary.clone().unwrap().value;
        let mut scalars: Vec<(String, f32)> =
            scalars.into_iter().map(|s| (s.tag, s.simple_value.unwrap())).collect();
        scalars.sort_by(|a, b| a.0.cmp(&b.0));
        let want = [("change/L2", 0.25), ("epoch", 0.0), ("images_per_second", 99.5)];
        assert_eq!(scalars, want.map(|(tag, value)| (tag.to_owned(), value)));

        std::fs::write(folder.path().join("events.out.tfevents.1.other"), "not ours").unwrap();
        let next = EventFile(folder.path().join(format!("{PREFIX}0000000001.1{SUFFIX}")));
        next.replace_earlier(std::slice::from_ref(&line)).unwrap();
        assert!(!file.0.exists());
        assert_eq!(events(&std::fs::read(&next.0).unwrap()).len(), 3);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

//! Every reader of foreign files, given bytes that nobody meant: it may refuse
//! them, but neither panic nor ask for memory that the bytes do not account for.
//!
//! With `cargo-fuzz` (`RUSTC_BOOTSTRAP=1` makes it run on a stable compiler):
//!
//! ```sh
//! cargo run --manifest-path fuzz/Cargo.toml --example seeds
//! RUSTC_BOOTSTRAP=1 cargo fuzz run idx -- -max_total_time=60
//! ```
//!
//! Without it, `cargo test --manifest-path fuzz/Cargo.toml --lib` gives every
//! reader its seeds, whole, cut short and damaged.
#![deny(unsafe_code)]

pub mod readers;
pub mod seeds;

/// A reader: whether it accepted the bytes.
pub type Reader = fn(&[u8]) -> bool;

/// Every reader by the name of its fuzz target.
pub const READERS: &[(&str, Reader)] = &[
    ("idx", readers::idx),
    ("cifar", readers::cifar),
    ("tar", readers::tar),
    ("parquet", readers::parquet),
    ("labels", readers::labels),
    ("image", readers::image),
    ("cache", readers::cache),
    ("network", readers::network),
    ("model", readers::model),
    ("tensors", readers::tensors),
    ("gallery", readers::gallery),
    ("vectors", readers::vectors),
    ("items", readers::items),
    ("removed", readers::removed),
    ("graph", readers::graph),
    ("npy", readers::npy),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_accepted_and_damage_never_panics() {
        let seeds = seeds::seeds().unwrap();
        for (target, read) in READERS {
            let own: Vec<_> = seeds.iter().filter(|seed| seed.target == *target).collect();
            assert!(!own.is_empty(), "{target} has no seed");
            for seed in own {
                assert!(read(&seed.bytes), "{target} refuses its seed {}", seed.name);
                damage(&seed.bytes, |bytes| {
                    read(bytes);
                });
            }
        }
        assert!(seeds.iter().all(|seed| READERS.iter().any(|(name, _)| *name == seed.target)));
    }

    /// Hands over about a hundred damaged copies: cut short, and with a byte
    /// set to each extreme or a bit turned over.
    fn damage(bytes: &[u8], mut read: impl FnMut(&[u8])) {
        let step = bytes.len().div_ceil(25).max(1);
        for at in (0..bytes.len()).step_by(step) {
            read(&bytes[..at]);
            for byte in [0, 0xff, bytes[at] ^ 0x10] {
                let mut copy = bytes.to_vec();
                copy[at] = byte;
                read(&copy);
            }
        }
    }
}

//! Writes the seeds into `fuzz/corpus/<target>/`, where the fuzzer starts from.

use std::path::Path;

fn main() -> anyhow::Result<()> {
    for seed in hebbian_fuzz::seeds::seeds()? {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(seed.target);
        fs_err::create_dir_all(&folder)?;
        fs_err::write(folder.join(seed.name), seed.bytes)?;
    }
    Ok(())
}

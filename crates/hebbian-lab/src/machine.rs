//! Where a result comes from.

use hebbian::memory::status_mib;

/// Version of the program, with the revision of its source where it was built
/// in a working copy: `0.1.0+398ed10f2c`, `-changed` if that was edited since.
pub fn code_version() -> &'static str {
    env!("HEBBIAN_VERSION")
}

/// The processor's name and the number of threads.
pub fn name() -> String {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("unknown processor", |(_, name)| name);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {threads} threads")
}

/// The machine's own name.
pub fn host() -> String {
    let name = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "an unnamed machine".into() } else { name.trim().to_owned() }
}

/// Most memory this process has held so far, MiB.
pub fn peak_memory_mib() -> Option<u64> {
    status_mib(std::process::id(), "VmHWM").map(|mib| mib as u64)
}

/// Now, in seconds since 1970 (UTC).
pub fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

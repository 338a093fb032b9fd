//! Memory that a process holds, where the system tells.

/// A figure of process `id` in MiB, by its name in `/proc/ID/status`: `VmRSS` is
/// what it holds now, `VmHWM` the most it has held.
pub fn status_mib(id: u32, name: &str) -> Option<f64> {
    let status = fs_err::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_never_holds_more_than_its_most() {
        let own = |name| status_mib(std::process::id(), name);
        let (now, most) = (own("VmRSS").unwrap(), own("VmHWM").unwrap());
        assert!(1.0 < now && now <= most, "{now} {most}");
        assert_eq!((own("Vm"), own("VmNone")), (None, None));
    }
}

//! Disks that are soon full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk in memory, until this is dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of so many KiB at a path; `None` where mounting is not allowed.
    pub fn mounted(path: &Path, kib: u32) -> Option<Self> {
        fs::create_dir(path).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(path)
            .status()
            .expect("mount runs");
        mounted.success().then(|| Self(path.to_owned()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

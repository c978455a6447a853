//! Endurance tests: attacks beside an honest caller, and a long mixed load.

pub(crate) mod attack;
pub(crate) mod soak;

use std::{fs, path::Path};

/// A number of a process, in MB or pieces.
fn status(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = status.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_default();
    found.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Resident memory that is the process's own, in MB.
fn memory_mb(pid: u32) -> u64 {
    status(pid, "RssAnon:") / 1024
}

/// Open descriptors.
fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The write-ahead log of a data directory, in MB.
fn wal_mb(data: &Path) -> u64 {
    fs::metadata(data.join("haechi.db-wal")).map_or(0, |file| file.len() >> 20)
}

/// A part of what is sorted, in milliseconds.
fn at(sorted_us: &[u32], part: f64) -> f64 {
    let place = (sorted_us.len().max(1) - 1) as f64 * part;
    sorted_us.get(place as usize).map_or(f64::NAN, |us| f64::from(*us) / 1000.0)
}

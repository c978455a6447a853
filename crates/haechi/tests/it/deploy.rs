//! What `deploy/` holds, read by the programs that it is for.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn alerts(text: &str, before: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| Some(line.split_once(before)?.1.trim().to_owned())).collect()
}

/// OPS-41: every alert has a section that says what to do, and names it; no section is about an alert that is gone.
#[test]
fn every_alert_has_its_page() {
    let rules = read("deploy/prometheus/alerts.yml");
    let named = alerts(&rules, "- alert: ");
    assert!(named.len() > 10);
    let told: BTreeSet<String> = read("docs/runbook.md").lines().filter_map(|line| Some(line.strip_prefix("## ")?.to_owned())).collect();
    assert_eq!(named, told);
    for name in &named {
        assert!(rules.contains(&format!("runbook: \"docs/runbook.md#{}\"", name.to_lowercase())), "{name}");
    }
}

/// OPS-41: the rules are good, and each alert fires on series that are made for it.
#[test]
fn every_alert_fires() {
    let unpacked = root().join("target/tools/usr/bin/promtool");
    let promtool = if unpacked.exists() { unpacked } else { PathBuf::from("promtool") };
    let run = |arguments: &[&str]| {
        let output = Command::new(&promtool).args(arguments).current_dir(root().join("deploy/prometheus")).output();
        let output = output.unwrap_or_else(|error| panic!("promtool cannot be run ({error}): `cargo xtask test` sees to it"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        text
    };
    assert!(run(&["check", "rules", "alerts.yml"]).contains("SUCCESS"));
    assert!(run(&["test", "rules", "alerts_test.yml"]).contains("SUCCESS"));
    let (named, tried) =
        (alerts(&read("deploy/prometheus/alerts.yml"), "- alert: "), alerts(&read("deploy/prometheus/alerts_test.yml"), "alertname: "));
    assert_eq!(named, tried, "each is tried");
}

/// The unit is one that systemd takes.
#[test]
fn the_unit_is_good() {
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(root().join("deploy/haechi.service")).output();
    let output = output.unwrap_or_else(|error| panic!("systemd-analyze cannot be run ({error}): `cargo xtask test` sees to it"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !text.contains("haechi.service"), "{text}");
}

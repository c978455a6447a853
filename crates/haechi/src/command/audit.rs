//! `haechi audit`: verify, export, checkpoint.

use super::{
    Done, Failed,
    live::{said, say},
};
use clap::Subcommand;
use haechi::House;
use std::{path::PathBuf, process::ExitCode};

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Verify the whole ledger.
    Verify {
        /// Also compare every row with its last entry.
        #[arg(long)]
        rows: bool,
        /// A file of checkpoints that were kept elsewhere.
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
    },
    /// Print all entries as JSON lines.
    Export,
    /// Print the newest signed checkpoint.
    Checkpoint,
    /// Print the public key of the checkpoints.
    Key,
}

impl Audit {
    pub(crate) async fn on(self, house: &House, as_json: bool) -> Done {
        let key = &house.keys.audit;
        let code = match self {
            Self::Verify { rows, checkpoint } => {
                let mut notes = Vec::new();
                for path in checkpoint {
                    let text = std::fs::read_to_string(super::live::path(&path))
                        .map_err(|error| Failed::Said(format!("{} cannot be read: {error}", path.display())))?;
                    notes.extend(split_notes(&text));
                }
                let report = house.gate.verify(key, &notes, rows).await.map_err(|failure| format!("the ledger cannot be read: {failure:?}"))?;
                if as_json {
                    let findings: Vec<serde_json::Value> =
                        report.findings.iter().map(|finding| serde_json::json!({ "position": finding.position, "what": finding.what })).collect();
                    say!(
                        "{}",
                        serde_json::json!({ "entries": report.entries, "sealed": report.sealed, "rows": report.rows, "erased": report.erased, "findings": findings, "count": report.count })
                    );
                } else {
                    for finding in &report.findings {
                        match finding.position {
                            Some(position) => say!("entry {position}: {}", finding.what),
                            None => say!("{}", finding.what),
                        }
                    }
                    say!(
                        "{} entries, {} sealed, {} rows compared, {} erased, {} findings",
                        report.entries,
                        report.sealed,
                        report.rows,
                        report.erased,
                        report.count
                    );
                }
                if report.count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Self::Export => {
                let mut from = 0;
                loop {
                    let (lines, next) =
                        house.gate.export_entries(key, from).await.map_err(|failure| format!("the ledger cannot be read: {failure:?}"))?;
                    if !lines.is_empty() {
                        said(String::from_utf8_lossy(&lines).trim_end());
                    }
                    match next {
                        Some(next) => from = next,
                        None => break,
                    }
                }
                ExitCode::SUCCESS
            }
            Self::Checkpoint => {
                house.gate.settle().await;
                let note = house.gate.checkpoint(key).await.map_err(|failure| format!("the ledger cannot be read: {failure:?}"))?;
                said(note.ok_or_else(|| "nothing is sealed yet".to_owned())?.trim_end_matches('\n'));
                ExitCode::SUCCESS
            }
            Self::Key => {
                say!("{}", house.gate.ledger_key());
                ExitCode::SUCCESS
            }
        };
        Ok(code)
    }
}

/// A witness file holds notes one after the other; a note has an empty line in it and one after it.
fn split_notes(text: &str) -> Vec<String> {
    let blocks: Vec<&str> = text.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty()).collect();
    blocks.chunks(2).map(|pair| format!("{}\n\n{}\n", pair[0], pair.get(1).copied().unwrap_or_default())).collect()
}

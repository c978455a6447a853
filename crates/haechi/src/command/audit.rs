//! `haechi audit`: verify, export, checkpoint, archive.

use super::{
    Done, Failed,
    outfile::Outfile,
    words::{said, say, sent},
};
use clap::Subcommand;
use haechi::House;
use haechi_gate::{Clock, SystemClock};
use haechi_model::{parse_date, parse_datetime};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufReader, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Verify the whole ledger.
    #[command(alias = "check")]
    Verify {
        /// Also compare every row with its last entry.
        #[arg(long)]
        rows: bool,
        /// A file of checkpoints that were kept elsewhere; each further file has the option again.
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// A file that `audit archive` wrote; each further file has the option again.
        #[arg(long, value_name = "FILE")]
        archive: Vec<PathBuf>,
    },
    /// Move what was sealed before a day into a file; what stays is proven as before.
    Archive {
        /// A day or a time, e.g. 2026-01-01 or 2026-01-01T12:00:00Z.
        #[arg(long, value_name = "TIME")]
        before: String,
        /// The file to write; it must not be there.
        file: PathBuf,
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
            Self::Verify { rows, checkpoint, archive } => verify(house, rows, (&checkpoint, &archive), as_json).await?,
            Self::Archive { before, file } => {
                let time = parse_datetime(&before).or_else(|| parse_date(&before));
                let before_ms = time.ok_or_else(|| format!("`{before}` is no day and no time; write 2026-01-01 or 2026-01-01T12:00:00Z"))?;
                if before_ms > SystemClock.now_ms() {
                    return Err(Failed::Said(format!("{before} is still to come; name a day or a time that has been")));
                }
                archive(house, before_ms, &super::words::path(&file)).await?;
                ExitCode::SUCCESS
            }
            Self::Export => {
                let mut from = 0;
                loop {
                    let (lines, next) =
                        house.gate.export_entries(key, from).await.map_err(|failure| format!("the ledger cannot be read: {failure}"))?;
                    if !lines.is_empty() {
                        said(String::from_utf8_lossy(&lines).trim_end());
                    }
                    if !sent().await {
                        break;
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
                let note = house.gate.checkpoint(key).await.map_err(|failure| format!("the ledger cannot be read: {failure}"))?;
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

async fn verify(house: &House, rows: bool, (checkpoints, files): (&[PathBuf], &[PathBuf]), as_json: bool) -> Done {
    let mut notes = Vec::new();
    for path in checkpoints {
        let text = std::fs::read_to_string(super::words::path(path))
            .map_err(|error| Failed::Said(format!("{} cannot be read: {}", path.display(), haechi_model::why(error.kind()))))?;
        notes.extend(split_notes(&text));
    }
    let mut report = house.gate.verify(&house.keys.audit, &notes, rows).await.map_err(|failure| format!("the ledger cannot be read: {failure}"))?;
    archives(house, files, &notes, &mut report)?;
    if as_json {
        let findings: Vec<serde_json::Value> =
            report.findings.iter().map(|finding| serde_json::json!({ "position": finding.position, "what": finding.what })).collect();
        say!(
            "{}",
            serde_json::json!({ "entries": report.entries, "sealed": report.sealed, "waiting": report.waiting, "covered_from": report.covered_from, "rows": report.rows, "erased": report.erased, "archived": report.archived, "findings": findings, "count": report.count })
        );
    } else {
        for finding in &report.findings {
            match finding.position {
                Some(position) => say!("entry {position}: {}", finding.what),
                None => say!("{}", finding.what),
            }
        }
        match report.covered_from {
            Some(from) if from > report.archived => {
                say!("events and organisations are covered from entry {from} on; older entries say nothing of theirs")
            }
            _ => {}
        }
        say!(
            "{} entries, {} sealed, {} waiting, {} rows compared, {} erased, {} archived, {} findings",
            report.entries,
            report.sealed,
            report.waiting,
            report.rows,
            report.erased,
            report.archived,
            report.count
        );
    }
    Ok(if report.count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the file, reads it again as a stranger would, and only then takes the part out.
async fn archive(house: &House, before_ms: i64, file: &Path) -> Result<(), Failed> {
    let out = Outfile::new(file)?;
    house.gate.settle().await;
    let key = &house.keys.audit;
    let said = |error: haechi_gate::ArchiveError| Failed::Said(error.to_string());
    let Some(part) = house.gate.archivable(key, before_ms).await.map_err(said)? else {
        return Err(Failed::Said("nothing that was sealed before then is in the database; nothing was archived".to_owned()));
    };
    write(house, &part, &out).await?;
    out.put()?;
    let (from, size) = (part.from, part.size);
    house.gate.take_out(key, part, &super::words::operator()).await.map_err(said)?;
    house.gate.settle().await;
    say!("{}: entries {from} to {}, verified; keep it with the checkpoints", file.display(), size - 1);
    Ok(())
}

async fn write(house: &House, part: &haechi_gate::Part, file: &Outfile) -> Result<(), Failed> {
    let mut out = std::io::BufWriter::new(file.create()?);
    let mut next = Some(part.from);
    while let Some(position) = next {
        let lines = house.gate.archive_lines(&house.keys.audit, part, position).await;
        let (lines, after) = lines.map_err(|failure| format!("the ledger cannot be read: {failure}"))?;
        out.write_all(&lines)?;
        next = after;
    }
    out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    let written = BufReader::new(File::open(file.part())?);
    let report = tokio::task::block_in_place(|| house.gate.verify_archive(written, &[]));
    match report.findings.findings.first() {
        Some(finding) => Err(Failed::Said(format!("the file does not verify: {}", finding.what))),
        None if (report.from, report.size) == (part.from, part.size) => Ok(()),
        None => Err(Failed::Said("the file does not hold what it should".to_owned())),
    }
}

/// Checks files, that they join each other, and that together with the database they are the whole ledger.
fn archives(house: &House, files: &[PathBuf], notes: &[String], report: &mut haechi_gate::AuditReport) -> Result<(), Failed> {
    let kept: Vec<_> = notes.iter().filter_map(|note| house.gate.kept_checkpoint(note)).collect();
    let old = |size: u64| i64::try_from(size).is_ok_and(|size| size < report.archived);
    let mut open: BTreeSet<u64> = kept.iter().map(|checkpoint| checkpoint.size).filter(|size| *size > 0 && old(*size)).collect();
    let mut parts = Vec::new();
    for path in files {
        let file = File::open(super::words::path(path))
            .map_err(|error| Failed::Said(format!("{} cannot be read: {}", path.display(), haechi_model::why(error.kind()))))?;
        let part = tokio::task::block_in_place(|| house.gate.verify_archive(BufReader::new(file), &kept));
        for finding in &part.findings.findings {
            report.find(finding.position, format!("{}: {}", path.display(), finding.what));
        }
        for size in &part.confirmed {
            open.remove(size);
        }
        report.erased += part.findings.erased;
        parts.push((part, path));
    }
    parts.sort_by_key(|(part, _)| part.from);
    let mut at = 0;
    for (part, path) in &parts {
        if part.from < at {
            report.find(None, format!("{} holds entries that another file holds, too", path.display()));
        } else if part.from > at {
            report.find(None, format!("entries {at} to {} are in no file that was given", part.from - 1));
        } else if part.from > 0 && parts.iter().all(|(before, _)| before.size != part.from || before.roots.1 != part.roots.0) {
            report.find(None, format!("{} does not go on where the file before it ends", path.display()));
        }
        at = part.size;
        report.entries += part.size - part.from;
    }
    let joins = parts.last().is_none_or(|(part, _)| Some(part.roots.1) == report.archived_root);
    if !files.is_empty() && at == report.archived && !joins {
        report.find(None, "the last file is of another ledger than the database: what it ends with is not what was archived here");
    }
    if !files.is_empty() && at != report.archived {
        report.find(None, format!("entries up to {} are archived; the files end at {at}", report.archived));
    }
    for size in open {
        report.find(None, format!("a checkpoint kept elsewhere covers {size} entries, which are archived: give the files with --archive"));
    }
    Ok(())
}

/// A witness file holds notes one after the other; a note has an empty line in it and one after it.
fn split_notes(text: &str) -> Vec<String> {
    let blocks: Vec<&str> = text.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty()).collect();
    blocks.chunks(2).map(|pair| format!("{}\n\n{}\n", pair[0], pair.get(1).copied().unwrap_or_default())).collect()
}

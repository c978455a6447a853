//! `haechi check`: what is wrong, what is risky, who reaches what.

use super::{Done, Place};
use clap::Args;
use haechi::{refusals::refusals, report};
use haechi_gate::{Reach, Revision};
use std::{path::PathBuf, process::ExitCode};

#[derive(Args)]
pub(crate) struct Check {
    /// The app folder.
    folder: Option<PathBuf>,
    /// Also check what `serve` refuses.
    #[arg(long)]
    production: bool,
}

/// What is allowed but probably not meant.
fn lints(revision: &Revision) -> Vec<String> {
    let app = &revision.app;
    let mut found = Vec::new();
    let matrix = revision.matrix();
    for (who, collection, action, reach) in &matrix {
        let wide = *reach == Reach::All && matches!(who.as_str(), "anonymous" | "user");
        if wide && (action.starts_with("read_") || action.starts_with("write_") || matches!(action.as_str(), "update" | "delete")) {
            found.push(format!("everybody{} may {action} every row of {collection}", if who == "user" { " who is signed in" } else { "" }));
        }
        if *reach != Reach::None && action.starts_with("read_") {
            let row = matrix.iter().any(|(w, c, a, r)| w == who && c == collection && a == "read" && *r != Reach::None);
            if !row {
                found.push(format!("{who} has {action} on {collection} but not read: it has no effect"));
            }
        }
    }
    for collection in &app.collections {
        let reached = matrix.iter().any(|(_, c, _, reach)| *c == collection.name && *reach != Reach::None);
        if !reached && collection.name != "users" {
            found.push(format!("no policy reaches {}: nobody can use it", collection.name));
        }
    }
    let server = &app.config.server;
    let behind_proxy = server.tls.is_none() && server.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
    if behind_proxy && server.trusted_proxies.is_empty() {
        found.push(
            "public_url is https and there is no TLS here, so a proxy stands in front, and it is not declared: all clients count as one; add trusted_proxies = [\"127.0.0.1\"] under [server]"
                .to_owned(),
        );
    }
    if app.config.ledger.witness.is_empty() {
        found.push(
            "no witness: whoever has the whole machine can rewrite the ledger unnoticed; add witness = [\"file:PATH\"] under [ledger]".to_owned(),
        );
    }
    found
}

impl Check {
    pub(crate) fn run(&self, place: &Place) -> Done {
        let place = place.at(self.folder.as_ref());
        let (revision, warnings) = place.load()?;
        let reach = revision.undeclared_reach();
        let refused = if self.production {
            refusals(&revision, &place.data())
        } else {
            reach
                .iter()
                .map(|(collection, action)| {
                    format!("a policy lets anonymous callers {action} {collection}, but [anonymous] reach does not declare it")
                })
                .collect()
        };
        let lints = lints(&revision);
        if place.json {
            let matrix: Vec<serde_json::Value> = revision.matrix().into_iter().filter(|(.., reach)| *reach != Reach::None).map(|(who, collection, action, reach)| serde_json::json!({ "who": who, "collection": collection, "action": action, "reach": if reach == Reach::All { "all" } else { "some" } })).collect();
            print!("{}", report::json(&warnings));
            println!("{}", serde_json::json!({ "refusals": refused, "lints": lints, "reach": matrix }));
        } else {
            eprint!("{}", report::render(&warnings));
            table(&revision);
            for lint in &lints {
                println!("lint: {lint}");
            }
            for refusal in &refused {
                println!("refused: {refusal}");
            }
            println!(
                "{} collections, {} policies, {} warnings, {} lints, {} refusals",
                revision.app.collections.len(),
                revision.policies.names().len(),
                warnings.list().len(),
                lints.len(),
                refused.len()
            );
        }
        Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Who reaches what: `*` every row, `+` some rows, `.` none.
fn table(revision: &Revision) {
    let actions = haechi_policy::actions(&revision.app);
    let matrix = revision.matrix();
    for collection in &revision.app.collections {
        println!("{}", collection.name);
        let mut last = "";
        for (who, name, ..) in matrix.iter().filter(|(_, name, ..)| *name == collection.name) {
            if who == last {
                continue;
            }
            last = who;
            let cells: Vec<String> = matrix
                .iter()
                .filter(|(w, c, ..)| w == who && c == name)
                .zip(&actions)
                .filter(|((.., reach), _)| *reach != Reach::None)
                .map(|((.., reach), action)| if *reach == Reach::All { format!("{action}*") } else { action.clone() })
                .collect();
            let cells = if cells.is_empty() { "nothing".to_owned() } else { cells.join(" ") };
            println!("  {who:<16} {cells}");
        }
    }
    println!("(* on every row, else on the rows of which a policy's condition holds)");
}

//! `haechi check`: what is wrong, what is risky, who reaches what.

use super::{Done, Place, counted, print, words::say};
use clap::Args;
use haechi::{
    access::{self, Against},
    app::{obstacles::obstacles, report, trial::trial},
};
use haechi_gate::{AccessChange, Reach, Reached, Revision};
use haechi_model::{ThingKind, USERS, person};
use std::{path::PathBuf, process::ExitCode};

#[derive(Args)]
pub(crate) struct Check {
    /// The app folder.
    folder: Option<PathBuf>,
    /// Also try whether `serve` would start here: settings, data directory, addresses, database. Nothing is changed.
    #[arg(long)]
    production: bool,
    /// A program of one's own serves the folder: it has the handlers of declared actions.
    #[arg(long, requires = "production")]
    embedded: bool,
    /// Say what differs in access from another folder, or from this one at a commit of its git repository.
    #[arg(long, value_name = "FOLDER|COMMIT")]
    against: Option<String>,
    /// How --against is printed.
    #[arg(long, value_enum, default_value_t = Format::Text, requires = "against", value_name = "FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
}

/// The exit code when somebody gains access, or may gain as far as is known.
const OPENED: u8 = 3;

/// What is allowed but probably not meant.
fn lints(revision: &Revision) -> Vec<String> {
    let app = &revision.app;
    let mut found = Vec::new();
    let matrix = revision.matrix();
    for Reached { who, collection, action, reach } in &matrix {
        let wide = *reach == Reach::All && matches!(who.as_str(), "anonymous" | "user");
        if wide && (action.starts_with("read_") || action.starts_with("write_") || matches!(action.as_str(), "update" | "delete")) {
            found.push(format!("everybody{} may {action} every row of {collection}", if who == "user" { " who is signed in" } else { "" }));
        }
        if *reach != Reach::None && action.starts_with("read_") {
            let row = matrix
                .iter()
                .any(|other| other.who == *who && other.collection == *collection && other.action == "read" && other.reach != Reach::None);
            if !row {
                found.push(format!("{who} has {action} on {collection} but not read: it has no effect"));
            }
        }
    }
    for collection in &app.collections {
        let reached = matrix.iter().any(|reached| reached.collection == collection.name && reached.reach != Reach::None);
        if !reached && collection.name != "users" {
            found.push(format!("no policy reaches {}: nobody can use it", collection.name));
        }
    }
    let by_the_clock = |at: usize| app.schedules.iter().any(|schedule| schedule.job == at);
    for (_, job) in app.jobs.iter().enumerate().filter(|(at, _)| !by_the_clock(*at)) {
        let name = format!("{}/{}", ThingKind::Job.type_name(), job.name);
        let wanted = matrix.iter().any(|reached| reached.collection == name && reached.action == "enqueue" && reached.reach != Reach::None);
        if !wanted {
            found.push(format!(
                "no policy lets anybody enqueue the job {}, and no schedule does: permit Work::Action::\"enqueue\" on {name}",
                job.name
            ));
        }
    }
    for policy in revision.policies.looking_at(USERS, person::EMAIL) {
        found.push(format!(
            "{} ({}:{}) looks at an address, and nobody proves that the address they sign up with is theirs: use a role, a reference, or a field that only an operator sets",
            policy.id, policy.path, policy.line
        ));
    }
    let server = &app.config.server;
    let behind_proxy = server.tls().is_none() && server.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
    if behind_proxy && server.trusted_proxies.is_empty() {
        found.push(
            "public_url is https and there is no TLS here, so a proxy stands in front, and it is not declared: all clients count as one; add trusted_proxies = [\"127.0.0.1\"] under [server]"
                .to_owned(),
        );
    }
    if app.config.ledger.witness.is_empty() {
        found.push(
            "no witness: somebody who has the whole machine can rewrite the ledger unnoticed; add witness = [\"file:PATH\"] under [ledger]"
                .to_owned(),
        );
    }
    found
}

impl Check {
    pub(crate) async fn run(&self, place: &Place) -> Done {
        let place = place.at(self.folder.as_ref())?;
        let (revision, warnings) = place.load()?;
        if let Some(text) = &self.against {
            return self.compare(&place, &revision, text);
        }
        let reach = revision.undeclared_reach();
        let mut untried = Vec::new();
        let refused = if self.production {
            let mut refused = obstacles(&revision, &place.data());
            if refused.is_empty() {
                let tried = trial(place.load()?.0, &place.data(), self.embedded).await;
                refused.extend(tried.obstacles);
                untried = tried.untried;
            }
            refused
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
            let matrix: Vec<serde_json::Value> = revision
                .matrix()
                .into_iter()
                .filter(|reached| reached.reach != Reach::None)
                .map(|Reached { who, collection, action, reach }| {
                    let reach = if reach == Reach::All { "all" } else { "some" };
                    serde_json::json!({ "who": who, "collection": collection, "action": action, "reach": reach })
                })
                .collect();
            print(report::json(&warnings).as_bytes());
            say!("{}", serde_json::json!({ "refusals": refused, "untried": untried, "lints": lints, "reach": matrix }));
        } else {
            eprint!("{}", report::render(&warnings));
            table(&revision);
            for lint in &lints {
                say!("lint: {lint}");
            }
            for what in &untried {
                say!("not tried: {what}");
            }
            for refusal in &refused {
                say!("refused: {refusal}");
            }
            say!(
                "{}, {}, {}, {}, {}",
                counted(revision.app.collections.len(), "collection", "collections"),
                counted(revision.policies.names().len(), "policy", "policies"),
                counted(warnings.list().len(), "warning", "warnings"),
                counted(lints.len(), "lint", "lints"),
                counted(refused.len(), "refusal", "refusals")
            );
        }
        Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What differs in access. The exit code says whether somebody gains.
    fn compare(&self, place: &Place, revision: &Revision, text: &str) -> Done {
        let against = Against::of(text);
        let old = against.load(&place.folder).map_err(|error| {
            if let access::AgainstError::Errors(_, haechi::FolderError::Findings(findings)) = &error {
                eprint!("{}", report::render(findings));
            }
            error.to_string()
        })?;
        let changes = access::changes(&old, revision, &place.folder);
        let opened = changes.iter().any(AccessChange::may_open);
        match if place.json { Format::Json } else { self.format } {
            Format::Json => say!("{}", serde_json::json!({ "against": text, "may_open": opened, "changes": access::json(&changes) })),
            Format::Markdown => print(access::markdown(&changes).as_bytes()),
            Format::Text => {
                say!("compared with {}:", against.name());
                access::text(&changes).iter().for_each(|line| say!("  {line}"));
            }
        }
        Ok(if opened { ExitCode::from(OPENED) } else { ExitCode::SUCCESS })
    }
}

/// Who reaches what: `*` on every row.
fn table(revision: &Revision) {
    let matrix = revision.matrix();
    let mut names: Vec<&str> = Vec::new();
    for Reached { collection, .. } in &matrix {
        if !names.contains(&collection.as_str()) {
            names.push(collection);
        }
    }
    for name in names {
        say!("{name}");
        let mut last = "";
        for Reached { who, .. } in matrix.iter().filter(|reached| reached.collection == name) {
            if who == last {
                continue;
            }
            last = who;
            let cells: Vec<String> = matrix
                .iter()
                .filter(|reached| reached.who == *who && reached.collection == name && reached.reach != Reach::None)
                .map(|reached| if reached.reach == Reach::All { format!("{}*", reached.action) } else { reached.action.clone() })
                .collect();
            let cells = if cells.is_empty() { "nothing".to_owned() } else { cells.join(" ") };
            say!("  {who:<16} {cells}");
        }
    }
    say!("(* on every row, else on the rows of which a policy's condition holds)");
}

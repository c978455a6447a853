//! Tries what `serve` needs at its start: data directory, addresses and database. Nothing is changed.

use crate::{
    DataDir, FolderError, House, Mode,
    app::{database, house::HouseError},
};
use futures_util::future::BoxFuture;
use haechi_gate::{Database, Revision};
use haechi_model::{Collection, Findings, why};
use std::path::{Path, PathBuf};

/// The result.
#[derive(Debug, Default)]
pub struct Trial {
    /// Why `serve` would not start.
    pub obstacles: Vec<String>,
    /// What was not tried, and why.
    pub untried: Vec<String>,
}

/// Tries what `serve` needs. `embedded`: another program serves the folder, with handlers that are unknown here.
pub fn trial<'a>(revision: Revision, data: &'a Path, embedded: bool) -> BoxFuture<'a, Trial> {
    Box::pin(async move {
        let mut found = Trial::default();
        if !data.exists() {
            if let Err(error) = writable(nearest(data)) {
                found.obstacles.push(format!("the data directory {} cannot be made: {}", data.display(), why(error.kind())));
            }
            addresses(&revision, &mut found).await;
            // What a new data directory would hold is made at the start; a server's database is there already.
            if let Ok(target @ Database::Postgres(..)) = database::database(&revision.app.config, data) {
                elsewhere(revision, target, embedded, &mut found).await;
            } else if !embedded {
                handlers(&revision, &mut found);
            }
            return found;
        }
        let directory = match DataDir::open(data.to_owned()) {
            Ok(directory) => directory,
            Err(FolderError::Locked(_)) => {
                found
                    .untried
                    .push(format!("{} is in use, probably by `serve` itself: its addresses and its database were not tried", data.display()));
                return found;
            }
            Err(error) => {
                found.obstacles.push(error.to_string());
                return found;
            }
        };
        if let Err(error) = writable(data) {
            found.obstacles.push(format!("the data directory {} cannot be written: {}", data.display(), why(error.kind())));
        }
        addresses(&revision, &mut found).await;
        if !embedded {
            handlers(&revision, &mut found);
        }
        // A missing file is made at the start, with its tables.
        if let Ok(Database::Sqlite(file)) = database::database(&revision.app.config, data)
            && !file.exists()
        {
            if let Err(error) = writable(file.parent().unwrap_or(data)) {
                found.obstacles.push(format!("the database {} cannot be made: {}", file.display(), why(error.kind())));
            }
            return found;
        }
        match House::with(revision, Findings::default(), &directory, Mode::Serve).await {
            Ok(house) => {
                tables(&house, &mut found).await;
                house.close().await;
            }
            Err(error) => found.obstacles.push(error.to_string()),
        }
        found
    })
}

fn handlers(revision: &Revision, found: &mut Trial) {
    let of = |collection: &Collection| collection.actions.iter().map(|action| format!("{}:{}", collection.name, action.name)).collect::<Vec<_>>();
    let actions: Vec<String> = revision.app.collections.iter().flat_map(of).collect();
    if !actions.is_empty() {
        found.obstacles.push(format!("{} (with --embedded this is not looked at)", HouseError::Unhandled(actions)));
    }
}

/// Inspects a server's database without a data directory.
async fn elsewhere(revision: Revision, target: Database, embedded: bool, found: &mut Trial) {
    if !embedded {
        handlers(&revision, found);
    }
    match House::over(revision, &target).await {
        Ok(house) => {
            tables(&house, found).await;
            house.close().await;
        }
        Err(error) => found.obstacles.push(error.to_string()),
    }
}

/// Whether the database is as the folder describes it, or empty.
async fn tables(house: &House, found: &mut Trial) {
    let schema = &house.keys.schema;
    match house.gate.strange(schema).await {
        Ok(strange) => found.obstacles.extend(strange.wrong.iter().map(|what| format!("the database was changed by somebody else: {what}"))),
        Err(error) => return found.obstacles.push(error.to_string()),
    }
    let applied = house.gate.applied(schema).await;
    match (applied, house.gate.plan(schema).await) {
        (Err(failure), _) => found.obstacles.push(format!("the database cannot be read: {failure}")),
        (_, Err(error)) => found.obstacles.push(error.to_string()),
        // `serve` makes the tables of a database that has none.
        (Ok(applied), Ok(plan)) if !applied.is_empty() && !plan.is_empty() => {
            let lines = plan.summary().join("; ");
            found.obstacles.push(format!("the database is not as the folder describes it: run `haechi migrate apply` ({lines})"));
        }
        _ => {}
    }
}

async fn addresses(revision: &Revision, found: &mut Trial) {
    let server = &revision.app.config.server;
    let mut held = Vec::new();
    for (key, address) in [("listen", &server.listen), ("ops_listen", &server.ops_listen)] {
        match tokio::net::TcpListener::bind(address).await {
            // Held until both were tried: two listeners cannot share an address.
            Ok(listener) => held.push(listener),
            Err(error) => found.obstacles.push(format!("{key} under [server]: {address} cannot be listened on: {}", why(error.kind()))),
        }
    }
}

fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."))
}

/// Whether a file can be made in a folder. It is removed again.
fn writable(folder: &Path) -> std::io::Result<()> {
    let folder: PathBuf = if folder.as_os_str().is_empty() { ".".into() } else { folder.to_owned() };
    let probe = folder.join(format!(".haechi-{}", haechi_gate::random_hex::<8>()));
    std::fs::File::create_new(&probe)?;
    std::fs::remove_file(probe)
}

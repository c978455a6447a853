//! `haechi dev`: everything at once on loopback, and again whenever the folder changes.

use super::{Done, Failed, Place, words::say};
use clap::Args;
use haechi::{
    DataDir, House, Mode, access,
    app::{folder, people, report, rows, shutdown},
    http::{
        accept::{STALLED, Server},
        admission::Admission,
        routes::stack,
        stack::Stack,
    },
    observe::{logs, telemetry::Telemetry},
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{net::TcpListener, sync::watch};

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Args)]
pub(crate) struct Dev {
    /// The app folder.
    folder: Option<PathBuf>,
    /// Address to listen on; must be loopback.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Let a migration drop collections and columns.
    #[arg(long)]
    allow_drop: bool,
}

impl Dev {
    pub(crate) async fn run(self, place: Place) -> Done {
        let place = place.at(self.folder.as_ref())?;
        let mut telemetry = Telemetry::open(&place.load()?.0.app.config.telemetry)?;
        let _logs = logs::start(false, &telemetry);
        let data = DataDir::open(place.data())?;
        // Before anything is written: a second `dev` on this address changes nothing.
        let config = place.load()?.0.app.config.clone();
        let listener = listener(self.listen.as_deref().unwrap_or(&config.server.listen)).await?;
        let mut house = Arc::new(self.build(&place, &data).await?);
        #[cfg(haechi_unsafe_lab)]
        eprintln!("{}", haechi::lab::MARK);
        house.start();
        let address = listener.local_addr()?;
        banner(&house, &place, address).await;
        let (publish, current) = watch::channel(Arc::new(stack(&house, Mode::Dev)));
        let (stop, mut stopped) = watch::channel(false);
        let server =
            Server { listener, stack: current, tls: None, admission: Admission::new(&config), head_ms: config.limits.head_ms, stalled: STALLED };
        let server = tokio::spawn(server.run(Box::pin(async move { drop(stopped.changed().await) })));
        let (open, houses) = watch::channel(house.clone());
        telemetry.watch(houses.clone());
        let control = tokio::spawn(super::control::control(data.path.clone(), place.clone(), houses));
        let mut seen = fingerprint(&place.folder);
        let ended = shutdown::signal();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = fingerprint(&place.folder);
            if now != seen {
                seen = now;
                house = self.reload(house, &place, &data, &publish).await;
                let _ = open.send(house.clone());
            }
        }
        // Streams end first, so that their connections can.
        house.gate.close_streams();
        let _ = stop.send(true);
        let _ = server.await;
        control.abort();
        drop(open);
        house.close().await;
        telemetry.close().await;
        Ok(ExitCode::SUCCESS)
    }

    /// Opens the folder, migrates and seeds.
    async fn build(&self, place: &Place, data: &DataDir) -> Result<House, Failed> {
        let house = House::open(&place.folder, data, Mode::Dev).await?;
        house.handled()?;
        let plan = house.gate.plan(&house.keys.schema).await.map_err(|error| error.to_string())?;
        for line in plan.summary() {
            say!("  {line}");
        }
        house.gate.migrate(&house.keys.schema, plan, self.allow_drop).await.map_err(|error| error.to_string())?;
        for (collection, count) in rows::seed(&house, &place.folder).await? {
            say!("  seeded {collection} with {count} rows");
        }
        people::write(&people::list(&house).await.map_err(|failure| format!("the people cannot be read: {failure}"))?, &data.path)?;
        Ok(house)
    }

    /// Takes over a changed folder, or says why not and goes on with the old one.
    async fn reload(&self, house: Arc<House>, place: &Place, data: &DataDir, publish: &watch::Sender<Arc<Stack>>) -> Arc<House> {
        let (revision, warnings) = match folder::load(&place.folder) {
            Ok(loaded) => loaded,
            Err(folder::FolderError::Findings(findings)) => {
                eprint!("{}", report::render(&findings));
                eprintln!("  the folder has errors; the last good one goes on being served");
                return house;
            }
            Err(error) => {
                eprintln!("  {error}");
                return house;
            }
        };
        eprint!("{}", report::render(&warnings));
        let old = house.gate.revision();
        for line in access::text(&access::changes(&old, &revision, &place.folder)) {
            say!("  access: {line}");
        }
        if old.app.same_model(&revision.app) && old.app.config == revision.app.config {
            house.gate.replace(revision);
            say!("  reloaded");
            return house;
        }
        drop((old, revision));
        match self.build(place, data).await {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                fresh.start();
                let _ = publish.send(Arc::new(stack(&fresh, Mode::Dev)));
                house.close().await;
                say!("  reloaded");
                fresh
            }
            Err(failed) => {
                eprintln!("  {failed}");
                eprintln!("  the last good folder goes on being served");
                house
            }
        }
    }
}

async fn listener(address: &str) -> Result<TcpListener, Failed> {
    let Ok(parsed) = address.parse::<std::net::SocketAddr>() else {
        return Err(Failed::Said(format!("`{address}` is no address with a port: write it as 127.0.0.1:8080")));
    };
    if !parsed.ip().is_loopback() {
        let port = parsed.port();
        return Err(Failed::Said(format!(
            "dev listens on loopback only, not on {address}: add --listen 127.0.0.1:{port}, or use `haechi serve` for others"
        )));
    }
    let bound = TcpListener::bind(parsed).await;
    bound.map_err(|error| {
        Failed::Said(format!("{address} cannot be listened on: {}; name another one with --listen", haechi_model::why(error.kind())))
    })
}

async fn banner(house: &House, place: &Place, address: std::net::SocketAddr) {
    let revision = house.gate.revision();
    eprint!("{}", report::render(&house.warnings));
    let people = people::list(house).await.unwrap_or_default();
    let warnings = house.warnings.list().len();
    let more = if people.len() == people::MOST { "at least " } else { "" };
    say!("  http://{address}   {more}{} people, {} collections, {warnings} warnings", people.len(), revision.app.collections.len());
    if let Some(folder) = &revision.app.config.site.folder {
        say!("  pages of {folder}/: http://localhost:{}", address.port());
    }
    super::user::offer_setup(house, &format!("http://{address}")).await;
    let folder = super::shown(&place.folder);
    let option = if folder == "." { String::new() } else { format!(" -C {folder}") };
    let first = revision.app.collections.iter().find(|collection| collection.name != "users");
    if let (Some(collection), false) = (first, people.is_empty()) {
        for person in people.iter().take(2) {
            say!("  curl -H \"Authorization: Bearer $(haechi token {}{option})\" http://{address}/api/v1/{}", person.name, collection.name);
        }
    }
    for (collection, action) in revision.undeclared_reach() {
        say!("  warning: a policy lets anonymous callers {action} {collection}, but [anonymous] reach does not declare it; it stays closed");
    }
}

/// Paths, sizes and times of the folder's files.
fn fingerprint(root: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let mut found = Vec::new();
    for folder in ["", "collections", "policies", "graphql", "jobs"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let watched = path.extension().is_some_and(|ending| ending == "toml" || ending == "cedar" || ending == "graphql");
            if let (true, Ok(meta)) = (watched, entry.metadata()) {
                found.push((path, meta.len(), meta.modified().ok()));
            }
        }
    }
    found.sort();
    found
}

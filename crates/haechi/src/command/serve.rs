//! `haechi serve`: for others. Refuses unsafe settings, each refusal with what mends it.

use super::{Done, Failed, Place, check::refusals};
use clap::Args;
use haechi::{
    DataDir, House, Mode,
    accept::{Bounds, Server},
    folder, ops, report,
    serve::stack,
    shutdown,
    tls::Tls,
};
use std::{path::PathBuf, process::ExitCode, sync::Arc};
use tokio::{net::TcpListener, sync::watch};

#[derive(Args)]
pub(crate) struct Serve {
    /// The app folder.
    folder: Option<PathBuf>,
}

impl Serve {
    pub(crate) async fn run(self, place: Place) -> Done {
        let place = place.at(self.folder.as_ref());
        let (revision, warnings) = place.load()?;
        eprint!("{}", report::render(&warnings));
        let refused = refusals(&revision, &place.data());
        if !refused.is_empty() {
            let lines: Vec<String> = refused.iter().map(|refusal| format!("  {refusal}")).collect();
            return Err(Failed::Said(format!("serve refuses:\n{}", lines.join("\n"))));
        }
        let data = DataDir::open(place.data())?;
        let house = Arc::new(House::with(revision, warnings, &data, Mode::Serve).await?);
        let plan = house.gate.plan(&house.keys.schema).await.map_err(|error| error.to_string())?;
        if !plan.is_empty() {
            let lines: Vec<String> = plan.summary().iter().map(|line| format!("  {line}")).collect();
            return Err(Failed::Said(format!("the database is not as the folder describes it: run `haechi migrate apply`\n{}", lines.join("\n"))));
        }
        let config = house.gate.revision().app.config.clone();
        if config.ledger.witness.is_empty() {
            tracing::warn!(target: "haechi", "no witness is told of the ledger's checkpoints");
        }
        let tls = match &config.server.tls {
            Some(files) => Some(Tls::open(files).map_err(|error| Failed::Said(error.to_string()))?),
            None => None,
        };
        let listener = listen(&config.server.listen).await?;
        let ops_listener = listen(&config.server.ops_listen).await?;
        house.start();
        tracing::info!(target: "haechi", address = %listener.local_addr()?, "serving");
        super::user::offer_setup(&house, config.server.public_url.as_deref().unwrap_or_default()).await;
        let (stop, current) = watch::channel(Arc::new(stack(&house, Mode::Serve)));
        let reload = tokio::spawn(reload_on_hangup(house.gate.clone(), place.folder.clone()));
        let (_open, houses) = watch::channel(house.clone());
        let control = tokio::spawn(super::live::control(data.path.clone(), place.clone(), houses));
        let ops = tokio::spawn(ops::serve(ops_listener, house.gate.clone(), house.metrics.clone()));
        let bounds = Bounds { head_ms: config.limits.head_ms, connections: config.limits.connections };
        Server { listener, stack: current, tls, bounds }.run(shutdown::signal()).await;
        ops.abort();
        control.abort();
        reload.abort();
        drop(stop);
        house.close().await;
        tracing::info!(target: "haechi", "stopped");
        Ok(ExitCode::SUCCESS)
    }
}

async fn listen(address: &str) -> Result<TcpListener, Failed> {
    TcpListener::bind(address).await.map_err(|error| Failed::Said(format!("{address} cannot be listened on: {error}")))
}

/// SIGHUP: policies anew, all or nothing; the model changes with a restart only.
async fn reload_on_hangup(gate: haechi_gate::Gate, root: PathBuf) {
    #[cfg(unix)]
    {
        let Ok(mut hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else { return };
        while hangup.recv().await.is_some() {
            let loaded = folder::load(&root);
            let old = gate.revision();
            match loaded {
                Err(error) => tracing::error!(target: "haechi", %error, "the folder was not reloaded; the old policies go on"),
                Ok((revision, _)) if !revision.undeclared_reach().is_empty() => {
                    tracing::error!(target: "haechi", "the folder was not reloaded: a policy opens more than [anonymous] reach declares")
                }
                Ok((revision, _)) => {
                    let same = old.app.collections.iter().map(|collection| (&collection.table, &collection.fields)).eq(revision
                        .app
                        .collections
                        .iter()
                        .map(|collection| (&collection.table, &collection.fields)));
                    if same && old.app.classes == revision.app.classes {
                        gate.replace(revision);
                        tracing::info!(target: "haechi", "policies reloaded");
                    } else {
                        tracing::error!(target: "haechi", "the folder was not reloaded: the model changed, which needs a restart");
                    }
                }
            }
        }
    }
    #[cfg(not(unix))]
    drop((gate, root));
}

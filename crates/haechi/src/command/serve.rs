//! `haechi serve`: for others. Refuses unsafe settings, each refusal with what mends it.

use super::{Done, Place, control, user};
use clap::Args;
use haechi::Haechi;
use std::{path::PathBuf, process::ExitCode};
use tokio::sync::watch;

#[derive(Args)]
pub(crate) struct Serve {
    /// The app folder.
    folder: Option<PathBuf>,
}

impl Serve {
    pub(crate) async fn run(self, place: Place) -> Done {
        let place = place.at(self.folder.as_ref())?;
        let served = Haechi::open(place.folder.clone())?.data(place.data()).serve_with(|house, data| {
            let data = data.path.clone();
            tokio::spawn(async move {
                let base = house.gate.revision().app.config.server.public_url.clone().unwrap_or_default();
                user::offer_setup(&house, &base).await;
                let (_open, houses) = watch::channel(house);
                control::control(data, place, houses).await;
            })
        });
        served.await?;
        Ok(ExitCode::SUCCESS)
    }
}

//! `haechi clock`: the clock by which ends are issued and judged.

use super::{
    Done,
    words::{operator, say},
};
use clap::Subcommand;
use haechi::House;
use haechi_model::format_datetime;
use serde_json::json;
use std::process::ExitCode;

/// A clock that is behind by less than that was set right, as clocks are.
const SET_RIGHT_MS: i64 = 1_000;

#[derive(Subcommand)]
pub(crate) enum Clock {
    /// Say what time it is here, and how far that is ahead of the system's clock.
    Show,
    /// Take the system's time after a wrong jump forward. Ends all sessions and one-time values; leaves an entry in the ledger.
    Accept,
}

impl Clock {
    pub(crate) async fn on(self, house: &House, as_json: bool) -> Done {
        let clock = house.gate.clock();
        match self {
            Self::Show => {
                let (now, ahead_ms) = (format_datetime(clock.now_ms()), clock.ahead_ms());
                if as_json {
                    say!("{}", json!({ "now": now, "ahead_ms": ahead_ms }));
                } else if ahead_ms < SET_RIGHT_MS {
                    say!("{now}: as the system's clock says");
                } else {
                    say!("{now}: {} ahead of the system's clock", duration(ahead_ms));
                }
            }
            Self::Accept if clock.ahead_ms() < SET_RIGHT_MS => say!("the system's clock is not behind: nothing was changed"),
            Self::Accept => {
                super::migrated(house).await?;
                let (before, now) = house.identity.operator(&operator()).accept_clock().await?;
                say!("it was {}, it is {}; all sessions and one-time values have ended", format_datetime(before), format_datetime(now));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn duration(ms: i64) -> String {
    match ms {
        ms if ms < 1_000 => format!("{ms} ms"),
        ms if ms < 120_000 => format!("{} s", ms / 1_000),
        ms if ms < 7_200_000 => format!("{} min", ms / 60_000),
        ms => format!("{} h", ms / 3_600_000),
    }
}

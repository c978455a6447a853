//! `haechi advise`: what could be better in the database, by its own statistics and by its plans for the people who are there.

use super::{Done, counted, words::say};
use clap::Args;
use haechi::House;
use haechi_gate::{Advice, Advised, Looked};
use haechi_model::format_datetime;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct Advise;

impl Advise {
    pub(crate) async fn on(self, house: &House, as_json: bool) -> Done {
        super::up_to_date(house).await?;
        let looked = house.gate.advice(&house.keys.import).await.map_err(|failure| format!("the database cannot be read: {failure}"))?;
        if as_json {
            say!("{}", as_value(&looked));
        } else {
            looked.advice.iter().for_each(|advised| say!("{}", sentence(advised)));
            if looked.advice.is_empty() {
                say!("no advice");
            }
            basis(&looked).iter().for_each(|line| say!("{line}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn sentence(Advised { collection, advice }: &Advised) -> String {
    match advice {
        Advice::PolicyScans { roles, policies, lacks } => {
            let roles = roles.iter().map(|role| if role.is_empty() { "no role" } else { role }).collect::<Vec<_>>().join(", ");
            let indexes = lacks.iter().map(|column| format!("[[indexes]] fields = [\"{column}\"]")).collect::<Vec<_>>().join(" or ");
            format!(
                "{collection}: `read` goes through all rows for {roles}, by the policies {}: no index begins with {}; add {indexes} to collections/{collection}.toml",
                policies.join(", "),
                lacks.join(", ")
            )
        }
        Advice::ReadRowByRow { times, rows } => {
            format!("{collection}: read row by row {times} times, about {rows} rows each; [log] slow_ms = 100 names the requests and their policies")
        }
        Advice::UnusedIndex { columns, bytes } => format!(
            "{collection}: no read has used the index over {} ({bytes} bytes); writes pay for it: remove it if that stays so",
            columns.join(", ")
        ),
        Advice::TooDeep { group, rows, most } => format!(
            "{collection}: {}{} more than 16 ancestors: the group `{group}` says of nobody that they are outside, so forbids with it deny; move them up",
            counted(*rows, "row", "rows"),
            if rows == most {
                " or more have"
            } else if *rows == 1 {
                " has"
            } else {
                " have"
            }
        ),
        Advice::DeadRows { dead, live } => format!(
            "{collection}: {dead} old versions of rows beside {live} rows: autovacuum does not keep up, or a long transaction or a replication slot holds it back"
        ),
    }
}

/// What was looked at: advice about nothing else is given.
fn basis(looked: &Looked) -> Vec<String> {
    let large = match looked.large.as_slice() {
        [] => "no collection has 1 000 rows, so none was looked at".to_owned(),
        large => format!(
            "looked at {} with 1 000 rows or more ({}), for {}",
            counted(large.len(), "collection", "collections"),
            large.join(", "),
            counted(looked.roles.len(), "kind of caller", "kinds of callers")
        ),
    };
    let statistics = match (looked.uses.counted, looked.uses.since_ms) {
        (false, _) => "SQLite keeps no statistics of reads: the plans of its queries alone were looked at".to_owned(),
        (true, Some(since_ms)) => format!("statistics since {}", format_datetime(since_ms)),
        (true, None) => "statistics since the database was made".to_owned(),
    };
    vec![large, statistics]
}

fn as_value(looked: &Looked) -> Value {
    let advice = looked.advice.iter().map(|Advised { collection, advice }| match advice {
        Advice::PolicyScans { roles, policies, lacks } => {
            json!({ "collection": collection, "kind": "policy_scans", "roles": roles, "policies": policies, "lacks": lacks })
        }
        Advice::ReadRowByRow { times, rows } => json!({ "collection": collection, "kind": "read_row_by_row", "times": times, "rows": rows }),
        Advice::UnusedIndex { columns, bytes } => json!({ "collection": collection, "kind": "unused_index", "fields": columns, "bytes": bytes }),
        Advice::TooDeep { group, rows, .. } => json!({ "collection": collection, "kind": "too_deep", "group": group, "rows": rows }),
        Advice::DeadRows { dead, live } => json!({ "collection": collection, "kind": "dead_rows", "dead": dead, "live": live }),
    });
    json!({
        "advice": advice.collect::<Vec<_>>(), "looked_at": looked.large, "roles": looked.roles,
        "statistics": looked.uses.counted, "since": looked.uses.since_ms.map(format_datetime),
    })
}

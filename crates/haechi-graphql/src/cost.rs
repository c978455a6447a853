//! The cost of an operation, computed from its page sizes alone, before the store is used.

use crate::{
    execute::first,
    input::Variables,
    plan::{AggregatePart, ChangePart, Connection, ConnectionPart, Hole, Keyed, PayloadPart, Plan, Selection, Step},
};
use haechi_gate::Ask;

/// The cost of an aggregate: it may read every record.
const AGGREGATE: u64 = 100;
/// The cost of a change, in addition to the records that it shows.
const CHANGE: u64 = 10;

/// The most records that a plan may show.
pub(crate) fn cost(ask: &Ask, plan: &Plan, variables: &Variables) -> u64 {
    let of = |step: &Step| match step {
        Step::Typename(_) | Step::Introspection => 1,
        Step::One { selection, .. } => of_selection(ask, selection, variables),
        Step::List(connection) => of_connection(ask, connection, variables),
        Step::Aggregate { parts, .. } => {
            let groups = parts.iter().filter(|part| matches!(part.what(), Some(AggregatePart::Groups(_)))).count() as u64;
            AGGREGATE.saturating_mul(groups + 1)
        }
        Step::Change(mutation) => {
            let shown = |part: &Keyed<PayloadPart>| {
                if let Some(PayloadPart::Record(selection)) = part.what() { of_selection(ask, selection, variables) } else { 0 }
            };
            mutation.parts.iter().map(shown).fold(CHANGE, u64::saturating_add)
        }
        Step::Watch { parts, .. } => {
            let shown = |part: &Keyed<ChangePart>| {
                if let Some(ChangePart::Record(selection)) = part.what() { of_selection(ask, selection, variables) } else { 0 }
            };
            parts.iter().map(shown).fold(CHANGE, u64::saturating_add)
        }
    };
    plan.roots.iter().map(|root| of(&root.step)).fold(0, u64::saturating_add)
}

fn of_connection(ask: &Ask, connection: &Connection, variables: &Variables) -> u64 {
    // A value that cannot be read is refused when the plan runs.
    let rows = u64::from(first(ask, connection, variables).unwrap_or(1));
    let each = connection.selections.iter().map(|selection| of_selection(ask, selection, variables)).fold(0, u64::saturating_add);
    let counted = if connection.parts.iter().any(|part| matches!(part.what(), Some(ConnectionPart::Total))) { AGGREGATE } else { 0 };
    rows.saturating_mul(each).saturating_add(counted)
}

fn of_selection(ask: &Ask, selection: &Selection, variables: &Variables) -> u64 {
    let of = |hole: &Hole| match hole {
        Hole::Referred { selection, most, .. } => of_selection(ask, selection, variables).saturating_mul(*most),
        Hole::Referring { connection, .. } => of_connection(ask, connection, variables),
    };
    selection.holes.iter().map(of).fold(1, u64::saturating_add)
}

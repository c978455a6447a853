//! Advice about the running database: what is read row by row, which policies make it so, and which indexes nobody uses.

use super::Asker;
use crate::{
    gate::Gate,
    system::{Import, System},
};
use haechi_model::Failure;
use haechi_store::{TableUse, Uses};

/// A table below this many rows is fast however it is read.
const SMALL: u64 = 1_000;
/// From so many reads on, statistics say something.
const READS: u64 = 100;

/// What could be better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// A policy's rows are found by reading all of a collection.
    PolicyScans {
        /// The roles of those for whom it is so.
        roles: Vec<String>,
        /// Policies that let them read.
        policies: Vec<String>,
        /// Columns that no index begins with.
        lacks: Vec<String>,
    },
    /// The database has read a table row by row, often.
    ReadRowByRow {
        /// How often.
        times: u64,
        /// Rows at a time, on average.
        rows: u64,
    },
    /// An index that found nothing for anybody.
    UnusedIndex {
        /// Its columns.
        columns: Vec<String>,
        /// How large it is.
        bytes: u64,
    },
    /// Rows with more ancestors than an inherited group looks at: of them nobody is surely in it or outside.
    TooDeep {
        /// The group.
        group: String,
        /// How many rows; `most` when there may be more.
        rows: usize,
        /// Up to how many were counted.
        most: usize,
    },
    /// Old versions of rows take much of the table.
    DeadRows {
        /// How many.
        dead: u64,
        /// Rows that live.
        live: u64,
    },
}

/// Advice about a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advised {
    /// The collection.
    pub collection: String,
    /// The advice.
    pub advice: Advice,
}

/// All advice, and what was looked at for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// The advice.
    pub advice: Vec<Advised>,
    /// The database's own statistics.
    pub uses: Uses,
    /// Sets of roles for which the plan of `read` was asked; the empty set is somebody without a role.
    pub roles: Vec<Vec<String>>,
    /// Collections with enough rows to look at.
    pub large: Vec<String>,
}

impl Gate {
    /// What could be better in the database, for the people who are there.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn advice(&self, key: &System<Import>) -> Result<Looked, Failure> {
        let uses = self.shared.store.uses().await?;
        let askers = self.one_of_each_role(key).await?;
        let mut looked = Looked { roles: askers.iter().map(roles_of).collect(), ..Looked::default() };
        for used in uses.tables.iter().filter(|used| used.rows >= SMALL) {
            looked.large.push(used.name.clone());
            let scans = self.policies_that_scan(key, &used.name, &askers).await?;
            let of = |advice| Advised { collection: used.name.clone(), advice };
            looked.advice.extend(scans.into_iter().chain(by_statistics(used, uses.counted)).map(of));
        }
        looked.advice.extend(self.too_deep().await?);
        looked.uses = uses;
        Ok(looked)
    }

    /// Anonymous callers, and one person for each set of roles: conditions of a policy need somebody's values.
    async fn one_of_each_role(&self, key: &System<Import>) -> Result<Vec<Asker>, Failure> {
        /// Most sets of roles that are looked at.
        const MOST: usize = 100;
        let mut askers = vec![Asker::anonymous()];
        self.people(key, |row| {
            let person = Asker::person(row.clone());
            if askers[1..].iter().all(|known| known.roles != person.roles) {
                askers.push(person);
            }
            askers.len() <= MOST
        })
        .await?;
        Ok(askers)
    }

    async fn too_deep(&self) -> Result<Vec<Advised>, Failure> {
        const MOST: u32 = 1_000;
        let (revision, mut found) = (self.revision(), Vec::new());
        for collection in &revision.app.collections {
            for group in collection.groups.iter().filter(|group| group.inherits.is_some()) {
                let rows = self.shared.store.too_deep(group, MOST).await?.len();
                if rows > 0 {
                    let advice = Advice::TooDeep { group: group.name.clone(), rows, most: MOST as usize };
                    found.push(Advised { collection: collection.name.clone(), advice });
                }
            }
        }
        Ok(found)
    }

    async fn policies_that_scan(&self, key: &System<Import>, collection: &str, askers: &[Asker]) -> Result<Vec<Advice>, Failure> {
        let revision = self.revision();
        let Some(of) = revision.app.collection(collection) else { return Ok(Vec::new()) };
        let (read, now_ms) = (revision.verbs.read, self.clock().now_ms());
        let mut found: Vec<Advice> = Vec::new();
        for asker in askers {
            let Some(lacked) = self.plan_of(key, asker, (read, of.id), None).await?.map(|plan| plan.lacks).filter(|lacks| !lacks.is_empty()) else {
                continue;
            };
            let principal = asker.principal();
            let deciding = revision.policies.outlook(&principal, read, of.id, now_ms).filter(|reason| reason.applies != Some(false));
            let names: Vec<String> = deciding.map(|reason| reason.policy.id.to_string()).collect();
            let role = roles_of(asker).join(" and ");
            match found
                .iter_mut()
                .find(|advice| matches!(advice, Advice::PolicyScans { policies, lacks, .. } if *policies == names && *lacks == lacked))
            {
                Some(Advice::PolicyScans { roles, .. }) => roles.push(role),
                _ => found.push(Advice::PolicyScans { roles: vec![role], policies: names, lacks: lacked }),
            }
        }
        Ok(found)
    }
}

fn roles_of(asker: &Asker) -> Vec<String> {
    if asker.row.is_empty() { vec!["anonymous".to_owned()] } else { asker.roles.iter().map(|role| role.to_string()).collect() }
}

/// What the database's own statistics advise about a table.
fn by_statistics(used: &TableUse, counted: bool) -> Vec<Advice> {
    if !counted {
        return Vec::new();
    }
    let mut found = Vec::new();
    // A table that is copied now and then is read whole as well.
    if used.walks >= READS && used.walked / used.walks >= used.rows / 4 {
        found.push(Advice::ReadRowByRow { times: used.walks, rows: used.walked / used.walks });
    }
    if used.walks + used.searches >= READS {
        let unused = used.indexes.iter().filter(|index| index.searches == 0);
        found.extend(unused.map(|index| Advice::UnusedIndex { columns: index.columns.clone(), bytes: index.bytes }));
    }
    if used.dead >= SMALL && used.dead > used.rows / 2 {
        found.push(Advice::DeadRows { dead: used.dead, live: used.rows });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use haechi_store::IndexUse;

    #[test]
    fn statistics_advise_when_they_say_something() {
        let index = |searches| IndexUse { columns: vec!["rank".to_owned()], searches, bytes: 8_192 };
        let used = |walks, searches, dead| TableUse {
            name: "tasks".to_owned(),
            rows: 10_000,
            walks,
            walked: walks * 10_000,
            searches,
            dead,
            indexes: vec![index(0), index(5)],
        };
        assert_eq!(by_statistics(&used(3, 20, 100), true), [], "few reads say nothing");
        assert_eq!(by_statistics(&used(200, 0, 9_000), false), [], "nothing was counted");
        let unused = Advice::UnusedIndex { columns: vec!["rank".to_owned()], bytes: 8_192 };
        assert_eq!(by_statistics(&used(3, 200, 100), true), std::slice::from_ref(&unused));
        assert_eq!(
            by_statistics(&used(100, 0, 5_001), true),
            [Advice::ReadRowByRow { times: 100, rows: 10_000 }, unused, Advice::DeadRows { dead: 5_001, live: 10_000 }]
        );
        let first_rows = TableUse { walked: 2_000, ..used(100, 100, 0) };
        assert!(!by_statistics(&first_rows, true).iter().any(|advice| matches!(advice, Advice::ReadRowByRow { .. })), "a page of twenty");
    }
}

//! Compares rows with the ledger: each row must match its last entry.

use crate::{
    gate::Gate,
    ledger::audit::{LastEntries, PAGE, Walk},
    ledger::journal::CHANGED_BY_USE,
    system::{Area, System},
};
use haechi_model::{App, Collection, Comparison, Failure, Operand, Predicate, Row, Step, Table};
use haechi_store::Journal;
use std::collections::HashSet;

/// Rows of a system table that are read together.
const STATED_TOGETHER: u32 = 200;

/// A row of a system table: its name in the ledger, and its digest now.
type Suspect = (String, Option<Vec<u8>>);

impl Gate {
    /// Reads the rest of the ledger and compares rows. Returns how many named targets are gone without an entry for their deletion.
    pub(crate) async fn walk_rest(&self, walk: &mut Walk, targets: Vec<String>) -> Result<u64, Failure> {
        walk.heard.extend(targets.iter().map(|target| (target.clone(), Vec::new())));
        self.walk_to(walk, None).await?;
        self.hear_waiting(walk).await?;
        let revision = self.revision();
        let mut gone = 0;
        for target in targets {
            let deleted = walk.heard.remove(&target).unwrap_or_default().contains(&None);
            let Some((collection, id)) = target.split_once('/').and_then(|(name, id)| Some((revision.app.collection(name)?.id, id))) else {
                continue;
            };
            if !deleted && self.shared.store.row(collection, id).await?.is_none() {
                gone += 1;
            }
        }
        self.check_rows(walk).await?;
        Ok(gone)
    }

    /// Compares every row with its last entry. Rows that differ are checked again, with the entries written meanwhile.
    pub(crate) async fn check_rows(&self, walk: &mut Walk) -> Result<(), Failure> {
        if walk.rows.is_none() {
            return Ok(());
        }
        let revision = self.revision();
        let mut unseen: HashSet<String> = walk.rows.iter().flatten().map(|(target, _)| target.clone()).collect();
        let mut suspects: Vec<(usize, String)> = Vec::new();
        for collection in &revision.app.collections {
            let mut after = String::new();
            loop {
                let rows = self.shared.store.rows_after(collection.id, &after, PAGE).await?;
                let until = rows.last().and_then(|last| last[Collection::ID].as_text());
                self.compare_lists(walk, collection, &rows, (&after, until)).await?;
                let Some(until) = until else { break };
                after = until.to_owned();
                for row in &rows {
                    walk.report.rows += 1;
                    let id = row[Collection::ID].as_text().unwrap_or_default();
                    let target = format!("{}/{id}", collection.name);
                    unseen.remove(&target);
                    if walk.known(&target) != Some(self.shared.journal.row_digest(collection, row).as_slice()) {
                        suspects.push((collection.id, id.to_owned()));
                    }
                }
            }
        }
        let system = if walk.states_system { self.system_suspects(walk, &mut unseen).await? } else { Vec::new() };
        for target in unseen {
            let Some((name, id)) = target.split_once('/') else { continue };
            suspects.extend(revision.app.collection(name).map(|collection| (collection.id, id.to_owned())));
        }
        self.check_again(walk, &revision.app, suspects, system).await
    }

    /// Compares the lists of references in some rows with their hidden tables, from after an id to another. What differs is looked at again
    /// in one statement: somebody may have written between the two reads.
    async fn compare_lists(&self, walk: &mut Walk, collection: &Collection, rows: &[Row], between: (&str, Option<&str>)) -> Result<(), Failure> {
        for list in &collection.lists {
            let hidden = self.shared.store.listed_between(collection.id, list.field, between.0, between.1).await?;
            let mut stored: HashSet<Box<str>> = HashSet::new();
            for row in rows {
                let id = row[Collection::ID].as_text().unwrap_or_default();
                stored.extend(haechi_model::references(&row[list.field]).iter().map(|target| format!("{id}/{target}").into()));
            }
            let row_of = |pair: &str| pair.split('/').next().unwrap_or_default().to_owned();
            let differ: std::collections::BTreeSet<String> = stored.symmetric_difference(&hidden).map(|pair| row_of(pair)).collect();
            for id in differ {
                if !self.shared.store.astray(collection.id, list.field, &id).await?.is_empty() {
                    let field = &collection.fields[list.field].name;
                    walk.report.find(
                        None,
                        format!("{}/{id}: the references that the database keeps for `{field}` are not those of its list", collection.name),
                    );
                }
            }
        }
        Ok(())
    }

    /// Rows of system tables that differ from their last entry: their names in the ledger, and their digests now.
    async fn system_suspects(&self, walk: &mut Walk, unseen: &mut HashSet<String>) -> Result<Vec<Suspect>, Failure> {
        let mut suspects = Vec::new();
        for (number, table) in self.shared.journal.stated_tables() {
            let mut after = String::new();
            loop {
                let rows = self.shared.store.rows_after(number, &after, PAGE).await?;
                let Some(last) = rows.last() else { break };
                after = last[Collection::ID].as_text().unwrap_or_default().to_owned();
                for row in &rows {
                    walk.report.rows += 1;
                    let target = self.shared.journal.system_target(table, row[Collection::ID].as_text().unwrap_or_default());
                    let digest = self.shared.journal.system_digest(table, row).to_vec();
                    unseen.remove(&target);
                    if walk.known(&target) != Some(digest.as_slice()) {
                        suspects.push((target, Some(digest)));
                    }
                }
            }
            let gone: Vec<String> = unseen.iter().filter(|target| target.starts_with(&format!("{}/", table.name))).cloned().collect();
            suspects.extend(gone.into_iter().map(|target| (target, None)));
        }
        Ok(suspects)
    }

    /// Writes new digests of the system tables' rows to the ledger, for rows that match it; for all rows where the ledger has none yet.
    pub(crate) async fn state_system<A: Area>(&self, key: &System<A>, last: Option<&LastEntries>) -> Result<(), Failure> {
        for (number, table) in self.shared.journal.stated_tables() {
            let mut after = String::new();
            loop {
                let rows = self.shared.store.rows_after(number, &after, STATED_TOGETHER).await?;
                let Some(end) = rows.last() else { break };
                after = end[Collection::ID].as_text().unwrap_or_default().to_owned();
                let id = |row: &Row| row[Collection::ID].as_text().unwrap_or_default().to_owned();
                let said = |row: &&Row| {
                    let known = last.and_then(|last| last.get(&self.shared.journal.system_target(table, &id(row))));
                    last.is_none() || known.is_some_and(|(_, digest)| *digest == self.shared.journal.system_digest(table, row))
                };
                let same: Vec<&Row> = rows.iter().filter(said).collect();
                // A row that was changed or ended meanwhile has its own entry.
                match self.state_rows(key, number, table, &same).await {
                    Err(Failure::Missed(_)) => {
                        for row in same {
                            match self.state_rows(key, number, table, &[row]).await {
                                Ok(()) | Err(Failure::Missed(_)) => {}
                                Err(failure) => return Err(failure),
                            }
                        }
                    }
                    stated => stated?,
                }
            }
        }
        Ok(())
    }

    /// One entry for rows of a system table, provided they are still as they were read.
    async fn state_rows<A: Area>(&self, key: &System<A>, number: usize, table: &Table, rows: &[&Row]) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let id = |row: &Row| row[Collection::ID].as_text().unwrap_or_default().to_owned();
        let stated: Vec<String> = rows.iter().filter_map(|row| self.shared.journal.state(number, &id(row), Some(row), &[])).collect();
        let entry = self.shared.system_entry("rebase", None, format!("\"stated\":[{}]", stated.join(",")));
        let mut change = self.shared.system_change(key, vec![entry]);
        for row in rows {
            let same = row.iter().zip(&table.columns).enumerate().filter(|(_, (_, column))| column.name != CHANGED_BY_USE);
            let same = same.map(|(at, (value, _))| Predicate::Compare(Operand::Column(at), Comparison::Equal, Operand::Constant(value.clone())));
            change.steps.push(Step::Lock { table: number, id: id(row).into(), filter: Predicate::all(same), version: None, miss: 0 });
        }
        self.shared.commit(change).await.map(|_| ())
    }

    /// Reads the rows first and the log after them: the log up to then must have an entry for what a row says now.
    async fn check_again(&self, walk: &mut Walk, app: &App, suspects: Vec<(usize, String)>, system: Vec<Suspect>) -> Result<(), Failure> {
        let mut now = Vec::with_capacity(suspects.len() + system.len());
        for (target, digest) in system {
            let before = walk.known(&target).map(<[u8]>::to_vec);
            walk.heard.insert(target.clone(), vec![before]);
            now.push((target, digest));
        }
        for (collection, id) in suspects {
            let digest =
                self.shared.store.row(collection, &id).await?.map(|row| self.shared.journal.row_digest(&app.collections[collection], &row).to_vec());
            let target = format!("{}/{id}", app.collections[collection].name);
            let before = walk.known(&target).map(<[u8]>::to_vec);
            walk.heard.insert(target.clone(), vec![before]);
            now.push((target, digest));
        }
        if now.is_empty() {
            return Ok(());
        }
        self.settle().await;
        self.walk_to(walk, None).await?;
        self.hear_waiting(walk).await?;
        let mut wrong: Vec<(Option<i64>, String)> = Vec::new();
        for (target, digest) in now {
            let heard = walk.heard.remove(&target).unwrap_or_default();
            let position = walk.rows.iter().find_map(|rows| rows.get(&target)).map(|(position, _)| *position);
            let known = heard.iter().any(Option::is_some);
            let what = match digest {
                found if heard.contains(&found) => continue,
                Some(_) if known => "was edited behind the ledger's back: it is not as its last entry left it",
                Some(_) => "was inserted behind the ledger's back: no entry makes it",
                None => "was deleted behind the ledger's back: no entry deletes it",
            };
            wrong.push((position, format!("{target} {what}")));
        }
        wrong.sort();
        wrong.into_iter().for_each(|(position, what)| walk.report.find(position, what));
        Ok(())
    }
}

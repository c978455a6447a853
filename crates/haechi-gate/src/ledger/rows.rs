//! Rows against the ledger: each must be as its last entry left it.

use crate::{
    gate::Gate,
    ledger::audit::{PAGE, Walk},
};
use haechi_model::{App, Collection, Failure};
use std::collections::HashSet;

impl Gate {
    /// Walks to the end and compares the rows; returns how many of the targets named have gone without an entry that deletes them.
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
            if !deleted && self.0.store.row(collection, id).await?.is_none() {
                gone += 1;
            }
        }
        self.check_rows(walk).await?;
        Ok(gone)
    }

    /// Compares every row with its last entry. Rows that do not fit are looked at once more, beside what was written meanwhile.
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
                let rows = self.0.store.rows_after(collection.id, &after, PAGE).await?;
                let Some(last) = rows.last() else { break };
                after = last[Collection::ID].as_text().unwrap_or_default().to_owned();
                for row in &rows {
                    walk.report.rows += 1;
                    let id = row[Collection::ID].as_text().unwrap_or_default();
                    let target = format!("{}/{id}", collection.name);
                    unseen.remove(&target);
                    if walk.known(&target) != Some(self.0.journal.row_digest(collection, row).as_slice()) {
                        suspects.push((collection.id, id.to_owned()));
                    }
                }
            }
        }
        for target in unseen {
            let Some((name, id)) = target.split_once('/') else { continue };
            suspects.extend(revision.app.collection(name).map(|collection| (collection.id, id.to_owned())));
        }
        self.check_again(walk, &revision.app, suspects).await
    }

    /// Reads the rows first and the log after them: what a row says now, an entry of the log up to then must say.
    async fn check_again(&self, walk: &mut Walk, app: &App, suspects: Vec<(usize, String)>) -> Result<(), Failure> {
        let mut now = Vec::with_capacity(suspects.len());
        for (collection, id) in suspects {
            let digest = self.0.store.row(collection, &id).await?.map(|row| self.0.journal.row_digest(&app.collections[collection], &row).to_vec());
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

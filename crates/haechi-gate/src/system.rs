//! Keys to work that no caller may do. Each key names its area, is recorded in the ledger, and is handed out once.

use crate::authenticate::Authenticator;
use haechi_model::Actor;
use std::{marker::PhantomData, sync::Arc};

/// An area that a system key opens.
pub trait Area: sealed::Sealed {
    /// Name in the ledger.
    const NAME: &'static str;
    /// The tables that it opens.
    const TABLES: &'static [&'static str] = &[];
}

mod sealed {
    pub trait Sealed {}
}

/// Planning and applying migrations.
#[derive(Debug)]
pub enum Schema {}
/// Importing rows as an operator.
#[derive(Debug)]
pub enum Import {}
/// Reading the whole ledger.
#[derive(Debug)]
pub enum Audit {}

/// Copying everything into one file.
#[derive(Debug)]
pub enum Backup {}
/// People, their credentials and their sessions.
#[derive(Debug)]
pub enum Identity {}
/// Jobs, their runs and their schedules.
#[derive(Debug)]
pub enum Jobs {}

impl sealed::Sealed for Schema {}
impl sealed::Sealed for Import {}
impl sealed::Sealed for Audit {}
impl sealed::Sealed for Identity {}
impl sealed::Sealed for Backup {}
impl sealed::Sealed for Jobs {}
impl Area for Backup {
    const NAME: &'static str = "backup";
}
impl Area for Schema {
    const NAME: &'static str = "schema";
}
impl Area for Import {
    const NAME: &'static str = "import";
}
impl Area for Audit {
    const NAME: &'static str = "audit";
}

impl Area for Identity {
    const NAME: &'static str = "identity";
    const TABLES: &'static [&'static str] = &["users", "_sessions", "_passwords", "_keys", "_once", "_buckets"];
}

impl Area for Jobs {
    const NAME: &'static str = "jobs";
    const TABLES: &'static [&'static str] = &["_jobs", "_job_runs", "_job_attempts", "_job_results", "_schedules", "_pauses"];
}

/// A key to an area. Only opening a gate makes one.
#[derive(Debug)]
pub struct System<A: Area> {
    area: PhantomData<A>,
}

impl<A: Area> System<A> {
    pub(crate) fn new() -> Self {
        Self { area: PhantomData }
    }

    pub(crate) fn actor() -> Arc<Actor> {
        Arc::new(Actor { kind: "operator", id: A::NAME.into() })
    }
}

/// All keys of a gate.
pub struct SystemKeys {
    /// Planning and applying migrations.
    pub schema: System<Schema>,
    /// Importing rows as an operator.
    pub import: System<Import>,
    /// Reading the whole ledger.
    pub audit: System<Audit>,
    /// Copying everything into one file.
    pub backup: System<Backup>,
    /// Jobs, their runs and their schedules; taken by the feature that runs them.
    pub jobs: Option<System<Jobs>>,
    /// People, their credentials and their sessions; taken by the feature that looks after them.
    pub identity: Option<(System<Identity>, Authenticator)>,
}

impl SystemKeys {
    pub(crate) fn new(authenticator: Authenticator) -> Self {
        Self {
            schema: System::new(),
            import: System::new(),
            audit: System::new(),
            backup: System::new(),
            jobs: Some(System::new()),
            identity: Some((System::new(), authenticator)),
        }
    }

    /// All areas with the tables that each opens, for the snapshot that reviews them.
    #[must_use]
    pub fn areas() -> Vec<(&'static str, &'static [&'static str])> {
        vec![
            (Schema::NAME, Schema::TABLES),
            (Import::NAME, Import::TABLES),
            (Audit::NAME, Audit::TABLES),
            (Backup::NAME, Backup::TABLES),
            (Identity::NAME, Identity::TABLES),
            (Jobs::NAME, Jobs::TABLES),
        ]
    }
}

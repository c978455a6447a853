//! What an app folder declares, and the data of reading and writing it.
//!
//! This crate knows no database, no policy engine and no HTTP. Everything in it is plain data that has been
//! validated: an [`App`] that exists is one that can be served.

mod action;
mod app;
mod bounds;
mod change;
mod check;
mod checks;
mod class;
mod collection;
mod config;
mod declared;
mod draft;
mod egress;
mod evaluate;
#[cfg(test)]
mod faults;
mod field;
mod field_type;
mod files;
pub mod filter;
mod finding;
pub mod forms;
mod group;
mod groups;
mod implication;
mod input;
mod job;
mod json;
mod layout;
mod list;
mod lookup;
mod message;
mod name;
mod numbering;
mod operand;
mod order;
mod output;
mod pattern;
mod positions;
mod predicate;
mod read;
mod rules;
mod schema;
mod section;
mod shape;
mod sort;
mod statement;
pub mod stored;
mod table;
mod thing;
mod time;
mod value;
mod write;

pub use action::VERBS;
pub use app::{ANONYMOUS_VERBS, App, PolicyFile};
pub use bounds::Bounds;
pub use change::{Actor, Change, Claim, EntryDraft, EntryKind, Failure, HOUSEKEEPING, Miss, Outcome, Put, Row, Step};
pub use check::Check;
pub use class::{Class, ClassId, Sensitivity};
pub use collection::{Broken, Collection, DeclaredAction, ListTable, person};
pub use config::{
    AuthConfig, Config, Connections, DatabaseConfig, DatabaseUrl, GraphqlConfig, GrpcConfig, LedgerConfig, LimitsConfig, LiveConfig, LogConfig,
    ReadsLogged, SecretRef, ServerConfig, SignUp, SiteConfig, TelemetryConfig, TlsFiles, Trust, Witness, database_hosts, database_url_of_one_host,
};
pub use declared::{Declared, TypeChange};
pub use egress::Egress;
pub use field::{DefaultValue, Field, FieldType, INDEX_BYTES, OnDelete};
pub use files::why;
pub use finding::{Finding, Findings, Severity, Source};
pub use group::{Group, MAX_ANCESTORS};
pub use job::{Cron, CronError, DeclaredService, Effect, Job, Member, Missed, Overlap, Queue, RunsAs, Schedule, Slot};
pub use json::{Json, JsonError, parse_json, write_json_text};
pub use list::{Elements, Relation, items, references, stored_references, without_references};
pub use lookup::{Alone, Lookup};
pub use message::{MASKED_FIELDS, field_number, write_bytes, write_value, write_varint};
pub use name::{name_problem, pascal, snake, suggest};
pub use numbering::{Numbering, Series};
pub use operand::Operand;
pub use order::Circle;
pub use output::{Cells, Mask, Output};
pub use pattern::Pattern;
pub use positions::{CollectionId, FieldId, USERS};
pub use predicate::{Comparison, LikePart, Predicate, fold_case};
pub use read::FieldError;
pub use rules::{OnUpdate, Rules};
pub use schema::{collection_schema, config_schema, policy_test_schema};
pub use shape::{Content, Part, RowForm, Shape, Written};
pub use sort::Order;
pub use statement::{Aggregate, AggregateFunction, PerParent, RowPage, Select};
pub use table::{Column, Index, ORGANISATION, Reference, RowCheck, Table};
pub use thing::ThingKind;
pub use time::{format_date, format_datetime, parse_date, parse_datetime, write_date, write_datetime};
pub use value::{Storage, Value};

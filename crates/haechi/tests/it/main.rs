//! The house as a whole, on both databases.
#![expect(clippy::unwrap_used, clippy::panic, clippy::too_many_lines, reason = "a test that meets what it did not expect ends loudly")]

mod abuse;
mod archive;
mod attack;
mod backup;
mod bad_days;
mod clients;
mod crash;
mod database;
mod declared;
mod doors;
mod embed;
mod fixture;
mod flood;
mod found;
mod graphql;
mod grpc;
mod hardening;
mod identity;
mod import;
mod languages;
mod ledger;
mod live;
mod network;
mod oracle;
mod process;
mod races;
mod rest;
mod schema;
mod snapshots;
mod socket;
mod sweep;
mod telemetry;
mod timing;
mod types;
mod values;

//! The house as a whole, on both databases.

mod attack;
mod fixture;
mod ledger;
mod races;
mod rest;

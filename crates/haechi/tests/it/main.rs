//! The house as a whole, on both databases.

mod attack;
mod crash;
mod fixture;
mod ledger;
mod races;
mod rest;

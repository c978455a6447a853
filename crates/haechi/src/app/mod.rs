//! An app folder and all that is open for it: database, people, rows, starting and ending.

mod around;
pub mod database;
pub(crate) mod embed;
pub mod folder;
pub mod house;
pub mod obstacles;
pub mod people;
mod reload;
pub mod report;
pub mod rows;
pub(crate) mod sentinel;
pub mod shutdown;
pub mod trial;

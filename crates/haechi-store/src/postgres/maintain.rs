//! Statistics.

use super::{Postgres, connection::failure};
use haechi_model::Failure;

impl Postgres {
    /// Gathers statistics of tables. The server does it by itself, but only some minutes after a table was filled.
    pub(crate) async fn analyse(&self, tables: &[String]) -> Result<(), Failure> {
        let names: Vec<String> = tables.iter().map(|table| format!("\"{table}\"")).collect();
        let client = self.client().await?;
        client.batch_execute(&format!("ANALYZE {}", names.join(", "))).await.map_err(|error| failure(&error))
    }
}

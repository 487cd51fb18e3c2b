//! Records of calls: how many a second reach PostgreSQL through the node's own writer, beside what the
//! database takes of anybody; and how long a page of many millions takes to be found.

#[path = "../../../store/tests/engines/postgres.rs"]
#[expect(clippy::unwrap_used, reason = "as a test, it has nobody to tell")]
mod postgres;

mod fill;
mod search;
mod write;

use std::{fmt, path::Path};

use serde_json::{Value, json};
use store::Store;

use self::postgres::Postgres;
use crate::spread::Spread;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Records that each round writes; 0 for none.
    pub records: u32,
    /// Rounds of each way to write.
    pub rounds: u32,
    /// Records that are searched; 0 for no search.
    pub rows: u32,
    /// Searches of each kind, for a first page and for a later one.
    pub searches: u32,
    /// Searched in SQLite, not in PostgreSQL.
    pub sqlite: bool,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    written: Vec<(&'static str, Spread)>,
    found: Vec<search::Found>,
}

/// What a first or a later page may take at most, so that 99 of 100 do not take longer.
const MOST_MS: f64 = 50.0;
/// Records a second that are written at least.
const LEAST: f64 = 10_000.0;

/// Measures, and tells `say` how far it is.
///
/// # Errors
/// There is no PostgreSQL, or the database fails.
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Report, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let folder = tempfile::tempdir()?;
    let mut report = Report::default();
    let needs_server = plan.records > 0 || plan.rows > 0 && !plan.sqlite;
    let server = needs_server
        .then(|| Postgres::start(&DURABLE))
        .transpose()?;
    let url = server.as_ref().map(|server| server.url("postgres"));
    runtime.block_on(async {
        if let Some(url) = url.as_deref().filter(|_| plan.records > 0) {
            report.written = write::measure(plan, url, folder.path(), say).await?;
        }
        if plan.rows > 0 {
            let url = match &url {
                Some(url) if !plan.sqlite => url.as_str(),
                _ => "sqlite:search.db",
            };
            report.found = search::measure(plan, url, folder.path(), say).await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    drop(server);
    Ok(report)
}

/// The server as people run it: what it says is written survives a power failure.
const DURABLE: [&str; 4] = [
    "fsync=on",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "maintenance_work_mem=512MB",
];

async fn open(url: &str, folder: &Path) -> Result<Store, store::StoreError> {
    Store::open(url, folder).await
}

impl Report {
    /// Whether what is promised was met.
    pub fn is_met(&self) -> bool {
        let writer = self.written.iter().find(|(way, _)| *way == write::WRITER);
        let is_quick = writer.is_none_or(|(_, rate)| rate.median().unwrap_or(0.0) >= LEAST);
        is_quick && self.found.iter().all(|found| found.worst() <= MOST_MS)
    }

    /// All figures.
    pub fn json(&self) -> Value {
        let written = self.written.iter();
        let written: serde_json::Map<_, _> = written
            .map(|(way, rate)| ((*way).to_owned(), rate.json()))
            .collect();
        let found: Vec<_> = self.found.iter().map(search::Found::json).collect();
        json!({ "written_per_second": written, "found_ms": found })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.written.is_empty() {
            writeln!(f, "records a second, median (lowest to highest)")?;
        }
        for (way, rate) in &self.written {
            writeln!(f, "  {way:<28} {rate:.0}")?;
        }
        if !self.found.is_empty() {
            writeln!(
                f,
                "milliseconds for a page of 100: p50, p99, longest; of a later page"
            )?;
        }
        for found in &self.found {
            writeln!(f, "  {found}")?;
        }
        Ok(())
    }
}

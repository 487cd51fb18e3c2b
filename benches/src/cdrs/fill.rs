//! Many records, made by the database itself.

use std::path::Path;

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions,
};

/// The first call's time; one follows each 100 ms.
pub(super) const START: i64 = 1_763_700_000_000;
pub(super) const STEP: i64 = 100;

type Error = Box<dyn std::error::Error>;

/// The indexes of the table are made anew when it is full: so it takes minutes, not hours.
pub(super) async fn fill(url: &str, folder: &Path, rows: u32) -> Result<(), Error> {
    if let Some(file) = url.strip_prefix("sqlite:") {
        let options = SqliteConnectOptions::new().filename(folder.join(file));
        let mut connection = <SqliteConnection as sqlx::Connection>::connect_with(&options).await?;
        let indexes = "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'cdrs' AND type = 'index' \
                       AND sql IS NOT NULL";
        let indexes: Vec<(String, String)> =
            sqlx::query_as(indexes).fetch_all(&mut connection).await?;
        let numbers = format!(
            "WITH RECURSIVE numbers (n) AS \
             (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})"
        );
        for statement in statements(&indexes, &numbers, "printf('%012d', n)") {
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await?;
        }
        connection.close().await?;
    } else {
        let mut connection = PgConnection::connect(url).await?;
        let indexes = "SELECT indexname::text, indexdef FROM pg_indexes WHERE tablename = 'cdrs' \
                       AND indexname <> 'cdrs_pkey'";
        let indexes: Vec<(String, String)> =
            sqlx::query_as(indexes).fetch_all(&mut connection).await?;
        let numbers = format!("WITH numbers AS (SELECT generate_series(1, {rows}::bigint) AS n)");
        for statement in statements(&indexes, &numbers, "to_char(n, 'FM000000000000')") {
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await?;
        }
        sqlx::query("VACUUM ANALYZE cdrs")
            .execute(&mut connection)
            .await?;
        connection.close().await?;
    }
    Ok(())
}

fn statements(indexes: &[(String, String)], numbers: &str, digits: &str) -> Vec<String> {
    let drop = indexes.iter().map(|(name, _)| format!("DROP INDEX {name}"));
    let create = indexes.iter().map(|(_, definition)| definition.clone());
    let insert = format!(
        "INSERT INTO cdrs (id, call_id, from_uri, from_user, to_uri, to_user, request_uri, source, transport, \
         origin, callee_user, tenant, trunk, route, started_ms, ringing_ms, answered_ms, ended_ms, status, reason, \
         ended_by, cause, datapath, from_caller_packets, from_caller_bytes, from_caller_lost, \
         from_caller_jitter_ms, from_caller_mos, from_callee_packets, from_callee_bytes, from_callee_lost, \
         from_callee_jitter_ms, from_callee_mos) \
         {numbers}, mixed AS (SELECT n, (n * 2654435761) % 1000003 AS h, (n * 40503) % 999983 AS k FROM numbers), \
         named AS (SELECT n, h, k, CASE WHEN h % 5 = 0 THEN 'anonymous' ELSE '+1555' || (h % 20000) END AS caller, \
         '+4930' || (k % 200000) AS called FROM mixed) \
         SELECT '00000000-0000-7000-8000-' || {digits}, 'call-' || n || '@192.0.2.1', \
         'sip:' || caller || '@example.test', caller, 'sip:' || called || '@example.test', called, \
         'sip:' || called || '@198.51.100.1:5060', '192.0.2.1:5060', 'udp', \
         CASE WHEN h % 2 = 0 THEN 'carrier-a' ELSE 'user' || (h % 2000) || '@example.test' END, \
         CASE WHEN h % 3 = 0 THEN 'user' || (k % 2000) || '@example.test' END, \
         CASE WHEN h % 100 = 1 THEN 'small' WHEN h % 10 = 9 THEN 'large' WHEN h % 4 <> 0 THEN 'default' END, \
         CASE WHEN h % 7 <> 0 THEN 'carrier-' || (k % 3) END, '+4930', \
         {START} + n * {STEP}, {START} + n * {STEP} + 150, \
         CASE WHEN h % 9 <> 0 THEN {START} + n * {STEP} + 2500 END, {START} + n * {STEP} + 62000, \
         CASE WHEN h % 9 <> 0 THEN 200 ELSE 486 END, 'OK', 'caller', 'bye', 'xdp', \
         3000, 516000, h % 3, 0.5, 4.25, 2990, 514280, k % 3, 0.5, 4.25 FROM named"
    );
    drop.chain([insert]).chain(create).collect()
}

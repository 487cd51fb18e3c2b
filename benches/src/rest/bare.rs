//! The bare handler: axum over sqlx, and nothing between.

use std::{net::SocketAddr, path::Path};

use axum::{
    Json, Router,
    extract::{self, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use store::{Store, Timestamp, Uuid};

use crate::error::BenchError;

/// As Tandem has them.
const READERS: u32 = 3;

#[derive(Clone)]
struct Pools {
    readers: SqlitePool,
    writer: SqlitePool,
}

#[derive(Deserialize)]
struct New {
    id: String,
    name: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    created_ms: i64,
    updated_ms: i64,
}

#[derive(Serialize)]
struct View {
    id: String,
    name: String,
    created: Timestamp,
    updated: Timestamp,
}

impl From<Row> for View {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created: Timestamp::from_millis(row.created_ms),
            updated: Timestamp::from_millis(row.updated_ms),
        }
    }
}

/// Serves it at `address`, with a database of Tandem's schema in `folder`, for as long as the process runs.
///
/// # Errors
/// If it cannot.
pub fn serve(address: SocketAddr, folder: &Path) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let failed = |error: &dyn std::error::Error| BenchError::Run(error.to_string());
        let store = Store::open("sqlite:bench.db", folder).await;
        store.map_err(|error| failed(&error))?.close().await;
        // As Tandem opens it.
        let options = SqliteConnectOptions::new()
            .filename(folder.join("bench.db"))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("temp_store", "memory")
            .foreign_keys(true);
        let pool = |connections| {
            let pool = SqlitePoolOptions::new().max_connections(connections);
            pool.connect_with(options.clone())
        };
        let pools = Pools {
            readers: pool(READERS).await.map_err(|error| failed(&error))?,
            writer: pool(1).await.map_err(|error| failed(&error))?,
        };
        let router = Router::new()
            .route("/v1/tenants", post(create))
            .route("/v1/tenants/{id}", get(one))
            .with_state(pools);
        let listener = tokio::net::TcpListener::bind(address).await?;
        axum::serve(listener, router).await?;
        Ok(())
    })
}

async fn one(
    State(pools): State<Pools>,
    extract::Path(id): extract::Path<String>,
) -> Result<Json<View>, StatusCode> {
    let row: Option<Row> = sqlx::query_as("SELECT * FROM tenants WHERE id = $1")
        .bind(id)
        .fetch_optional(&pools.readers)
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let row = row.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(row.into()))
}

async fn create(
    State(pools): State<Pools>,
    Json(new): Json<New>,
) -> Result<(StatusCode, Json<View>), StatusCode> {
    let now = Timestamp::now();
    write(&pools.writer, &new, now)
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let view = View {
        id: new.id,
        name: new.name,
        created: now,
        updated: now,
    };
    Ok((StatusCode::CREATED, Json(view)))
}

async fn write(writer: &SqlitePool, new: &New, now: Timestamp) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO tenants (id, name, created_ms, updated_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(new.id.as_str())
    .bind(new.name.as_str())
    .bind(now.millis())
    .bind(now.millis())
    .execute(writer)
    .await?;
    sqlx::query(
        "INSERT INTO audit (id, time_ms, tenant, actor, action, kind, target, source, request_id, detail) \
         VALUES ($1, $2, NULL, 'bench', 'create', 'tenants', $3, '127.0.0.1', '', '{}')",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(now.millis())
    .bind(new.id.as_str())
    .execute(writer)
    .await?;
    Ok(())
}

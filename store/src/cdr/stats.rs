//! How calls fared, trunk by trunk.

use sqlx::{FromRow, QueryBuilder};

use crate::{
    Store, StoreError, Timestamp,
    engine::{on_engine, within},
};

/// How the calls that went out by a trunk fared.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct TrunkStats {
    /// The trunk.
    pub trunk: String,
    /// Calls that were tried.
    pub offered: i64,
    /// Those of them that were answered.
    pub answered: i64,
    /// Those that reached the callee: that were answered, rang, or found a callee who is busy or refuses (486,
    /// 600, 603, 607). What failed otherwise, failed in a network (ITU-T E.425).
    pub effective: i64,
    /// Milliseconds that they talked, together.
    pub talk_ms: i64,
    /// Mean milliseconds from the INVITE until it rang or was answered; `None` where none came to that.
    pub post_dial_delay_ms: Option<f64>,
    /// Mean of the estimated mean opinion scores, both directions together; `None` where nothing was heard.
    pub mos: Option<f64>,
}

impl Store {
    /// The statistics of each trunk, by name, over the calls that began not before `since` and before `until`:
    /// all of them, or those of a tenant.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn trunk_stats(
        &self,
        tenant: Option<&str>,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<TrunkStats>, StoreError> {
        const FIGURES: &str = "SELECT trunk, \
            CAST(COUNT(*) AS BIGINT) AS offered, \
            CAST(COUNT(answered_ms) AS BIGINT) AS answered, \
            CAST(SUM(CASE WHEN answered_ms IS NOT NULL OR ringing_ms IS NOT NULL \
                OR status IN (486, 600, 603, 607) THEN 1 ELSE 0 END) AS BIGINT) AS effective, \
            CAST(SUM(CASE WHEN answered_ms IS NULL THEN 0 ELSE ended_ms - answered_ms END) AS BIGINT) \
                AS talk_ms, \
            CAST(AVG(COALESCE(ringing_ms, answered_ms) - started_ms) AS DOUBLE PRECISION) \
                AS post_dial_delay_ms, \
            CAST((SUM(COALESCE(from_caller_mos, 0)) + SUM(COALESCE(from_callee_mos, 0))) \
                / NULLIF(COUNT(from_caller_mos) + COUNT(from_callee_mos), 0) AS DOUBLE PRECISION) AS mos \
            FROM cdrs WHERE trunk IS NOT NULL AND started_ms >= ";
        within(async {
            on_engine!(self.reader(), pool => {
                let mut query = QueryBuilder::new(FIGURES);
                query.push_bind(since.millis());
                query.push(" AND started_ms < ").push_bind(until.millis());
                if let Some(tenant) = tenant {
                    query.push(" AND tenant = ").push_bind(tenant);
                }
                query.push(" GROUP BY trunk ORDER BY trunk");
                Ok(query.build_query_as().fetch_all(pool).await?)
            })
        })
        .await
    }
}

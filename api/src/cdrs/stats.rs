//! `/v1/stats/trunks`: how calls fared, trunk by trunk.

use std::sync::Arc;

use axum::{Json, extract};
use serde::{Deserialize, Serialize};
use store::{Timestamp, TrunkStats};
use utoipa::{IntoParams, ToSchema};

use crate::{
    State,
    access::Caller,
    problem::Problem,
    query::{List, Params},
};

/// Without `since`: a day.
const DAY_MS: i64 = 24 * 3_600_000;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsQuery {
    /// Begun not before (RFC 3339); a day before `until` unless told.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Begun before (RFC 3339); now unless told.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Of this tenant's calls.
    tenant: Option<String>,
}

/// How the calls that went out by a trunk fared.
#[derive(Serialize, ToSchema)]
pub(crate) struct TrunkFigures {
    trunk: String,
    /// Calls that were tried.
    offered: i64,
    answered: i64,
    /// Answer-seizure ratio, 0 to 1 (ITU-T E.425).
    asr: f64,
    /// Network effectiveness ratio, 0 to 1: what reached a callee who answered, rang, was busy or refused.
    ner: f64,
    /// Average call duration, in seconds; `null` where none was answered.
    acd_s: Option<f64>,
    /// Mean post-dial delay, in milliseconds: from the INVITE until it rang or was answered.
    pdd_ms: Option<f64>,
    /// Mean of the estimated mean opinion scores.
    mos: Option<f64>,
}

impl From<TrunkStats> for TrunkFigures {
    #[expect(clippy::cast_precision_loss, reason = "ratios for people")]
    fn from(stats: TrunkStats) -> Self {
        let ratio = |part: i64| part as f64 / stats.offered.max(1) as f64;
        Self {
            asr: ratio(stats.answered),
            ner: ratio(stats.effective),
            acd_s: (stats.answered > 0)
                .then(|| stats.talk_ms as f64 / 1000.0 / stats.answered as f64),
            trunk: stats.trunk,
            offered: stats.offered,
            answered: stats.answered,
            pdd_ms: stats.post_dial_delay_ms,
            mos: stats.mos,
        }
    }
}

/// How calls fared, trunk by trunk: those that are over. There is one page.
#[utoipa::path(get, path = "/stats/trunks", tag = "cdrs", params(StatsQuery),
    security(("bearer" = ["viewer"])),
    responses((status = 200, body = List<TrunkFigures>)))]
pub(super) async fn trunks(
    extract::State(state): extract::State<Arc<State>>,
    caller: Caller,
    Params(query): Params<StatsQuery>,
) -> Result<Json<List<TrunkFigures>>, Problem> {
    let until = query.until.unwrap_or_else(Timestamp::now);
    let day_before = Timestamp::from_millis(until.millis().saturating_sub(DAY_MS));
    let since = query.since.unwrap_or(day_before);
    let tenant = caller.confine(query.tenant)?;
    let stats = state.store.trunk_stats(tenant.as_deref(), since, until);
    let stats = stats.await?;
    Ok(Json(List {
        items: stats.into_iter().map(TrunkFigures::from).collect(),
        next: None,
    }))
}

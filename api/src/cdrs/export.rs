//! CDRs as a stream, for other programs: however many there are, a page of them is in memory.

use std::sync::Arc;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use store::{Cdr, CdrFilter, Cursor, MAX_PAGE, MediaFlow, StoreError, Timestamp};

use super::{CdrView, Format};
use crate::{State, problem::Problem};

/// Where an export has come to.
struct Position {
    state: Arc<State>,
    filter: CdrFilter,
    format: Format,
    cursor: Option<Cursor>,
    is_first: bool,
}

/// All calls that `filter` lets through, from `cursor` on.
pub(super) async fn export(
    state: Arc<State>,
    filter: CdrFilter,
    format: Format,
    cursor: Option<Cursor>,
) -> Result<Response, Problem> {
    let start = Position {
        state,
        filter,
        format,
        cursor,
        is_first: true,
    };
    // The first page tells whether there is a database.
    let first = start.next().await?;
    let (page, rest) = first;
    let rest = stream::try_unfold(rest, async |position: Option<Position>| match position {
        None => Ok(None),
        Some(position) => position.next().await.map(Some),
    });
    let head = stream::once(async { Ok::<_, StoreError>(page) });
    let body = Body::from_stream(futures_util::StreamExt::chain(head, rest));
    let (kind, name) = match format {
        Format::Json | Format::Ndjson => ("application/x-ndjson", "cdrs.ndjson"),
        Format::Csv => ("text/csv; charset=utf-8; header=present", "cdrs.csv"),
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, body).into_response())
}

impl Position {
    /// What comes next, and where to go on.
    async fn next(self) -> Result<(Bytes, Option<Self>), StoreError> {
        let page = self.state.store.cdrs(&self.filter, MAX_PAGE, self.cursor);
        let page = page.await?;
        let written = match self.format {
            Format::Json | Format::Ndjson => lines(page.items),
            Format::Csv => rows(page.items, self.is_first),
        };
        let rest = page.next.map(|cursor| Self {
            cursor: Some(cursor),
            is_first: false,
            ..self
        });
        Ok((written, rest))
    }
}

fn lines(cdrs: Vec<Cdr>) -> Bytes {
    let mut text = Vec::new();
    for cdr in cdrs {
        // Numbers and texts: nothing that JSON could not say.
        if serde_json::to_writer(&mut text, &CdrView::from(cdr)).is_ok() {
            text.push(b'\n');
        }
    }
    text.into()
}

const COLUMNS: [&str; 45] = [
    "id",
    "call_id",
    "from",
    "to",
    "request_uri",
    "source",
    "origin",
    "callee_user",
    "trunk",
    "route",
    "started",
    "ringing",
    "answered",
    "ended",
    "talk_ms",
    "status",
    "reason",
    "ended_by",
    "cause",
    "datapath",
    "caller_packets",
    "caller_bytes",
    "caller_lost",
    "caller_jitter_ms",
    "caller_mos",
    "callee_packets",
    "callee_bytes",
    "callee_lost",
    "callee_jitter_ms",
    "callee_mos",
    "tenant",
    "caller_rtt_ms",
    "caller_burst_ratio",
    "caller_late",
    "caller_longest_gap_ms",
    "caller_duplicates",
    "caller_reordered",
    "caller_sources",
    "callee_rtt_ms",
    "callee_burst_ratio",
    "callee_late",
    "callee_longest_gap_ms",
    "callee_duplicates",
    "callee_reordered",
    "callee_sources",
];

fn rows(cdrs: Vec<Cdr>, with_header: bool) -> Bytes {
    let mut rows = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    if with_header {
        // Memory takes everything.
        drop(rows.write_record(COLUMNS));
    }
    for cdr in cdrs {
        let time = |time: Option<Timestamp>| time.map_or(String::new(), |time| time.to_string());
        let talk = cdr.talk_time().as_millis().to_string();
        let mut row = vec![
            cdr.id.to_string(),
            harmless(cdr.call_id),
            cdr.from_uri,
            cdr.to_uri,
            cdr.request_uri,
            format!("{}:{}", cdr.transport, cdr.source),
            cdr.origin.unwrap_or_default(),
            cdr.callee_user.unwrap_or_default(),
            cdr.trunk.unwrap_or_default(),
            cdr.route.unwrap_or_default(),
            cdr.started.to_string(),
            time(cdr.ringing),
            time(cdr.answered),
            cdr.ended.to_string(),
            talk,
            cdr.status.to_string(),
            harmless(cdr.reason),
            cdr.ended_by.name().to_owned(),
            cdr.cause.name().to_owned(),
            cdr.datapath.unwrap_or_default(),
        ];
        for flow in [cdr.from_caller, cdr.from_callee] {
            row.extend(flow.map_or_else(Default::default, |flow| {
                [
                    flow.packets.to_string(),
                    flow.bytes.to_string(),
                    flow.lost.to_string(),
                    flow.jitter_ms.to_string(),
                    flow.mos.map_or(String::new(), |mos| mos.to_string()),
                ]
            }));
        }
        row.push(cdr.tenant.unwrap_or_default());
        // Behind what was there before: who reads columns by their places finds them where they were.
        for flow in [cdr.from_caller, cdr.from_callee] {
            row.extend(measured(&flow.unwrap_or_default()));
        }
        drop(rows.write_record(row));
    }
    rows.into_inner().unwrap_or_default().into()
}

/// The columns that came later.
fn measured(flow: &MediaFlow) -> [String; 7] {
    let ratio = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| ratio.to_string());
    let count = |count: Option<u64>| count.map_or(String::new(), |count| count.to_string());
    [
        ratio(flow.rtt_ms),
        ratio(flow.burst_ratio),
        count(flow.late),
        count(flow.longest_gap_ms),
        count(flow.duplicates),
        count(flow.reordered),
        count(flow.sources),
    ]
}

/// A stranger chose this text: a spreadsheet shall not take it for a formula.
fn harmless(text: String) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text,
    }
}

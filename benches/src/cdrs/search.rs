//! How long a page takes to be found.

use std::{fmt, path::Path, time::Instant};

use serde_json::{Value, json};
use store::{CdrFilter, Cursor, Timestamp};

use super::{
    Plan,
    fill::{START, STEP, fill},
    open,
};
use crate::spread::quantile;

/// Records on a page, as the API has them unless told.
const PAGE: u32 = 100;

type Error = Box<dyn std::error::Error>;

/// How long the pages of one kind of search took, in milliseconds, shortest first.
#[derive(Debug)]
pub(super) struct Found {
    name: &'static str,
    first: Vec<f64>,
    later: Vec<f64>,
}

/// A kind of search: what is looked for the `n`th time, among so many records.
type Kind = (&'static str, fn(i64, i64) -> CdrFilter);

const KINDS: [Kind; 27] = [
    ("all", |_, _| CdrFilter::default()),
    ("call_id", |n, rows| CdrFilter {
        call_id: text(format!("call-{}@192.0.2.1", n * 7_919 % rows + 1)),
        ..none()
    }),
    ("call_id, no match", |n, _| CdrFilter {
        call_id: text(format!("call-{n}@nowhere")),
        ..none()
    }),
    ("from, a number", |n, _| from(n)),
    ("from, a fifth of all", |_, _| anonymous()),
    ("from, a URI", |n, _| CdrFilter {
        from: text(format!("sip:+1555{}@example.test", n * 37 % 20_000)),
        ..none()
    }),
    ("from, no match", |n, _| CdrFilter {
        from: text(format!("nobody{n}")),
        ..none()
    }),
    ("to", |n, _| to(n)),
    ("origin, half of all", |_, _| CdrFilter {
        origin: text("carrier-a"),
        ..none()
    }),
    ("origin, a user", |n, _| CdrFilter {
        origin: text(format!("user{}@example.test", n * 2 % 2_000 + 1)),
        ..none()
    }),
    ("callee_user", |n, _| CdrFilter {
        callee_user: text(format!("user{}@example.test", n * 11 % 2_000)),
        ..none()
    }),
    ("tenant, most of all", |_, _| CdrFilter {
        tenant: text("default"),
        ..none()
    }),
    ("tenant, a hundredth", |_, _| small()),
    ("tenant, no match", |_, _| CdrFilter {
        tenant: text("nobody"),
        ..none()
    }),
    ("trunk, a third of all", |n, _| CdrFilter {
        trunk: text(format!("carrier-{}", n % 3)),
        ..none()
    }),
    ("status, a ninth of all", |_, _| CdrFilter {
        status: Some(486),
        ..none()
    }),
    ("status, no match", |_, _| CdrFilter {
        status: Some(603),
        ..none()
    }),
    ("an hour", |n, rows| hour(n, rows, none())),
    ("an hour of from, a number", |n, rows| {
        hour(n, rows, from(n))
    }),
    ("an hour of from, a fifth", |n, rows| {
        hour(n, rows, anonymous())
    }),
    ("an hour of a trunk and status", |n, rows| CdrFilter {
        trunk: text("carrier-1"),
        status: Some(486),
        ..hour(n, rows, none())
    }),
    ("a time without calls, a trunk", |_, rows| CdrFilter {
        since: Some(Timestamp::from_millis(START + (rows + 10) * STEP)),
        trunk: text("carrier-1"),
        ..none()
    }),
    ("tenant, a hundredth; from, a fifth", |_, _| CdrFilter {
        from: anonymous().from,
        ..small()
    }),
    ("tenant, a hundredth; status", |_, _| CdrFilter {
        status: Some(486),
        ..small()
    }),
    ("tenant, most; from, a number", |n, _| CdrFilter {
        tenant: text("default"),
        ..from(n)
    }),
    ("from, a fifth; to", |n, _| CdrFilter {
        to: to(n).to,
        ..anonymous()
    }),
    ("tenant and trunk", |n, _| CdrFilter {
        trunk: text(format!("carrier-{}", n % 3)),
        ..small()
    }),
];

fn none() -> CdrFilter {
    CdrFilter::default()
}

#[expect(clippy::unnecessary_wraps, reason = "as the filter has it")]
fn text(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

fn from(n: i64) -> CdrFilter {
    CdrFilter {
        from: text(format!("+1555{}", n * 37 % 20_000)),
        ..none()
    }
}

fn to(n: i64) -> CdrFilter {
    CdrFilter {
        to: text(format!("+4930{}", n * 1_009 % 200_000)),
        ..none()
    }
}

fn anonymous() -> CdrFilter {
    CdrFilter {
        from: text("anonymous"),
        ..none()
    }
}

fn small() -> CdrFilter {
    CdrFilter {
        tenant: text("small"),
        ..none()
    }
}

/// One of the hours that there are.
fn hour(n: i64, rows: i64, filter: CdrFilter) -> CdrFilter {
    const HOUR: i64 = 3_600_000;
    let hours = (rows * STEP / HOUR).max(1);
    let since = START + n * 13 % hours * HOUR;
    CdrFilter {
        since: Some(Timestamp::from_millis(since)),
        until: Some(Timestamp::from_millis(since + HOUR)),
        ..filter
    }
}

pub(super) async fn measure(
    plan: &Plan,
    url: &str,
    folder: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Found>, Error> {
    open(url, folder).await?.close().await;
    say(&format!("making {} records", plan.rows));
    let began = Instant::now();
    fill(url, folder, plan.rows).await?;
    say(&format!(
        "made them in {:.0} s",
        began.elapsed().as_secs_f64()
    ));
    // Only now, for the database knows no more of them before.
    let store = open(url, folder).await?;
    let rows = i64::from(plan.rows);
    let mut all = Vec::new();
    for (name, filter) in KINDS {
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for n in 0..i64::from(plan.searches) {
            let filter = filter(n, rows);
            // From some place within what there is.
            let place = rows - n * 7_919 % (rows / 2).max(1) - 1;
            let cursor = format!("{:x}-{:032x}", START + place * STEP, u128::MAX);
            let cursor: Cursor = cursor.parse()?;
            for (cursor, times) in [(None, &mut first), (Some(cursor), &mut later)] {
                let began = Instant::now();
                store.cdrs(&filter, PAGE, cursor).await?;
                times.push(began.elapsed().as_secs_f64() * 1_000.0);
            }
        }
        first.sort_by(f64::total_cmp);
        later.sort_by(f64::total_cmp);
        let found = Found { name, first, later };
        say(&found.to_string());
        all.push(found);
    }
    store.close().await;
    Ok(all)
}

impl Found {
    /// The p99 of the first pages or of the later ones, whichever is longer.
    pub(super) fn worst(&self) -> f64 {
        quantile(&self.first, 99).max(quantile(&self.later, 99))
    }

    pub(super) fn json(&self) -> Value {
        let figures = |times: &[f64]| json!({ "p50": quantile(times, 50), "p99": quantile(times, 99), "longest": times.last() });
        json!({ "search": self.name, "first": figures(&self.first), "later": figures(&self.later) })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<36}", self.name)?;
        for (times, end) in [(&self.first, ";"), (&self.later, "")] {
            let longest = times.last().copied().unwrap_or_default();
            let (half, most) = (quantile(times, 50), quantile(times, 99));
            write!(f, " {half:7.1} {most:7.1} {longest:7.1}{end}")?;
        }
        Ok(())
    }
}

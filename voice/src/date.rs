//! Dates as webhooks write them (RFC 2822 section 3.3, in UTC).

use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `Mon, 30 Nov 2026 01:50:13 +0000`. A time before 1970 is written as 1970's first second.
pub(crate) fn rfc2822(time: SystemTime) -> String {
    let parts = Parts::of(time);
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} +0000",
        DAYS[parts.weekday],
        parts.day,
        MONTHS[parts.month],
        parts.year,
        parts.second / 3600,
        parts.second / 60 % 60,
        parts.second % 60
    )
}

/// `2026-11-30T01:50:13Z`, which the callbacks of streams use.
pub(crate) fn iso8601(time: SystemTime) -> String {
    let parts = Parts::of(time);
    format!(
        "{}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        parts.year,
        parts.month + 1,
        parts.day,
        parts.second / 3600,
        parts.second / 60 % 60,
        parts.second % 60
    )
}

struct Parts {
    year: u64,
    /// From 0.
    month: usize,
    /// From 1.
    day: u64,
    /// From 0, a Thursday.
    weekday: usize,
    /// Of the day.
    second: u64,
}

impl Parts {
    fn of(time: SystemTime) -> Self {
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut days = seconds / 86_400;
        let weekday = usize::try_from(days % 7).unwrap_or(0);
        // Whole cycles of 400 years first: what is left is few years.
        let mut year = 1970 + days / CYCLE * 400;
        days %= CYCLE;
        while days >= days_of_year(year) {
            days -= days_of_year(year);
            year += 1;
        }
        let mut month = 0;
        while days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        Self {
            year,
            month,
            day: days + 1,
            weekday,
            second: seconds % 86_400,
        }
    }
}

/// The days of 400 years.
const CYCLE: u64 = 146_097;

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

const fn days_of_month(year: u64, month: usize) -> u64 {
    match month {
        1 if is_leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, text, iso) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z"),
            (
                951_782_400,
                "Tue, 29 Feb 2000 00:00:00 +0000",
                "2000-02-29T00:00:00Z",
            ),
            (
                1_796_003_413,
                "Mon, 30 Nov 2026 01:50:13 +0000",
                "2026-11-30T01:50:13Z",
            ),
            (
                4_107_542_399,
                "Sun, 28 Feb 2100 23:59:59 +0000",
                "2100-02-28T23:59:59Z",
            ),
            (
                4_107_542_400,
                "Mon, 01 Mar 2100 00:00:00 +0000",
                "2100-03-01T00:00:00Z",
            ),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc2822(time), text);
            assert_eq!(iso8601(time), iso);
        }
    }

    #[test]
    fn a_time_out_of_this_world_does_not_panic() {
        rfc2822(UNIX_EPOCH - Duration::from_secs(1));
        rfc2822(UNIX_EPOCH + Duration::from_secs(1 << 60));
    }
}

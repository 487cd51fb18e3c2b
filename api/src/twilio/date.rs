//! Dates as Twilio's clients write and read them.

use std::time::Duration;

use store::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// As RFC 2822 section 3.3 has it, in UTC: `Thu, 01 Jan 1970 00:00:00 +0000`.
pub(super) fn rfc2822(time: Timestamp) -> String {
    // 1970 began with a Thursday.
    let weekday = time.millis().div_euclid(86_400_000).rem_euclid(7);
    let weekday = usize::try_from(weekday).ok().and_then(|day| DAYS.get(day));
    let text = time.to_string();
    let part = |range| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok();
    let month = month.and_then(|month| MONTHS.get(month.checked_sub(1)?));
    format!(
        "{}, {} {} {} {} +0000",
        weekday.unwrap_or(&""),
        part(8..10),
        month.unwrap_or(&""),
        part(0..4),
        part(11..19)
    )
}

/// From when until when, exclusive, what a client wrote is: a day of UTC, or a second of a time in RFC 3339.
pub(super) fn span(text: &str) -> Option<(Timestamp, Timestamp)> {
    if text.len() == 10 {
        let day: Timestamp = format!("{text}T00:00:00Z").parse().ok()?;
        return Some((day, day.later(DAY)));
    }
    let time: Timestamp = text.parse().ok()?;
    Some((time, time.later(Duration::from_secs(1))))
}

/// The end of the day that begins then, where one does.
pub(super) fn day(time: Timestamp) -> Option<Timestamp> {
    (time.millis() % 86_400_000 == 0).then(|| time.later(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_mail_has_them() {
        for (millis, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_400_999, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_763_700_600_500, "Fri, 21 Nov 2025 04:50:00 +0000"),
        ] {
            assert_eq!(rfc2822(Timestamp::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_day_is_a_day_and_a_time_a_second() {
        let (from, until) = span("2000-02-29").unwrap();
        assert_eq!(from.millis(), 951_782_400_000);
        assert_eq!(until.millis() - from.millis(), 86_400_000);
        let (from, until) = span("2000-02-29T00:00:01+00:00").unwrap();
        assert_eq!(from.millis(), 951_782_401_000);
        assert_eq!(until.millis() - from.millis(), 1_000);
        for wrong in ["", "yesterday", "2000-02-30", "2000-02-29T"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }
}

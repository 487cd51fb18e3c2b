//! SIPp's statistics file: one line a second, a column for each counter.

use std::{collections::HashMap, time::Duration};

/// Counters so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls begun or taken.
    pub created: u64,
    /// Calls that went through the scenario to its end.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Calls in progress.
    pub current: u64,
    /// Messages sent again for want of an answer.
    pub retransmissions: u64,
    /// Why calls failed: SIPp's name of each reason, and how many calls.
    pub reasons: Vec<(String, u64)>,
}

impl Stats {
    /// Reads the last whole line of a file.
    pub fn parse(csv: &str) -> Option<Self> {
        let mut lines = csv.lines();
        let names: Vec<&str> = lines.next()?.split(';').collect();
        // The last line may be just being written.
        let values = lines
            .map(|line| line.split(';').collect::<Vec<_>>())
            .rfind(|values| values.len() >= names.len())?;
        let columns: HashMap<&str, &str> = names.iter().copied().zip(values).collect();
        let count = |name: &str| columns.get(name).and_then(|v| v.trim().parse().ok());
        let mut reasons: Vec<(String, u64)> = columns
            .keys()
            .filter_map(|name| {
                let reason = name.strip_prefix("Failed")?.strip_suffix("(C)")?;
                Some((reason.to_owned(), count(name).filter(|calls| *calls > 0)?))
            })
            .filter(|(reason, _)| reason != "Call")
            .collect();
        reasons.sort();
        Some(Self {
            created: count("TotalCallCreated")?,
            successful: count("SuccessfulCall(C)")?,
            failed: count("FailedCall(C)")?,
            current: count("CurrentCall")?,
            retransmissions: count("Retransmissions(C)")?,
            reasons,
        })
    }
}

/// Reads a file of response times: `date;milliseconds;number` after a line of names.
pub(super) fn response_times(csv: &str) -> Vec<Duration> {
    csv.lines()
        .filter_map(|line| line.split(';').nth(1)?.trim().parse().ok())
        .filter_map(|ms: f64| Duration::try_from_secs_f64(ms / 1000.0).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "StartTime;TotalCallCreated;CurrentCall;SuccessfulCall(C);FailedCall(C);\
        FailedUnexpectedMessage(C);FailedTimeoutOnRecv(C);Retransmissions(C);";

    #[test]
    fn the_last_whole_line_counts() {
        let csv = format!("{HEAD}\nx;1;1;0;0;0;0;0;\nx;9;2;4;3;3;0;1;\nx;10;");
        let stats = Stats::parse(&csv).unwrap();
        assert_eq!((stats.created, stats.current), (9, 2));
        assert_eq!((stats.successful, stats.failed), (4, 3));
        assert_eq!(stats.retransmissions, 1);
        assert_eq!(stats.reasons, [("UnexpectedMessage".to_owned(), 3)]);
    }

    #[test]
    fn response_times_of_each_call() {
        let csv = "Date_ms;response_time_ms;rtd_no\n24.001;2;1\n44.001;0.5;1\n";
        let times = [Duration::from_millis(2), Duration::from_micros(500)];
        assert_eq!(response_times(csv), times);
    }

    #[test]
    fn a_file_without_values_has_none() {
        assert_eq!(Stats::parse(HEAD), None);
        assert_eq!(Stats::parse(""), None);
    }
}

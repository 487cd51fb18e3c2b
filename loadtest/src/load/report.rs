//! What a run has found: a file for programs, a table for people.

use std::{fmt, fs, io, path::Path, time::Duration};

use serde::Serialize;

use crate::capture::Delivery;

/// The report. The keys of the first block are relied on by scripts; the others may change.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Calls that were tried.
    pub calls: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that did not go through to their proper end.
    pub failed: u64,
    /// RTP packets that both parties sent.
    pub rtp_sent: u64,
    /// Of those, packets that arrived at the other party as they were sent.
    pub rtp_received: u64,
    /// What did not arrive, in percent.
    pub loss_pct: f64,
    /// The path that most packets took.
    pub datapath: String,
    /// Mean opinion score over both directions of all calls, 1.0 to 4.5; 0 where none was measured.
    pub mos_avg: f64,
    /// From INVITE to 200 as the caller saw it, in milliseconds: the median.
    pub setup_ms_p50: f64,
    /// The same: 99 of 100 calls were at least as fast.
    pub setup_ms_p99: f64,

    /// Seconds of audio in each direction of a call.
    pub seconds: u32,
    /// The most calls that were up at the same time.
    pub concurrent: u64,
    /// Caller to callee.
    pub forward: Delivery,
    /// Callee to caller.
    pub backward: Delivery,
    /// Frames with a wrong checksum, of all that were recorded; `null` without a capture.
    pub bad_checksums: Option<u64>,
    /// Who counted: `capture` at both parties, or `node` where no capture is allowed.
    pub counted_by: &'static str,
    /// RTP packets that the node says it forwarded.
    pub node_forwarded: u64,
    /// Of these, in percent, how many went by XDP.
    pub xdp_pct: f64,
    /// The node's processor time during the calls, in percent of one core. What XDP does is charged to
    /// the sender of a packet on this bed, not to the node.
    pub node_cpu_pct: f64,
    /// SIP messages that had to be sent again.
    pub retransmissions: u64,
    /// Everything that was not as it should be; empty for a good run.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether every call was answered and no packet was lost or changed.
    pub const fn good(&self) -> bool {
        self.problems.is_empty()
    }

    /// Writes the file, and the folder it is in.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |name: &str, d: &Delivery| {
            let value = format!("{} sent, {} arrived, {} lost", d.sent, d.intact, d.lost());
            (name.to_owned(), value)
        };
        let checksums = match self.bad_checksums {
            Some(0) => "all right".to_owned(),
            Some(count) => format!("{count} WRONG"),
            None => "not looked at".to_owned(),
        };
        let mut rows = vec![
            (
                "calls".to_owned(),
                format!(
                    "{} tried, {} answered, {} failed ({} at once)",
                    self.calls, self.answered, self.failed, self.concurrent
                ),
            ),
            way("RTP caller -> callee", &self.forward),
            way("RTP callee -> caller", &self.backward),
            (
                "loss".to_owned(),
                format!("{:.3} % (counted by {})", self.loss_pct, self.counted_by),
            ),
            ("checksums".to_owned(), checksums),
            (
                "datapath".to_owned(),
                format!(
                    "{} ({:.1} % of packets by XDP)",
                    self.datapath, self.xdp_pct
                ),
            ),
            ("MOS".to_owned(), format!("{:.2}", self.mos_avg)),
            (
                "call setup".to_owned(),
                format!(
                    "p50 {:.1} ms, p99 {:.1} ms",
                    self.setup_ms_p50, self.setup_ms_p99
                ),
            ),
            (
                "node CPU".to_owned(),
                format!("{:.1} % of a core", self.node_cpu_pct),
            ),
        ];
        let verdict = if self.good() { "good" } else { "NOT GOOD" };
        rows.push(("result".to_owned(), verdict.to_owned()));

        let left = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let right = rows.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
        let line = format!("+-{:-<left$}-+-{:-<right$}-+", "", "");
        writeln!(f, "{line}")?;
        for (name, value) in &rows {
            writeln!(f, "| {name:<left$} | {value:<right$} |")?;
        }
        writeln!(f, "{line}")?;
        self.problems
            .iter()
            .try_for_each(|problem| writeln!(f, "- {problem}"))
    }
}

/// The value that `percent` of the values do not exceed, in milliseconds; 0 for none.
pub(super) fn percentile(values: &mut [Duration], percent: usize) -> f64 {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values
        .get(rank.saturating_sub(1))
        .map_or(0.0, |value| value.as_secs_f64() * 1000.0)
}

/// `part` of `whole` in percent; 0 of nothing is 0.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of packets are far below 2^52"
)]
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 * 100.0 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut values: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut values, 50), 50.0);
        assert_eq!(percentile(&mut values, 99), 99.0);
        assert_eq!(percentile(&mut [Duration::from_millis(7)], 99), 7.0);
        assert_eq!(percentile(&mut [], 99), 0.0);
    }

    #[test]
    fn percent_of_nothing_is_nothing() {
        assert_eq!(percent(0, 0), 0.0);
        assert_eq!(percent(1, 4), 25.0);
    }
}

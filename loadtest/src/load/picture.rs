//! The calls' quality as a picture: how long packets took through the node, over the time of the calls.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use crate::capture::traffic::Rtp;

/// Points along the time axis.
const COLUMNS: usize = 100;
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 56.0;
/// The delay axis, in powers of ten of a microsecond: 1 us to 100 ms.
const DECADES: (i32, i32) = (0, 5);

/// Delays of packets through the node, with when they were sent.
#[derive(Debug, Default)]
pub(super) struct Delays(Vec<(Duration, Duration)>);

impl Delays {
    /// Adds the packets of one direction of a call, as they were captured on both sides of the node.
    pub(super) fn add(&mut self, sent: &[Rtp<'_>], received: &[Rtp<'_>]) {
        let arrivals: HashMap<(u32, u16), Duration> = received
            .iter()
            .map(|packet| ((packet.ssrc(), packet.sequence()), packet.time))
            .collect();
        self.0.extend(sent.iter().filter_map(|packet| {
            let arrived = arrivals.get(&(packet.ssrc(), packet.sequence()))?;
            Some((packet.time, arrived.saturating_sub(packet.time)))
        }));
    }

    /// Draws them, or nothing where there are none.
    pub(super) fn draw(&self, title: &str) -> Option<String> {
        let start = self.0.iter().map(|packet| packet.0).min()?;
        let end = self.0.iter().map(|packet| packet.0).max()?;
        let span = end.saturating_sub(start).max(Duration::from_secs(1));
        let mut columns = vec![Vec::new(); COLUMNS];
        for (time, delay) in &self.0 {
            let share = (*time - start).as_secs_f64() / span.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share from 0 to 1 of a hundred columns"
            )]
            let column = (share * COLUMNS as f64) as usize;
            columns[column.min(COLUMNS - 1)].push(*delay);
        }
        columns.iter_mut().for_each(|column| column.sort_unstable());

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n\
             <text x=\"{LEFT}\" y=\"42\" fill=\"#555\">time through the node, captured on both sides of \
             it; a packet is spoken for 20 ms</text>\n",
            WIDTH + LEFT + 110.0,
            HEIGHT + TOP + 50.0,
        );
        axes(&mut svg, span);
        for (name, color, rank, place) in [
            ("slowest", "#d62728", 100, 0.0),
            ("99 %", "#ff7f0e", 99, 18.0),
            ("half", "#1f77b4", 50, 36.0),
        ] {
            curve(&mut svg, &columns, color, rank);
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{color}\">{name}</text>",
                LEFT + WIDTH + 10.0,
                TOP + 12.0 + place,
            );
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }
}

fn axes(svg: &mut String, span: Duration) {
    // Writing to a String cannot fail.
    for decade in DECADES.0..=DECADES.1 {
        let y = height_of(10_f64.powi(decade));
        let label = match decade {
            0..=2 => format!("{} us", 10_u32.pow(decade.unsigned_abs())),
            _ => format!("{} ms", 10_u32.pow((decade - 3).unsigned_abs())),
        };
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{label}</text>",
            LEFT + WIDTH,
            LEFT - 8.0,
            y + 4.0,
        );
    }
    for part in 0..=4_u32 {
        let share = f64::from(part) / 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{:.1} s</text>",
            LEFT + WIDTH * share,
            TOP + HEIGHT + 22.0,
            span.as_secs_f64() * share,
        );
    }
}

fn curve(svg: &mut String, columns: &[Vec<Duration>], color: &str, rank: usize) {
    let mut points = String::new();
    for (index, column) in columns.iter().enumerate() {
        let at = (column.len() * rank / 100).min(column.len().saturating_sub(1));
        let Some(delay) = column.get(at) else {
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a hundred columns")]
        let x = LEFT + WIDTH * (index as f64 + 0.5) / COLUMNS as f64;
        let y = height_of(delay.as_secs_f64() * 1e6);
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    let _ = writeln!(
        svg,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>"
    );
}

/// Where a delay in microseconds is, on the logarithmic axis.
fn height_of(micros: f64) -> f64 {
    let (low, high) = (f64::from(DECADES.0), f64::from(DECADES.1));
    let share = (micros.max(1.0).log10() - low) / (high - low);
    TOP + HEIGHT * (1.0 - share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_arrived_are_drawn() {
        let packet = |sequence: u8, time| {
            let mut bytes = vec![0x80, 8, 0, sequence];
            bytes.resize(172, 0);
            (bytes, Duration::from_millis(time))
        };
        let sent = [packet(1, 1000), packet(2, 1020), packet(3, 1040)];
        let received = [packet(1, 1001), packet(3, 1042)];
        let view = |packets: &'static [(Vec<u8>, Duration)]| {
            packets
                .iter()
                .map(|(bytes, time)| Rtp { time: *time, bytes })
                .collect::<Vec<_>>()
        };
        let mut delays = Delays::default();
        assert_eq!(delays.draw("nothing"), None);
        delays.add(
            &view(Box::leak(Box::new(sent))),
            &view(Box::leak(Box::new(received))),
        );
        let both = [
            (Duration::from_millis(1000), Duration::from_millis(1)),
            (Duration::from_millis(1040), Duration::from_millis(2)),
        ];
        assert_eq!(delays.0, both);
        let svg = delays.draw("two packets").unwrap();
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert!(svg.contains("two packets") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn the_axis_is_logarithmic() {
        assert!(height_of(1.0) > height_of(10.0));
        let steps = [
            height_of(1.0) - height_of(10.0),
            height_of(10.0) - height_of(100.0),
        ];
        assert!((steps[0] - steps[1]).abs() < 1e-9);
        assert!((height_of(1e9) - TOP).abs() < 1e-9);
    }
}

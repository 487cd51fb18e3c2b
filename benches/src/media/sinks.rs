//! Counts what comes back where it arrives, in an XDP program on each party's link: no socket of a party takes the relay's
//! time, and the generator has its own for sending.

use loadtest::bed::{Bed, Namespace};
use mediad::xdp::Sink;

use super::Traffic;
use crate::error::BenchError;

/// The programs on both links.
pub(crate) struct Sinks([Sink; 2]);

impl Sinks {
    /// Puts them there. From now on no media reaches the sockets of the parties.
    pub(crate) fn attach(bed: &Bed) -> Result<Self, BenchError> {
        bed.free_parties()?;
        let link = bed.party_interface();
        let attach = |space: &Namespace| -> Result<Sink, BenchError> {
            Ok(space.enter(|| Sink::attach(link))??)
        };
        Ok(Self([attach(bed.caller())?, attach(bed.callee())?]))
    }

    /// Counts from 0 on, and only packets of this run.
    pub(crate) fn begin(&mut self, run: u8) -> Result<(), BenchError> {
        let mut sinks = self.0.iter_mut();
        Ok(sinks.try_for_each(|sink| sink.begin(run))?)
    }

    /// Adds what was counted since.
    pub(crate) fn count(&self, traffic: &mut Traffic) -> Result<(), BenchError> {
        for sink in &self.0 {
            let latencies = sink.latencies()?;
            for (step, packets) in (0..).zip(latencies) {
                traffic.took(step * Sink::STEP / 1000, packets);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use loadtest::bed::{BedError, Family, Layout};

    use super::super::{Arrivals, Ends, GENERATOR_CORE, Generator, Way};
    use super::*;

    /// Needs root; without it, it says so and proves nothing.
    #[test]
    fn what_arrives_is_counted_once_and_of_its_own_run_only() {
        let layout = Layout {
            routed: true,
            ..Layout::default()
        };
        let bed = match Bed::new(layout) {
            Err(error @ BedError::NotPermitted) => return eprintln!("skipped: {error}"),
            bed => bed.unwrap(),
        };
        let ends = Ends::open(&bed, 40_000).unwrap();
        let mut sinks = Sinks::attach(&bed).unwrap();
        let (caller, callee) = ends.addresses().unwrap();
        assert_eq!(callee.ip(), bed.callee_ip(Family::V4));
        let way = |call| Way {
            call,
            from_caller: callee,
            from_callee: caller,
        };
        let ways: Vec<_> = (0..40).map(way).collect();
        let cores = [GENERATOR_CORE; 2];
        for _run in 0..2 {
            let generator = Generator::start(&ends, &ways, 8, cores, Arrivals::Sinks).unwrap();
            sinks.begin(generator.number()).unwrap();
            generator.count(true);
            thread::sleep(Duration::from_millis(200));
            generator.count(false);
            let mut traffic = generator.stop();
            sinks.count(&mut traffic).unwrap();
            assert!(traffic.sent > 0);
            assert_eq!(traffic.received, traffic.sent);
        }
        assert_eq!(ends.drain(), 0, "media reached a party's socket");
    }
}

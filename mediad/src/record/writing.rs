//! The thread that writes recordings.

use std::collections::HashMap;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rtp::record::Pause;
use tracing::warn;

use super::closing::Ended;
use super::file::Writing;
use super::{Audio, Captured};
use crate::io::monotonic_ns;

/// How often the queue is looked at.
const PACE: Duration = Duration::from_millis(20);

/// What the thread is told.
pub(super) enum Order {
    /// There is a file.
    Begin(u64, Box<Writing>),
    /// Its recording begins.
    Start { number: u64, at: u64 },
    /// It goes on in another way.
    Pause { number: u64, at: u64, how: Pause },
    /// It is over.
    End {
        number: u64,
        at: u64,
        is_unwanted: bool,
    },
    /// Everything is.
    Stop,
}

/// The thread.
pub(super) fn write(
    orders: &Receiver<Order>,
    audio: &Receiver<Audio>,
    frames: &Receiver<Captured>,
    closing: &Sender<Ended>,
) {
    let mut desk = Desk::default();
    let mut out = Vec::new();
    let close = |ended| {
        if closing.send(ended).is_err() {
            warn!("the threads that complete recordings have ended");
        }
    };
    loop {
        // Without recordings there is nothing to look at.
        if desk.all.is_empty() {
            match orders.recv() {
                Ok(order) => desk.obey(order),
                Err(_) => return,
            }
        }
        desk.obey_all(orders);
        while let Ok(heard) = audio.try_recv() {
            // What is heard of a recording comes after the order that has begun it, wherever that is by now.
            if !desk.has_begun(heard.recording) {
                desk.obey_all(orders);
            }
            if let Some(writing) = desk.all.get_mut(&heard.recording) {
                writing.put(&heard);
            }
        }
        while let Ok(captured) = frames.try_recv() {
            if !desk.has_begun(captured.recording) {
                desk.obey_all(orders);
            }
            if let Some(writing) = desk.all.get_mut(&captured.recording) {
                writing.capture(captured);
            }
        }
        for (number, at, is_unwanted) in desk.ended.drain(..) {
            if let Some(writing) = desk.all.remove(&number) {
                close(writing.finish(at, false, is_unwanted, &mut out));
            }
        }
        let now = monotonic_ns();
        for writing in desk.all.values_mut() {
            if let Some(part) = writing.go_on(now, &mut out) {
                close(part);
            }
        }
        for (_, writing) in desk.all.extract_if(|_, writing| writing.is_over(now)) {
            close(writing.finish(now, true, false, &mut out));
        }
        if desk.is_over {
            for (_, writing) in desk.all {
                close(writing.finish(now, false, false, &mut out));
            }
            return;
        }
        std::thread::sleep(PACE);
    }
}

/// What the thread has before it.
#[derive(Default)]
struct Desk {
    all: HashMap<u64, Writing>,
    /// Those that are to end, once everything is heard that came before: number, time, and whether it is not wanted.
    ended: Vec<(u64, u64, bool)>,
    is_over: bool,
}

impl Desk {
    fn obey_all(&mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.try_recv() {
            self.obey(order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Begin(number, writing) => drop(self.all.insert(number, *writing)),
            Order::Start { number, at } => {
                if let Some(writing) = self.all.get_mut(&number) {
                    writing.content.start(at);
                }
            }
            Order::Pause { number, at, how } => {
                if let Some(writing) = self.all.get_mut(&number) {
                    writing.content.pause(at, how);
                }
            }
            Order::End {
                number,
                at,
                is_unwanted,
            } => self.ended.push((number, at, is_unwanted)),
            Order::Stop => self.is_over = true,
        }
    }

    fn has_begun(&self, number: u64) -> bool {
        let writing = self.all.get(&number);
        writing.is_some_and(|writing| writing.content.has_begun())
    }
}

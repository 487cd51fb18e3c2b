//! mediad's part, with one that takes its time.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use control::{
    Endpoint, Fault,
    channel::{Events, Handler, serve},
    config,
};
use tokio::sync::{mpsc, watch};

use super::*;

/// A mediad that answers while it is `open`, and tells what it was told.
struct Mediad {
    told: mpsc::UnboundedSender<Bans>,
    open: watch::Receiver<bool>,
}

impl Handler<Media> for Mediad {
    fn handle(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'static {
        let mut open = self.open.clone();
        if let Request::Bans(bans) = request {
            self.told.send(bans).unwrap();
        }
        async move {
            open.wait_for(|open| *open).await.unwrap();
            Ok(Response::Banned {
                in_force: true,
                missed: 0,
            })
        }
    }
}

/// mediad, as signaling reaches it, what it is told, and whether it answers.
pub(in crate::defence) fn mediad() -> (
    Client<Media>,
    mpsc::UnboundedReceiver<Bans>,
    watch::Sender<bool>,
) {
    let (listener, endpoint) = Endpoint::memory();
    let (told, hears) = mpsc::unbounded_channel();
    let (opens, open) = watch::channel(false);
    let handler = Arc::new(Mediad { told, open });
    tokio::spawn(serve(listener, handler, Events::new()));
    (Client::connect(endpoint), hears, opens)
}

fn block(number: u32) -> Cidr {
    Cidr::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + number)), 32)
}

struct Bed {
    defence: Arc<Defence>,
    untold: Arc<Untold>,
    hears: mpsc::UnboundedReceiver<Bans>,
    opens: watch::Sender<bool>,
}

impl Bed {
    fn new() -> Self {
        let config = config::Defence::default();
        let defence = Arc::new(Defence::new(&config, Duration::from_millis(500), now()));
        let untold = Arc::new(Untold::default());
        let (client, hears, opens) = mediad();
        let kernel = Kernel::new(client, vec![5060], defence.clone(), untold.clone());
        tokio::spawn(kernel.run());
        Self {
            defence,
            untold,
            hears,
            opens,
        }
    }

    /// A mediad that knows all, and answers no more.
    async fn in_step() -> Self {
        let mut bed = Self::new();
        bed.opens.send(true).unwrap();
        tokio::time::sleep(3 * TICK).await;
        while bed.hears.try_recv().is_ok() {}
        bed.opens.send(false).unwrap();
        bed
    }

    fn ban(&self, number: u32) {
        let length = Duration::from_secs(3_600);
        self.defence.ban(now(), block(number), length, "").unwrap();
        self.pass_on();
    }

    fn lift(&self, number: u32) {
        assert!(self.defence.lift(block(number)));
        self.pass_on();
    }

    fn pass_on(&self) {
        self.untold.add(&self.defence.take_changes().unwrap());
    }

    async fn told(&mut self) -> Bans {
        let next = timeout(Duration::from_secs(60), self.hears.recv());
        next.await.unwrap().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_mediad_is_slow_is_told_at_once_then_and_once_for_each_block() {
    let mut bed = Bed::in_step().await;
    bed.ban(5_000);
    assert_eq!(bed.told().await.ban.len(), 1);
    for _ in 0..5 {
        for number in 0..1_000 {
            bed.ban(number);
        }
        for number in 0..400 {
            bed.lift(number);
        }
    }
    assert_eq!(bed.untold.pending().blocks.len(), 1_000);
    bed.opens.send(true).unwrap();
    let next = bed.told().await;
    assert_eq!(next.anew, None);
    assert_eq!((next.ban.len(), next.lift.len()), (600, 400));
}

#[tokio::test(start_paused = true)]
async fn a_mediad_that_answers_too_late_is_told_all_when_it_answers_again() {
    let mut bed = Bed::new();
    let mut known = HashSet::new();
    for number in 0..3 {
        bed.ban(number);
        // It is asked anew, and does not answer.
        let told = bed.told().await;
        assert!(told.anew.is_some());
        learn(&mut known, told);
    }
    bed.opens.send(true).unwrap();
    bed.lift(1);
    bed.ban(3);
    while known != HashSet::from([0, 2, 3].map(block)) {
        learn(&mut known, bed.told().await);
    }
}

/// What mediad does with what it is told.
fn learn(known: &mut HashSet<Cidr>, told: Bans) {
    if let Some(guarded) = told.anew {
        assert_eq!(guarded.ports, [5060]);
        known.clear();
    }
    let cidr = |block: Block| Cidr::new(block.address, block.prefix);
    for lift in told.lift {
        known.remove(&cidr(lift));
    }
    known.extend(told.ban.into_iter().map(|ban| cidr(ban.block)));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_all_is_told_anew_where_it_was_too_much() {
    let mut bed = Bed::in_step().await;
    bed.ban(0);
    assert_eq!(bed.told().await.ban.len(), 1);
    let most = u32::try_from(UNTOLD).unwrap();
    for number in 0..most + 100 {
        bed.ban(number);
        assert!(bed.untold.pending().blocks.len() <= UNTOLD);
    }
    bed.opens.send(true).unwrap();
    let mut told = bed.told().await;
    assert!(told.anew.is_some());
    let mut bans = 0;
    loop {
        bans += told.ban.len();
        if bans == UNTOLD + 100 {
            return;
        }
        told = bed.told().await;
        assert_eq!(told.anew, None);
    }
}

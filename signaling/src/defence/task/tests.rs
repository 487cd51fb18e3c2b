//! What follows from a ban, over real sockets.

use control::config::{self, Listen};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::{
    defence::{Evidence, kernel},
    net::{self, Certified, Dispatcher, Names, Open, Shared, Tls},
    told::Told,
    vitals::Vitals,
};

/// Less than what mediad is waited for.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_mediad_that_does_not_answer_keeps_nobody_connected_who_is_banned() {
    let mut sip = config::Sip {
        listen: vec!["tcp:127.0.0.1:0".parse::<Listen>().unwrap()],
        ..config::Sip::default()
    };
    sip.defence.allow.clear();
    let t1 = Duration::from_millis(500);
    let defence = Arc::new(Defence::new(&sip.defence, t1, now()));
    let metrics = Arc::new(Metrics::new().unwrap());
    let (worker, _inbox) = net::lanes();
    let dispatcher = Dispatcher::new(vec![worker], defence.clone(), metrics.clone());
    let shared = Shared {
        tls: Tls::load(&sip.tls).unwrap(),
        names: Names::default(),
        certified: Certified::default(),
        open: Open::default(),
    };
    let (bound, vitals) = (net::bind(&sip, 1).unwrap(), Vitals::default());
    let local = bound.locals()[0].address;
    let network = bound.start(shared, &dispatcher, &metrics, &vitals).unwrap();
    let (media, mut hears, _silent) = kernel::tests::mediad();
    let events = Events::new();
    let guard = Guard {
        defence: defence.clone(),
        network,
        metrics: metrics.clone(),
        media,
        ports: vec![local.port()],
        events: events.clone(),
    };
    let mut told = Told::listen(events).await;
    tokio::spawn(guard.run());
    hears.recv().await.unwrap();

    for _ in 0..2 {
        let mut peer = TcpStream::connect(local).await.unwrap();
        // Now it is taken.
        peer.write_all(b"\r\n\r\n").await.unwrap();
        assert_eq!(peer.read(&mut [0; 2]).await.unwrap(), 2);
        let address = peer.local_addr().unwrap().ip();
        for _ in 0..4 {
            defence.report_from(now(), address, Transport::Tcp, Evidence::NotSip);
        }
        let read = timeout(SOON, peer.read(&mut [0; 8])).await;
        assert_eq!(read.expect("the connection is closed soon").unwrap(), 0);
        let bans = "tandem_bans_total{reason=\"not-sip\"}";
        assert!(metrics.text().contains(bans), "{}", metrics.text());
        let block = super::super::Source::of(address).block();
        let Event::Banned(ban) = told.next().await else {
            panic!("the ban is told first");
        };
        assert_eq!(
            (ban.source.as_str(), &*ban.reason),
            ("127.0.0.1", "not-sip")
        );
        assert!(defence.lift(block));
        let lifted = Event::Lifted { source: ban.source };
        assert_eq!(told.next().await, lifted);
    }
    vitals.stop.cancel();
}
